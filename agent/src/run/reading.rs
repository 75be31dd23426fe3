//! Whether a program of a run reads its controlling terminal where that is not the standard input:
//! the client, whose user types there, leaves the keys to others until then.
//!
//! A program that asks opens `/dev/tty`. The kernel reports no such event, so the open files of the
//! run's processes are looked at while the run is active.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use burst_protocol::message::FromAgent;
use burst_sync::wire::Outgoing;

use super::processes;
use crate::log;

/// The pause between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// The name under which programs open the terminal.
const TERMINAL: &str = "/dev/tty";

/// Tells the client until it is dropped. Dropping it waits for its thread.
#[derive(Debug)]
pub(crate) struct ReadWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ReadWatch {
    /// Watches the programs below the process `ancestor`.
    pub(super) fn start(ancestor: u32, outgoing: Outgoing) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = log::spawn(move || {
            let mut is_read = false;
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                let reads = processes::below(ancestor).into_iter().any(reads_terminal);
                let changes = std::mem::replace(&mut is_read, reads) != reads;
                if changes && outgoing.message(&FromAgent::TerminalRead(reads)).is_err() {
                    return;
                }
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
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
    use super::*;

    #[test]
    fn a_file_is_opened_to_read_unless_it_is_opened_to_write() {
        let info = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t15\n");
        assert!(is_opened_to_read(&info("0100000")));
        assert!(is_opened_to_read(&info("0100002")));
        assert!(!is_opened_to_read(&info("0100001")));
        assert!(!is_opened_to_read("pos:\t0\n"));
    }
}
