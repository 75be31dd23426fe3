//! A disk that is pulled out of a host while its file system is mounted. A loop device cannot be
//! pulled out, so the file system is shut down instead: from then on every access to it fails
//! with an input/output error, and what was not written yet is lost.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::ioctl::{Setter, ioctl};

use super::commands::succeed;

/// `FS_IOC_SHUTDOWN` of Linux: `_IOR('X', 125, __u32)`.
const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);

/// Without writing out the journal.
const AT_ONCE: u32 = 2;

/// Shuts down the file system of a device, if one of the processes in a network namespace has
/// it mounted.
pub(super) fn fail(namespace: &str, device: &Metadata) -> io::Result<()> {
    let processes = succeed("ip", ["netns", "pids", namespace])?;
    let number = device.rdev();
    let wanted = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    for process in processes.split_whitespace() {
        // The process may have ended.
        let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
        let mounted = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(2);
            (fields.next()? == wanted).then(|| fields.nth(1))?
        });
        let Some(place) = mounted else { continue };
        let root = PathBuf::from(format!("/proc/{process}/root"));
        if let Ok(place) = File::open(root.join(place.trim_start_matches('/'))) {
            return shut_down(&place);
        }
    }
    Ok(())
}

#[allow(unsafe_code, reason = "neither the standard library nor rustix has this call")]
fn shut_down(place: &File) -> io::Result<()> {
    // SAFETY: the kernel reads one `u32`, which is what the opcode says.
    let argument = unsafe { Setter::<SHUTDOWN, u32>::new(AT_ONCE) };
    // SAFETY: as above; the call has no effect on the memory of this process.
    unsafe { ioctl(place, argument) }.map_err(io::Error::from)
}
