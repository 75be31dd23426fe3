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

/// The id of this process; in a simulation, of the one that this thread counts as.
pub(super) fn this_process() -> u32 {
    #[cfg(test)]
    if let Some(simulated) = simulated::this_process() {
        return simulated;
    }
    std::process::id()
}

/// The record of this process, which need not exist; `kind` is the beginning of its name.
pub(super) fn own(records: &Path, kind: &str) -> PathBuf {
    records.join(format!("{kind}{}", this_process()))
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
    /// Whether its process adds nothing to it: there is none of this id, or it is this very
    /// process, which begins anew.
    pub(super) fn is_finished(&self) -> bool {
        self.process == this_process() || !self.is_alive()
    }

    fn is_alive(&self) -> bool {
        #[cfg(test)]
        if simulated::is_alive(self.process) {
            return true;
        }
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        // The permission may be missing for a process of another user that has this id now.
        pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
    }
}

/// Several commands of a simulation in one process, each on a thread of its own.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    thread_local! {
        static THIS: Cell<Option<u32>> = const { Cell::new(None) };
    }

    static ALIVE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

    /// A process that lives until this is dropped. Its id is one that no process has.
    #[derive(Debug)]
    pub(crate) struct Process(u32);

    impl Process {
        /// From now on this thread counts as that process.
        pub(crate) fn begin(number: u32) -> Self {
            const FIRST: u32 = 1 << 23;
            let id = FIRST + number;
            THIS.set(Some(id));
            ALIVE.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            Self(id)
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            THIS.set(None);
            ALIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        }
    }

    pub(super) fn this_process() -> Option<u32> {
        THIS.get()
    }

    pub(super) fn is_alive(process: u32) -> bool {
        ALIVE.lock().unwrap_or_else(PoisonError::into_inner).contains(&process)
    }
}
