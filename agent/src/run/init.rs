//! The init: the first process of a run's namespaces.
//!
//! It mounts the project, [starts cargo](super::starting), reaps orphans, passes signals on, and
//! tells the agent when cargo is stopped. It ends when cargo ends, when the agent says so, or when
//! the agent ends; with it ends every process that the run has started.
//!
//! On a server cargo runs as the build user, in a control group that the init is not in, and
//! with shared memory of its own: System V and POSIX queues, `/dev/shm` and `/run/lock` are
//! empty when a run starts and are gone when it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, signal};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::log;

use super::containment::Containment;
use super::control_group;
use super::helper::Assignment;
use super::mount_point::{self, Kind, MountPoints};
use super::spec::{self, Descriptors, FromInit, Mount, Receiver, Report, RunSpec};
use super::starting;

/// The id of the first process of a namespace.
const FIRST: u32 = 1;

/// Directories of a server in which everybody can write, and which live in its memory.
const SHARED_MEMORY: [&str; 2] = ["/dev/shm", "/run/lock"];

/// Runs the init. Its exit code says only whether a report was sent; errors are in the
/// report and in the log.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let Some(assignment) = Assignment::parse(arguments) else { return ExitCode::FAILURE };
    let containment = assignment.containment;
    let Some(number) = assignment.run else {
        return match prepare_mounts(containment) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    let _span = tracing::info_span!("init", run = number).entered();
    let socket = match io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!("cannot use the socket to the agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = run(containment, &socket).unwrap_or_else(|error| {
        tracing::error!("cannot run cargo: {error}");
        Report::Failed(error.to_string())
    });
    tracing::debug!(?report, "the run ended");
    if let Some(used) = used_millis() {
        spec::tell(&socket, &FromInit::Used(used));
    }
    spec::tell(&socket, &FromInit::Ended(report));
    ExitCode::SUCCESS
}

/// The processor time of all processes of the run that this one, or the parent of each, has
/// waited for, by user and kernel. Orphans are children of this process.
fn used_millis() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    let micros = |time: TimeVal| time.num_microseconds();
    u64::try_from((micros(usage.user_time()) + micros(usage.system_time())) / 1000).ok()
}

fn run(containment: Containment, socket: &UnixStream) -> io::Result<Report> {
    reset_signals()?;
    let (spec, Descriptors { streams, control }) = spec::receive(socket)?;
    let groups = control_group::open_entrances(&spec.groups)?;
    let mut points = MountPoints::new(spec.user);
    if containment.keeps_paths() {
        prepare_mounts(containment)?;
        if spec.user.is_some() {
            separate_from_others()?;
        }
        open_paths_to_mounts(&spec)?;
        mount_all(&spec, &mut points)?;
        cover_hidden(&spec)?;
        rustix::thread::clear_ambient_capability_set()?;
    } else {
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    // A terminal hangs up once no process has it open, and programs may close it.
    let _held = control.as_ref().map(OwnedFd::try_clone).transpose()?;
    let cargo = match starting::start(&spec, Descriptors { streams, control }, &mut points, groups)
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Report::NoProgram),
        other => other?,
    };
    let commands = socket.try_clone()?;
    log::spawn(move || handle_commands(commands, cargo, containment));
    let report = reap_until(cargo, || spec::tell(socket, &FromInit::Stopped))?;
    if containment == Containment::Plain {
        kill_descendants();
    }
    if points.has_empty_files() && std::process::id() == FIRST {
        // All other processes of this namespace, which end with this one anyway.
        kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
        while waitpid(None::<Pid>, None).is_ok() {}
        points.remove_empty_files();
    }
    Ok(report)
}

