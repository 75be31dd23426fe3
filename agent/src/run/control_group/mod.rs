//! Control groups: runs of a server cannot take the memory and the processes that the agent
//! and the kernel need.
//!
//! ```text
//! BASE/burst-runs/        what all runs may use together (limit)
//! BASE/burst-runs/run-3/  one call of cargo and all that it starts
//! ```
//!
//! BASE is the agent's own group when it starts ([`hierarchy`]); as a service of systemd it
//! needs `Delegate=yes`. The agent is never below `burst-runs`. Both versions of the kernel's interface are used. In version 2 a run that
//! needs too much memory is killed as a whole; in version 1 the kernel kills one process of
//! it. What survives the end of a run is killed where the kernel offers that.
//!
//! Sessions have the file rights of the build user; the groups belong to root.

mod control_file;
mod hierarchy;
mod limit;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burst_protocol::ByteBuf;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::control_file::{read_number, write, write_if_known};
use self::hierarchy::Hierarchy;
use self::limit::Limits;
use super::{file_rights, spec};

/// How long killed processes may take to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// The group of all runs.
const RUNS: &str = "burst-runs";

/// The groups of a server's runs.
#[derive(Debug)]
pub(crate) struct RunGroups {
    /// `burst-runs` in each hierarchy, memory first.
    directories: Vec<PathBuf>,
    limits: Limits,
    /// The number of the last group.
    last: AtomicU64,
}

/// The group of one call of cargo. Dropping it kills what is left in it and removes it.
#[derive(Debug)]
pub(crate) struct RunGroup {
    directories: Vec<PathBuf>,
    memory_bytes: u64,
}

/// Memory was short: what the kernel did, for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    /// Whether the whole run was killed, and not one process of it.
    whole_run: bool,
    /// What runs may use together, in bytes.
    memory_bytes: u64,
}

impl RunGroups {
    /// Makes the group of all runs and sets its limits by the size of the machine. Groups
    /// that an earlier agent has left are removed.
    pub(crate) fn prepare() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let hierarchy = Hierarchy::find(&mounts, &groups, hierarchy::is_complete)
            .ok_or_else(|| io::Error::other("it has no control groups for them"))?;
        Self::prepare_in(&hierarchy, limits(&hierarchy)?)
    }

    fn prepare_in(hierarchy: &Hierarchy, limits: Limits) -> io::Result<Self> {
        let mut directories = Vec::new();
        match hierarchy {
            Hierarchy::Two(group) => {
                let runs = hierarchy::vacate(&group.directory)?.join(RUNS);
                fs::create_dir_all(&runs)?;
                hierarchy::enable_controllers(&runs)?;
                write(&runs.join("memory.max"), &limits.memory_bytes.to_string())?;
                write(&runs.join("pids.max"), &limits.processes.to_string())?;
                directories.push(runs);
            }
            Hierarchy::One { memory, pids } => {
                let runs = memory.directory.join(RUNS);
                fs::create_dir_all(&runs)?;
                // Without it, old kernels count each run for itself.
                write_if_known(&runs.join("memory.use_hierarchy"), "1")?;
                write(&runs.join("memory.limit_in_bytes"), &limits.memory_bytes.to_string())?;
                directories.push(runs);
                let runs = pids.directory.join(RUNS);
                fs::create_dir_all(&runs)?;
                write(&runs.join("pids.max"), &limits.processes.to_string())?;
                directories.push(runs);
            }
        }
        let groups = Self { directories, limits, last: AtomicU64::new(0) };
        groups.remove_left_behind();
        Ok(groups)
    }

    /// Makes the group of a call of cargo.
    pub(crate) fn add(&self) -> io::Result<RunGroup> {
        file_rights::with(file_rights::ROOT, || self.add_as_root())
    }

    fn add_as_root(&self) -> io::Result<RunGroup> {
        let name = format!("run-{}", self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let mut group =
            RunGroup { directories: Vec::new(), memory_bytes: self.limits.memory_bytes };
        for runs in &self.directories {
            let directory = runs.join(&name);
            fs::create_dir(&directory)?;
            group.directories.push(directory);
        }
        group.write_where_known("memory.oom.group", "1")?;
        Ok(group)
    }

    fn remove_left_behind(&self) {
        for runs in &self.directories {
            for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let directories = vec![entry.path()];
                    drop(RunGroup { directories, memory_bytes: self.limits.memory_bytes });
                }
            }
        }
    }
}

