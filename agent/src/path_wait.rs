//! Waits until a path exists, by inotify on its nearest existing directory.
//!
//! A deadline and the departure of the client end the wait. The path is checked after
//! each watch is added, so an entry that is created between check and watch is not missed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::client::Client;

/// Bytes of inotify events that are read at once; one event has at most 272.
const EVENT_BYTES: usize = 4 << 10;

/// Waits until `path` exists. The target of a link has to exist before the link.
///
/// # Errors
///
/// `TimedOut` after `deadline`, `ConnectionAborted` if the client leaves, and errors of
/// inotify.
pub(crate) fn wait_for_path(path: &Path, deadline: Duration, client: &Client) -> io::Result<()> {
    let began = Instant::now();
    let gone = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let _registration = client.when_gone({
        let gone = gone.clone();
        move || {
            // The counter is far from its limit, so this write cannot block or fail.
            let _ = rustix::io::write(gone.as_fd(), &1_u64.to_ne_bytes());
        }
    });
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    loop {
        let directory = nearest_directory(path);
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&events, directory, flags) {
            Ok(_) => {}
            // The directory was removed meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        if path.exists() {
            return Ok(());
        }
        if client.is_gone() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if nearest_directory(path) != directory {
            continue;
        }
        let left = deadline.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait_for_event(&events, &gone, left)?;
    }
}

fn nearest_directory(path: &Path) -> &Path {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir()).unwrap_or_else(|| Path::new("/"))
}

fn wait_for_event(events: &OwnedFd, gone: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(events, PollFlags::IN), PollFd::new(gone, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut buffer = [0; EVENT_BYTES];
    loop {
        match rustix::io::read(events, &mut buffer) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_path_in_a_new_directory_is_found() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("disk/by-id/volume");
        let client = Client::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_path(&path, LONG, &client));
            fs::create_dir_all(root.path().join("disk/by-id")).unwrap();
            fs::write(root.path().join("disk/by-id/other"), "").unwrap();
            fs::write(&path, "").unwrap();
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn the_deadline_and_a_departing_client_end_the_wait() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("volume");
        let client = Client::default();
        let late = wait_for_path(&path, Duration::from_millis(10), &client).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_path(&path, LONG, &client));
            client.leave();
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        });
    }
}
