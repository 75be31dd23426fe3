//! Volumes of projects: found, formatted if blank, mounted and unmounted.
//!
//! Each project has a volume of its own, which outlives the server. A volume is formatted
//! only if it is blank: `blkid` finds no signature, and its first and last MiB are zero. A
//! volume with any other content than a file system that can be checked is left unchanged,
//! and using it is an error.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use burst_protocol::FileName;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chown;

use crate::client::Client;
use crate::error::{AgentError, VolumeOperation};
use crate::host::BuildUser;
use crate::lock::lock;
use crate::path_wait::wait_for_path;
use crate::power_cut;

/// The directory below which volumes are mounted. Runs see it empty.
pub(crate) const MOUNT_ROOT: &str = "/mnt/burst";

/// The directory in which udev links devices by their identity.
const DEVICE_DIRECTORY: &str = "/dev/disk/by-id";

/// How long a volume that is being attached may take to appear: some seconds are usual. Then the
/// client asks the API.
const APPEARANCE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a volume that is mounted may be without its device: it was detached.
const ABSENCE_DEADLINE: Duration = Duration::from_secs(1);

/// How long an unmount is repeated while the volume is in use.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(10);

/// The pause between two attempts to unmount. The kernel releases files and mount
/// namespaces of ended processes later than it reports their end, without an event.
const UNMOUNT_RETRY_INTERVAL: Duration = Duration::from_millis(25);

/// Bytes at the beginning and at the end that are zero on a blank volume.
const BLANK_BYTES: u64 = 1 << 20;

/// The volumes of a server.
#[derive(Debug)]
pub(crate) struct Volumes {
    owner: BuildUser,
    /// Held while a volume is mounted, since two sessions can ask for the same one.
    mounting: Mutex<()>,
}

impl Volumes {
    /// Volumes whose files belong to this user.
    pub(crate) fn new(owner: BuildUser) -> Self {
        Self { owner, mounting: Mutex::new(()) }
    }

    /// The user to whom the files belong.
    pub(crate) const fn owner(&self) -> &BuildUser {
        &self.owner
    }

    /// Mounts a volume unless it is mounted; returns the project's directory on it. Waits
    /// for the device until a deadline, or until `client` leaves. If the volume was detached and
    /// attached again since it was mounted, what is mounted has no device any more: it is
    /// unmounted, after `close` has closed the files on it.
    pub(crate) fn mount(
        &self,
        device: &FileName,
        client: &Client,
        close: impl FnOnce(&Path),
    ) -> Result<PathBuf, AgentError> {
        let mount_point = Path::new(MOUNT_ROOT).join(file_name(device));
        let path = device_path(device);
        let deadline = match is_mount(&mount_point) {
            true => ABSENCE_DEADLINE,
            false => APPEARANCE_DEADLINE,
        };
        if let Err(source) = wait_for_path(&path, deadline, client) {
            return Err(AgentError::Volume { path, operation: VolumeOperation::Find, source });
        }
        let _mounting = lock(&self.mounting);
        let project = project_directory(device);
        if is_mount(&mount_point) && !is_mount_of(&mount_point, &path) {
            close(&project);
            self.abandon(&project);
        }
        if !is_mount(&mount_point) {
            self.prepare_and_mount(&path, &mount_point)
                .and_then(|()| {
                    self.repair_project(&project).map_err(|error| (VolumeOperation::Repair, error))
                })
                .map_err(|(operation, source)| AgentError::Volume { operation, path, source })?;
        }
        Ok(project)
    }

    /// Unmounts the volume of a project's directory, which has no device any more: nothing can be
    /// written to it.
    pub(crate) fn abandon(&self, directory: &Path) {
        let mount_point = directory.parent().unwrap_or(directory);
        let unmounted = umount2(mount_point, MntFlags::MNT_DETACH);
        tracing::warn!(?mount_point, ?unmounted, "the volume of a project has lost its device");
    }

