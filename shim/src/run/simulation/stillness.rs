//! Whether all other threads of this process sleep.
//!
//! The clock of a simulation may only move when nothing is left to do at the present time.
//! The kernel knows: a thread that was woken is runnable from that moment on, even before it
//! runs. If two looks find every thread asleep, and none has run in between, all of them slept
//! from the end of the first look to the beginning of the second. The first may be an earlier
//! one. Needs a kernel that counts how often a thread runs (`CONFIG_SCHED_INFO`) and tells where
//! it sleeps (`CONFIG_KALLSYMS`).
//!
//! Processes that a thread waits for do not count: commands of a simulation start none.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long real work may take at one moment of the simulation.
const DEADLINE: Duration = Duration::from_secs(60);

thread_local! {
    static THREADS: RefCell<Threads> = RefCell::default();
}

/// Blocks until all other threads of this process sleep.
///
/// # Panics
///
/// If they do not within a minute.
pub(super) fn wait() {
    THREADS.with_borrow_mut(|threads| {
        let began = Instant::now();
        loop {
            let now = threads.asleep();
            if now.is_some() && now == threads.last {
                let has_run = |(_, runs): &(u32, Vec<u8>)| !runs.starts_with(b"0 0 0");
                assert!(now.is_none_or(|all| all.iter().any(has_run)), "the kernel does not count");
                return;
            }
            assert!(began.elapsed() < DEADLINE, "a thread is busy or waits for real time");
            if now.is_none() {
                std::thread::yield_now();
            }
            threads.last = now;
        }
    });
}

/// Sleeping threads, and how often each has run.
type Asleep = Vec<(u32, Vec<u8>)>;

/// The threads of this process.
#[derive(Debug, Default)]
struct Threads {
    files: HashMap<u32, Thread>,
    /// What the last look has found.
    last: Option<Asleep>,
}

/// The kernel's files of a thread.
#[derive(Debug)]
struct Thread {
    status: File,
    times: File,
    place: File,
}

impl Threads {
    /// The threads beside this one; none if one of them is not asleep.
    fn asleep(&mut self) -> Option<Asleep> {
        let own = nix::unistd::gettid().as_raw().unsigned_abs();
        let mut asleep = Vec::new();
        for entry in std::fs::read_dir("/proc/self/task").ok()? {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            if id == own {
                continue;
            }
            match self.thread(id)?.runs_if_asleep() {
                Ok(runs) => asleep.push((id, runs?)),
                Err(_) => {
                    // It has ended. Another one may have its id next.
                    self.files.remove(&id);
                    return None;
                }
            }
        }
        if self.files.len() > asleep.len() {
            self.files.retain(|id, _| asleep.iter().any(|(living, _)| living == id));
        }
        Some(asleep)
    }

    fn thread(&mut self, id: u32) -> Option<&Thread> {
        let open = |name: &str| File::open(format!("/proc/self/task/{id}/{name}")).ok();
        match self.files.entry(id) {
            Occupied(known) => Some(known.into_mut()),
            Vacant(new) => {
                let (status, times, place) = (open("stat")?, open("schedstat")?, open("wchan")?);
                Some(new.insert(Thread { status, times, place }))
            }
        }
    }
}

impl Thread {
    /// How often it has run; none if it is not asleep. Fails if it has ended.
    fn runs_if_asleep(&self) -> std::io::Result<Option<Vec<u8>>> {
        let status = read(&self.status)?;
        // The name stands in parentheses, and may have some.
        let name_end = status.iter().rposition(|byte| *byte == b')').unwrap_or(0);
        let (name, rest) = status.split_at(name_end);
        if !rest.starts_with(b") S ") {
            return Ok(None);
        }
        let is_asleep = match read(&self.place)?.as_slice() {
            // It is about to sleep, and still has its processor or waits for one.
            b"0" => false,
            // It waits for a moment of real time. A session does so for the tick of the clock
            // that stamps files, and goes on by itself.
            b"hrtimer_nanosleep" => !name.ends_with(b"(session"),
            _ => true,
        };
        if is_asleep { read(&self.times).map(Some) } else { Ok(None) }
    }
}

/// The beginning of one of the kernel's files.
fn read(file: &File) -> std::io::Result<Vec<u8>> {
    const BYTES_MAX: usize = 512;
    let mut bytes = vec![0; BYTES_MAX];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}
