//! Records of single commands in the directory of a workspace's state: a file of a process has
//! the id of that process in its name.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// A record of one process.
#[derive(Debug)]
pub(super) struct ProcessRecord {
    /// The id of the process.
    pub(super) process: u32,
    /// The file.
    pub(super) path: PathBuf,
}

/// The record of this process, which need not exist; `kind` is the beginning of its name.
pub(super) fn own(records: &Path, kind: &str) -> PathBuf {
    records.join(format!("{kind}{}", std::process::id()))
}

/// All records of a kind.
pub(super) fn all(records: &Path, kind: &str) -> impl Iterator<Item = ProcessRecord> {
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let process = entry.file_name().to_str()?.strip_prefix(kind)?.parse().ok()?;
        Some(ProcessRecord { process, path: entry.path() })
    })
}

impl ProcessRecord {
    /// Whether a process of this id exists.
    pub(super) fn is_alive(&self) -> bool {
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        // The permission may be missing for a process of another user that has this id now.
        pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
    }
}
