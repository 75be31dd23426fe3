//! Whether a program of a run reads its controlling terminal where that is not the standard input:
//! the client, whose user types there, leaves the keys to others until then.
//!
//! A program that asks opens `/dev/tty`. The kernel tells that some process of the machine has
//! opened or closed that file, not which one: then, and only then, the open files of the run's
//! processes are looked at, and not again for a while. So a run whose programs ask nothing costs
//! nothing, however many they are.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::processes;
use crate::log;

/// The shortest pause between two looks; also the longest one where the kernel has no inotify
/// instance left.
const INTERVAL: Duration = Duration::from_millis(200);

/// The name under which programs open the terminal.
const TERMINAL: &str = "/dev/tty";

/// Bytes of inotify events that are read at once.
const EVENT_BYTES: usize = 4 << 10;

/// Tells the client until it is dropped. Dropping it waits for its thread.
#[derive(Debug)]
pub(crate) struct ReadWatch {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl ReadWatch {
    /// Watches the programs below the process `ancestor`; none if the machine is short of files.
    pub(super) fn start(ancestor: u32, outgoing: Outgoing) -> Option<Self> {
        let look = move || processes::below(ancestor).into_iter().any(reads_terminal);
        let tell = move |reads| outgoing.message(&FromAgent::TerminalRead(reads)).is_ok();
        Self::watch(Path::new(TERMINAL), look, tell).ok()
    }

    /// Looks at first and whenever a process has opened or closed `file`, and tells each change
    /// until that fails.
    fn watch(
        file: &Path,
        look: impl Fn() -> bool + Send + 'static,
        tell: impl Fn(bool) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        // Before the first look, so that nothing is missed.
        let events = watch_openings(file).ok();
        let thread = log::spawn(move || {
            let mut is_read = false;
            loop {
                let reads = look();
                let changes = std::mem::replace(&mut is_read, reads) != reads;
                if changes && !tell(reads) {
                    return;
                }
                if has_stopped(&stopped, INTERVAL) {
                    return;
                }
                if events.as_ref().is_some_and(|events| !wait_for_opening(events, &stopped)) {
                    return;
                }
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ReadWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has only read tables.
            drop(thread.join());
        }
    }
}

/// Events of openings and last closings of a file, by any process.
fn watch_openings(file: &Path) -> io::Result<OwnedFd> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&events, file, WatchFlags::OPEN | WatchFlags::CLOSE)?;
    Ok(events)
}

/// Whether the watch is to end, for which it waits for this time.
fn has_stopped(stopped: &PipeReader, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap_or_default();
    let mut polled = [PollFd::new(stopped, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Waits for events, and reads them all; false if the watch is to end.
fn wait_for_opening(events: &OwnedFd, stopped: &PipeReader) -> bool {
    let mut polled =
        [events.as_fd(), stopped.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    while matches!(poll(&mut polled, None), Err(Errno::INTR)) {}
    if !polled[1].revents().is_empty() {
        return false;
    }
    let mut buffer = [0; EVENT_BYTES];
    while matches!(rustix::io::read(events, &mut buffer), Ok(_) | Err(Errno::INTR)) {}
    true
}

/// Whether a process has opened the terminal by its name, to read.
fn reads_terminal(pid: u32) -> bool {
    let directory = format!("/proc/{pid}");
    let descriptors = std::fs::read_dir(format!("{directory}/fd")).into_iter().flatten().flatten();
    let of_terminal = descriptors.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == TERMINAL)
    });
    let mut infos = of_terminal.filter_map(|entry| {
        std::fs::read_to_string(format!("{directory}/fdinfo/{}", entry.file_name().to_str()?)).ok()
    });
    infos.any(|info| is_opened_to_read(&info))
}

/// Whether a file is opened to read, by the text of `/proc/PID/fdinfo/FD` (see proc(5)).
fn is_opened_to_read(info: &str) -> bool {
    const ACCESS: u32 = 0o3;
    const WRITE_ONLY: u32 = 0o1;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS != WRITE_ONLY)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn processes_are_looked_at_only_when_the_terminal_was_opened_or_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("terminal");
        std::fs::write(&path, "").unwrap();
        let is_open = Arc::new(AtomicBool::new(false));
        let (looks, looked) = mpsc::channel();
        let (changes, changed) = mpsc::channel();
        let look = {
            let is_open = is_open.clone();
            move || {
                looks.send(()).unwrap();
                is_open.load(Ordering::Relaxed)
            }
        };
        let tell = move |reads| changes.send(reads).is_ok();
        let watch = ReadWatch::watch(&path, look, tell).unwrap();
        looked.recv().unwrap();
        is_open.store(true, Ordering::Relaxed);
        let opened = File::open(&path).unwrap();
        looked.recv().unwrap();
        assert!(changed.recv().unwrap());
        // No event, no look.
        let idle = looked.recv_timeout(INTERVAL * 3);
        assert_eq!(idle, Err(mpsc::RecvTimeoutError::Timeout));
        is_open.store(false, Ordering::Relaxed);
        drop(opened);
        looked.recv().unwrap();
        assert!(!changed.recv().unwrap());
        drop(watch);
        assert_eq!(looked.try_iter().count() + changed.try_iter().count(), 0);
    }

    #[test]
    fn a_file_is_opened_to_read_unless_it_is_opened_to_write() {
        let info = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t15\n");
        assert!(is_opened_to_read(&info("0100000")));
        assert!(is_opened_to_read(&info("0100002")));
        assert!(!is_opened_to_read(&info("0100001")));
        assert!(!is_opened_to_read("pos:\t0\n"));
    }
}