/// Resets signals that the agent inherited as ignored or blocked, so that cargo does not ignore
/// them.
fn reset_signals() -> io::Result<()> {
    const RESET: [Signal; 11] = [
        Signal::SIGCHLD,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGPIPE,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ];
    for reset in RESET {
        // SAFETY: the default action installs no handler.
        #[expect(
            unsafe_code,
            reason = "nix marks every call of `signal` as unsafe, also one without a handler"
        )]
        unsafe { signal(reset, SigHandler::SigDfl) }?;
    }
    reset_cancellation()?;
    Ok(SigSet::empty().thread_set_mask()?)
}

/// Resets the signal by which glibc cancels threads, which its `posix_spawn` has every new process
/// ignore. Only a system call can: its own functions refuse it.
#[expect(unsafe_code, reason = "no safe function changes what happens on this signal")]
fn reset_cancellation() -> io::Result<()> {
    const CANCELLATION: nix::libc::c_int = 32;
    const SIGNAL_SET_BYTES: usize = 8;
    // The kernel's structure: the default action, without flags and mask.
    let action = [0_u64; 4];
    // SAFETY: the kernel reads the structure and stores no pointer; the default runs no code.
    let done = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_rt_sigaction,
            CANCELLATION,
            action.as_ptr(),
            std::ptr::null::<u64>(),
            SIGNAL_SET_BYTES,
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// Stops mounts from spreading to the rest of the machine, and mounts a `/proc` that shows
/// only the processes of the run.
fn prepare_mounts(containment: Containment) -> io::Result<()> {
    if containment == Containment::Plain {
        return Ok(());
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Containers can forbid this; the existing /proc then stays in use.
    if let Err(error) = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>) {
        tracing::debug!("cannot mount /proc: {error}");
    }
    Ok(())
}

/// Gives the run shared memory of its own, and takes the agent's protection from the killer
/// of processes when memory is short from it.
fn separate_from_others() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWIPC)?;
    for path in SHARED_MEMORY.iter().map(Path::new).filter(|path| path.is_dir()) {
        mount_empty(path, "mode=1777")?;
    }
    let queues = Path::new("/dev/mqueue");
    if queues.is_dir() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("mqueue"), queues, Some("mqueue"), flags, None::<&str>)?;
    }
    File::options().write(true).open("/proc/self/oom_score_adj")?.write_all(b"0")
}

fn mount_all(spec: &RunSpec, points: &mut MountPoints) -> io::Result<()> {
    let mut preserved: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in spec.preserve.iter().map(spec::path) {
        if let Ok(file) = File::open(&path) {
            preserved.push((path, file.into()));
        }
    }
    // Before anything is mounted: the agent's own directories can lie below a mount point.
    let open = |mount: &Mount| {
        mount_point::open_source(&spec::path(&mount.root), &spec::path(&mount.source))
    };
    let sources: Vec<_> = spec.mounts.iter().map(open).collect();
    for (Mount { target, .. }, source) in spec.mounts.iter().zip(sources) {
        let target = spec::path(target);
        source
            .and_then(|(source, kind)| bind(&source, &points.open(&target, kind)?))
            .map_err(|error| cannot_mount(&target, &error))?;
        points.add(target.clone());
        for (path, fd) in &preserved {
            if path.starts_with(&target) && *path != target {
                let point = points.open(path, Kind::Directory);
                point
                    .and_then(|point| bind(fd, &point))
                    .map_err(|error| cannot_mount(path, &error))?;
            }
        }
    }
    Ok(())
}

fn bind(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let (source, target) = (mount_point::path_of(source), mount_point::path_of(target));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(&source), &target, None::<&str>, flags, None::<&str>)?)
}

fn cannot_mount(target: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot mount at `{}`: {error}", target.display()))
}