    fn prepare_and_mount(
        &self,
        path: &Path,
        mount_point: &Path,
    ) -> Result<(), (VolumeOperation, io::Error)> {
        if is_blank(path).map_err(|error| (VolumeOperation::Inspect, error))? {
            format(path).map_err(|error| (VolumeOperation::Format, error))?;
        } else {
            check(path).map_err(|error| (VolumeOperation::Check, error))?;
        }
        fs::create_dir_all(mount_point)
            .map_err(|error| (VolumeOperation::CreateMountPoint, error))?;
        let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        let options = Some("errors=remount-ro");
        mount(Some(path), mount_point, Some("ext4"), flags, options)
            .map_err(|errno| (VolumeOperation::Mount, errno.into()))?;
        let owner = &self.owner;
        chown(mount_point, Some(owner.uid), Some(owner.gid))
            .map_err(|errno| (VolumeOperation::Chown, errno.into()))
    }

    /// Repairs the project after an interrupted run, on a thread with the file rights of
    /// the owner.
    fn repair_project(&self, project: &Path) -> io::Result<()> {
        let repaired = std::thread::scope(|scope| {
            let repair = scope.spawn(|| {
                self.owner.assume_file_access();
                power_cut::repair_mounted(project)
            });
            repair.join().unwrap_or_else(|_| Err(io::Error::other("the repair panicked")))
        })?;
        if let Some(repaired) = repaired {
            tracing::warn!("the previous run was interrupted: {repaired}");
        }
        Ok(())
    }

    /// Unmounts the volume of a project's directory, which writes everything to the disk. A
    /// volume that is not mounted is no error.
    pub(crate) fn unmount(&self, directory: &Path) -> Result<(), AgentError> {
        let mount_point = directory.parent().unwrap_or(directory);
        let began = Instant::now();
        loop {
            match umount2(mount_point, MntFlags::empty()) {
                // The latter two say that it is not mounted.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
                // Files of the last run are still being released.
                Err(Errno::EBUSY) if began.elapsed() < UNMOUNT_DEADLINE => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "no event tells that a file was released"
                    )]
                    std::thread::sleep(UNMOUNT_RETRY_INTERVAL);
                }
                Err(errno) => {
                    let path = mount_point.to_owned();
                    return Err(AgentError::Volume {
                        path,
                        operation: VolumeOperation::Unmount,
                        source: errno.into(),
                    });
                }
            }
        }
    }
}

/// Whether the device at `path` is the one that is mounted.
fn is_mount_of(mount_point: &Path, path: &Path) -> bool {
    let mounted = fs::metadata(mount_point).map(|metadata| metadata.dev());
    let device = fs::metadata(path).map(|metadata| metadata.rdev());
    matches!((mounted, device), (Ok(mounted), Ok(device)) if mounted == device)
}

/// The path of a volume's device.
pub(crate) fn device_path(device: &FileName) -> PathBuf {
    Path::new(DEVICE_DIRECTORY).join(file_name(device))
}

/// The project's directory on a volume.
pub(crate) fn project_directory(device: &FileName) -> PathBuf {
    Path::new(MOUNT_ROOT).join(file_name(device)).join("project")
}

fn file_name(device: &FileName) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(device.as_bytes()))
}

fn is_mount(mount_point: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let above = mount_point.parent().and_then(device);
    device(mount_point).is_some_and(|own| Some(own) != above)
}

fn is_blank(path: &Path) -> io::Result<bool> {
    // The exit code if no signature was found.
    const NO_SIGNATURE: i32 = 2;
    let known = Command::new("blkid").arg("-p").arg(path).stdout(Stdio::null()).status()?;
    if known.code() != Some(NO_SIGNATURE) {
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
    // No blocks are reserved for root; tables and journal are initialised later.
    let options = ["-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"];
    let mut command = Command::new("mkfs.ext4");
    run_tool(command.args(options).arg(path), |code| code == 0)
}

fn check(path: &Path) -> io::Result<()> {
    // Code 1: errors were found and repaired.
    let mut command = Command::new("e2fsck");
    run_tool(command.arg("-p").arg(path), |code| code <= 1)
}

fn run_tool(command: &mut Command, fine: impl Fn(i32) -> bool) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.code().is_some_and(fine) {
        return Ok(());
    }
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    Err(io::Error::other(text.lines().next().unwrap_or("it failed without a message").to_owned()))
}