impl RunGroup {
    /// The files to which a process writes `0` to enter the group.
    pub(super) fn entrances(&self) -> Vec<ByteBuf> {
        let entrance = |directory: &PathBuf| spec::path_bytes(&directory.join("cgroup.procs"));
        self.directories.iter().map(entrance).collect()
    }

    /// Whether the kernel has killed a process of the run because memory was short.
    pub(super) fn out_of_memory(&self) -> Option<OutOfMemory> {
        let memory_bytes = self.memory_bytes;
        self.directories.iter().find_map(|directory| {
            let killed = |name: &str| {
                let events = fs::read_to_string(directory.join(name)).unwrap_or_default();
                limit::count(&events, "oom_kill") > 0
            };
            match (killed("memory.events"), killed("memory.oom_control")) {
                (true, _) => Some(OutOfMemory { whole_run: true, memory_bytes }),
                (_, true) => Some(OutOfMemory { whole_run: false, memory_bytes }),
                _ => None,
            }
        })
    }

    fn write_where_known(&self, name: &str, text: &str) -> io::Result<()> {
        let mut files = self.directories.iter().map(|directory| directory.join(name));
        files.try_for_each(|file| write_if_known(&file, text))
    }
}

impl Drop for RunGroup {
    fn drop(&mut self) {
        file_rights::with(file_rights::ROOT, || self.remove());
    }
}

impl RunGroup {
    fn remove(&self) {
        if let Err(error) = self.write_where_known("cgroup.kill", "1") {
            tracing::warn!("cannot kill what is left of a run: {error}");
        }
        for directory in &self.directories {
            if let Err(error) = wait_until_empty(directory) {
                let shown = directory.display();
                tracing::warn!("cannot wait for the end of `{shown}`: {error}");
            }
            if let Err(error) = fs::remove_dir(directory) {
                let shown = directory.display();
                tracing::warn!("cannot remove the control group `{shown}`: {error}");
            }
        }
    }
}

impl OutOfMemory {
    /// The line that the user sees.
    pub(crate) fn notice(self) -> String {
        let killed = if self.whole_run { "the run" } else { "a process of the run" };
        let tenths = self.memory_bytes / 100_000_000;
        format!(
            "burst: out of memory: the kernel killed {killed}; the runs of this server may use \
             {}.{} GB together, and a larger `server_type` has more\n",
            tenths / 10,
            tenths % 10
        )
    }
}

/// Waits until no process is in a group of version 2, which reports this as an event; at most
/// for [`END_DEADLINE`]. Groups of version 1 report nothing.
fn wait_until_empty(group: &Path) -> io::Result<()> {
    let path = group.join("cgroup.events");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let began = Instant::now();
    while limit::count(&fs::read_to_string(&path)?, "populated") > 0 {
        let left = END_DEADLINE.saturating_sub(began.elapsed());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Marks this event as seen.
        let mut event = [0; 1];
        rustix::io::pread(&file, &mut event, 0)?;
    }
    Ok(())
}

/// Opens the entrances of a group, before a mount can cover them.
pub(super) fn open_entrances(paths: &[ByteBuf]) -> io::Result<Vec<OwnedFd>> {
    paths
        .iter()
        .map(|path| Ok(File::options().write(true).open(spec::path(path))?.into()))
        .collect()
}

/// The limits by the smallest size among the machine, the agent's group and those above it.
fn limits(hierarchy: &Hierarchy) -> io::Result<Limits> {
    let unknown = |what: &str| io::Error::other(format!("the machine's {what} is unknown"));
    let memory = limit::memory_of(&fs::read_to_string("/proc/meminfo")?);
    let memory = memory.into_iter().chain(set(hierarchy, "memory.max"));
    let memory = memory.chain(set(hierarchy, "memory.limit_in_bytes")).min();
    let most = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    let most = most.iter().filter_map(|path| read_number(Path::new(path)));
    let processes = most.chain(set(hierarchy, "pids.max")).min();
    Ok(Limits::of(
        memory.ok_or_else(|| unknown("memory"))?,
        processes.ok_or_else(|| unknown("number of processes"))?,
    ))
}

/// The limits in the files of this name, from the agent's groups upwards.
fn set(hierarchy: &Hierarchy, name: &str) -> Vec<u64> {
    let groups = hierarchy.groups().into_iter().flat_map(|group| {
        group.directory.ancestors().take_while(|above| above.starts_with(&group.mount))
    });
    groups.filter_map(|group| read_number(&group.join(name))).collect()
}
