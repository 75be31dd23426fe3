//! A project's volume: found, formatted if it is blank, mounted, let go.
//!
//! Each project has a disk of its own, which outlives the server. A volume is formatted
//! only if it is blank: no signature that `blkid` knows, and nothing but zeros at its
//! beginning and its end. Whatever else is on it stays as it is, and is an error.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use burst_protocol::FileName;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chown;

use crate::error::AgentError;
use crate::host::BuildUser;
use crate::power_cut;

/// Where volumes are mounted. Runs see nothing of it but their own.
pub const MOUNTS: &str = "/mnt/burst";

/// Where the kernel names disks by what they are.
const DEVICES: &str = "/dev/disk/by-id";

/// How long a volume that is being attached may take to appear.
const APPEARANCE_DEADLINE: Duration = Duration::from_secs(120);

/// How often is looked for it: the name is made by udev, or by nobody.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long the last writers may take to let a volume go.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes at either end that are zero on a blank volume.
const BLANK_BYTES: u64 = 1 << 20;

/// The volumes of a server.
#[derive(Debug)]
pub struct Volumes {
    owner: BuildUser,
    /// Held by whoever mounts: two sessions of a project can come at once.
    mounting: Mutex<()>,
}

impl Volumes {
    /// Volumes whose files belong to a user.
    pub fn new(owner: BuildUser) -> Self {
        Self { owner, mounting: Mutex::new(()) }
    }

    /// Whose files are on them.
    pub const fn owner(&self) -> &BuildUser {
        &self.owner
    }

    /// Mounts a volume, if it is not; returns the project's directory on it. `gone`
    /// ends the wait for it.
    pub fn mounted(
        &self,
        device: &FileName,
        gone: impl Fn() -> bool,
    ) -> Result<PathBuf, AgentError> {
        let place = Path::new(MOUNTS).join(name_of(device));
        let path = Path::new(DEVICES).join(name_of(device));
        let began = Instant::now();
        while !path.exists() {
            if began.elapsed() > APPEARANCE_DEADLINE || gone() {
                let source = io::ErrorKind::NotFound.into();
                return Err(AgentError::Volume { path, what: "find", source });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _mounting = self.mounting.lock().unwrap_or_else(PoisonError::into_inner);
        let project = project_on(device);
        if !is_mount(&place) {
            self.mount(&path, &place)
                .and_then(|()| self.mend(&project).map_err(|error| ("mend", error)))
                .map_err(|(what, source)| AgentError::Volume { path, what, source })?;
        }
        Ok(project)
    }

    fn mount(&self, path: &Path, place: &Path) -> Result<(), (&'static str, io::Error)> {
        if is_blank(path).map_err(|error| ("look at", error))? {
            format(path).map_err(|error| ("format", error))?;
        } else {
            repair(path).map_err(|error| ("check", error))?;
        }
        fs::create_dir_all(place).map_err(|error| ("make a place for", error))?;
        let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        let options = Some("errors=remount-ro");
        mount(Some(path), place, Some("ext4"), flags, options)
            .map_err(|errno| ("mount", errno.into()))?;
        let owner = &self.owner;
        chown(place, Some(owner.uid), Some(owner.gid)).map_err(|errno| ("give away", errno.into()))
    }

    /// On a thread that touches files as their owner.
    fn mend(&self, project: &Path) -> io::Result<()> {
        let mended = std::thread::scope(|scope| {
            let mending = scope.spawn(|| {
                self.owner.touch_files();
                power_cut::mend(project)
            });
            mending.join().unwrap_or_else(|_| Err(io::Error::other("the thread gave up")))
        })?;
        if mended > 0 {
            tracing::warn!("a run was cut off: {mended} crates are made again");
        }
        Ok(())
    }

    /// Lets the volume of a project's directory go: all is written, nothing is mounted
    /// any more.
    pub fn release(&self, directory: &Path) -> Result<(), AgentError> {
        let place = directory.parent().unwrap_or(directory);
        let began = Instant::now();
        loop {
            match umount2(place, MntFlags::empty()) {
                // It was not mounted.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
                // The last processes of a run are going.
                Err(Errno::EBUSY) if began.elapsed() < RELEASE_DEADLINE => {
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(errno) => {
                    let path = place.to_owned();
                    return Err(AgentError::Volume { path, what: "let go", source: errno.into() });
                }
            }
        }
    }
}

/// The project's directory on a volume.
pub fn project_on(device: &FileName) -> PathBuf {
    Path::new(MOUNTS).join(name_of(device)).join("project")
}

fn name_of(device: &FileName) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(device.as_bytes()))
}

fn is_mount(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let above = place.parent().and_then(device);
    device(place).is_some_and(|own| Some(own) != above)
}

fn is_blank(path: &Path) -> io::Result<bool> {
    // 2: nothing that blkid knows.
    const NOTHING: i32 = 2;
    let known = Command::new("blkid").arg("-p").arg(path).stdout(Stdio::null()).status()?;
    if known.code() != Some(NOTHING) {
        return Ok(false);
    }
    let mut device = File::open(path)?;
    let end = device.seek(SeekFrom::End(0))?;
    for begin in [0, end.saturating_sub(BLANK_BYTES)] {
        device.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        device.by_ref().take(BLANK_BYTES).read_to_end(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn format(path: &Path) -> io::Result<()> {
    // No blocks are kept for root, and what can be done later is done later.
    let options = ["-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"];
    let mut command = Command::new("mkfs.ext4");
    expect(command.args(options).arg(path), |code| code == 0)
}

fn repair(path: &Path) -> io::Result<()> {
    // 1: something was repaired.
    let mut command = Command::new("e2fsck");
    expect(command.arg("-p").arg(path), |code| code <= 1)
}

fn expect(command: &mut Command, fine: impl Fn(i32) -> bool) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.code().is_some_and(fine) {
        return Ok(());
    }
    let words = [output.stderr, output.stdout].concat();
    let words = String::from_utf8_lossy(&words);
    Err(io::Error::other(words.lines().next().unwrap_or("it says nothing").to_owned()))
}