/// Opens the paths to the mount points, and to the working directory and itself, for the build
/// user. A directory on the way that only its owner may enter, as `/root` is, or that is empty is
/// covered with an empty one, in which the mount points are then created: they are gone with the
/// run, so what an earlier run had is not there for a later one as an empty file or directory. Of
/// what is missing on the way only the first directory is created on the machine.
fn open_paths_to_mounts(spec: &RunSpec) -> io::Result<()> {
    if spec.user.is_none() {
        return Ok(());
    }
    let targets: Vec<PathBuf> = spec.mounts.iter().map(|mount| spec::path(&mount.target)).collect();
    let working_directory = spec::path(&spec.working_directory);
    let above = targets.iter().filter_map(|target| target.parent());
    let mut covered: Vec<&Path> = Vec::new();
    for directory in above.chain([working_directory.as_path()]) {
        let mut ancestors: Vec<&Path> = directory.ancestors().collect();
        ancestors.reverse();
        // The root of the file system is not covered.
        for ancestor in ancestors.into_iter().skip(1) {
            if covered.iter().any(|covered| ancestor.starts_with(covered)) {
                break;
            }
            let is_made = match std::fs::create_dir(ancestor) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                made => made.map(|()| true).map_err(|error| cannot_mount(directory, &error))?,
            };
            if is_made || is_to_be_covered(ancestor) {
                cover_with_empty(ancestor)?;
                covered.push(ancestor);
            }
        }
    }
    Ok(())
}

/// Whether a directory on the way to a mount point is closed to others, or has nothing in it.
fn is_to_be_covered(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    const SEARCH_BY_OTHERS: u32 = 0o001;
    let is_closed =
        |found: std::fs::Metadata| found.is_dir() && found.mode() & SEARCH_BY_OTHERS == 0;
    let is_empty =
        || std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    std::fs::metadata(directory).is_ok_and(is_closed) || is_empty()
}

fn cover_hidden(spec: &RunSpec) -> io::Result<()> {
    spec.hide
        .iter()
        .map(spec::path)
        .filter(|path| path.exists())
        .try_for_each(|path| cover_with_empty(&path))
}

fn cover_with_empty(path: &Path) -> io::Result<()> {
    mount_empty(path, "mode=0755,size=1m")
}

fn mount_empty(path: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("none"), path, Some("tmpfs"), flags, Some(options)).map_err(|errno| {
        let error: io::Error = errno.into();
        io::Error::new(error.kind(), format!("cannot hide `{}`: {error}", path.display()))
    })
}

/// Handles the agent's commands. Ends this process when the agent asks for it or ends.
fn handle_commands(mut commands: UnixStream, cargo: Pid, containment: Containment) {
    let mut command = [0; 1];
    while let Ok(1) = commands.read(&mut command) {
        // An error says that cargo has ended.
        match spec::commanded_signal(command[0]) {
            Some((signal, Receiver::Group)) => killpg(cargo, signal).unwrap_or_default(),
            Some((signal, Receiver::Cargo)) => kill(cargo, signal).unwrap_or_default(),
            None => break,
        }
    }
    if containment == Containment::Plain {
        kill_descendants();
    }
    #[expect(clippy::exit, reason = "as the first process of its namespace, this ends all others")]
    std::process::exit(0);
}

/// Reaps all children until cargo itself has ended. Calls `stopped` whenever it is stopped.
fn reap_until(cargo: Pid, stopped: impl Fn()) -> io::Result<Report> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(pid, _)) if pid == cargo => stopped(),
            Ok(WaitStatus::Exited(pid, code)) if pid == cargo => return Ok(Report::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == cargo => {
                return Ok(Report::Signaled(signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Kills children until there are none. Orphans become children of this subreaper, so no
/// process of the run survives.
fn kill_descendants() {
    let own = std::process::id().to_string();
    loop {
        let children = children_of(&own);
        for child in &children {
            kill(*child, Signal::SIGKILL).ok();
        }
        if waitpid(None::<Pid>, None) == Err(Errno::ECHILD) {
            return;
        }
    }
}

/// The processes whose parent has the id `parent`, read from `/proc`.
fn children_of(parent: &str) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |stat: &str| {
        // "pid (name) state ppid …"; the name may contain any character.
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(parent)
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            is_child(&stat).then(|| Pid::from_raw(pid))
        })
        .collect()
}
