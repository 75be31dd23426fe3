//! Simulations: commands and agents in one process, with a network in memory and a clock that
//! only moves while all threads sleep.
//!
//! A seed decides a world: what the user edits and when, how late, lost and repeated datagrams
//! are, when the network goes dark, whose address changes, whose disk is full, and at which
//! datagram a client is cut off, the agent killed, or both. A change of a disk may fail, or both
//! ends are killed before it. At the end one command runs undisturbed, and [`verdict`] checks what
//! must hold whatever has happened:
//!
//! - the workspace and the agent's copy of it are the same, and the artifact is of these sources;
//! - no edit is lost, and nothing that a run has written;
//! - each program has run once at most, with sources that the workspace held between the start of
//!   the command and that of the program;
//! - a command ends with its program's exit code and has printed its output once, in order;
//! - no thread panics, and no command hangs.
//!
//! What is real: both ends from the scan to the results, QUIC and TLS, the disks. What is not:
//! the sockets, cargo, the containment of runs, and the clock of QUIC, of deadlines and of
//! programs. Files are stamped by the real clock. The agent is killed when no thread of it is at
//! work; a command alone is cut off, not killed. `cargo suites kills::` kills real processes.
//!
//! A seed decides all but the order in which threads that are awake at one moment run. Steps of
//! the network wait until all of them sleep, so that it hardly ever matters: of 80 seeds 79 took
//! the same simulated time twice.
//!
//! `BURST_SEEDS` is the number of worlds (60), `BURST_SEED` the first seed (0). One world again:
//! `BURST_SEED=7 BURST_SEEDS=1 cargo test --workspace --lib simulation`.

mod command;
mod disk;
mod journal;
mod keys;
mod network;
mod program;
mod stillness;
mod verdict;
mod world;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::command::Place;
use self::disk::Disk;
use self::keys::Keys;
use self::world::World;

/// The variable with the directory of a worker.
const WORKER: &str = "BURST_SIMULATION";

/// Whether a thread of this process has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// The number of processes that simulate.
const WORKERS: u64 = 2;

/// Simulates the world of one seed.
fn simulate(seed: u64, place: &Arc<Place>, keys: &Arc<Keys>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(stillness::wait)
        .build()
        .unwrap();
    let (real, simulated, errors) = runtime.block_on(async {
        let (real, simulated) = (std::time::Instant::now(), tokio::time::Instant::now());
        let errors = World::new(seed, place.clone(), keys.clone()).run().await;
        (real.elapsed(), simulated.elapsed(), errors)
    });
    runtime.shutdown_background();
    assert!(!PANICKED.load(Ordering::Relaxed), "a thread has panicked");
    let (simulated, real) = (simulated.as_secs(), real.as_millis());
    format!("seed {seed}: {simulated} s in {real} ms; errors: {}", errors.join("; "))
}

/// The seeds that a worker has still to simulate, in a file of its directory.
#[derive(Debug)]
struct Seeds {
    next: u64,
    end: u64,
    step: u64,
}

impl Seeds {
    fn load(directory: &Path) -> Self {
        let text = fs::read_to_string(directory.join("seeds")).unwrap();
        let numbers: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        Self { next: numbers[0], end: numbers[1], step: numbers[2] }
    }

    fn save(&self, directory: &Path) {
        let text = format!("{} {} {}", self.next, self.end, self.step);
        fs::write(directory.join("seeds"), text).unwrap();
    }
}

#[test]
#[ignore = "a part of the test below, in a process of its own"]
fn worker() {
    let Some(directory) = std::env::var_os(WORKER).map(PathBuf::from) else { return };
    let printer = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::Relaxed);
        printer(panic);
    }));
    let place = Arc::new(Place::new(&directory, directory.join("output")));
    let keys = Arc::new(Keys::generate());
    burst_sync::task::before_steps(stillness::wait);
    burst_sync::disk_change::before_changes(disk::change);
    let mut seeds = Seeds::load(&directory);
    let reports = OpenOptions::new().create(true).append(true).open(directory.join("reports"));
    let mut reports = reports.unwrap();
    while seeds.next < seeds.end {
        let simulated = std::panic::AssertUnwindSafe(|| simulate(seeds.next, &place, &keys));
        let report = std::panic::catch_unwind(simulated).unwrap_or_else(|failure| {
            eprintln!("{}", place.story());
            std::panic::resume_unwind(failure)
        });
        writeln!(reports, "{report}").unwrap();
        place.clear();
        seeds.next += seeds.step;
        seeds.save(&directory);
    }
}

/// Starts a worker that goes on where the last one was killed.
fn start_worker(directory: &Path) -> Child {
    let open = |name: &str| {
        OpenOptions::new().create(true).append(true).open(directory.join(name)).unwrap()
    };
    let name = format!("{}::worker", module_path!().split_once("::").unwrap().1);
    Command::new(std::env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--ignored", "--nocapture"])
        .env(WORKER, directory)
        .env("XDG_CONFIG_HOME", directory.join("here/config"))
        .env_remove("HCLOUD_TOKEN")
        .stdin(Stdio::null())
        .stdout(open("output"))
        .stderr(File::create(directory.join("errors")).unwrap())
        .spawn()
        .unwrap()
}

/// Runs a worker to its end, and starts it again when it has killed itself. Fails with what it
/// has said of the seed that it was at.
fn supervise(directory: &Path) -> Result<(), String> {
    loop {
        let status = start_worker(directory).wait().unwrap();
        if status.success() {
            return Ok(());
        }
        if status.signal() != Some(nix::libc::SIGKILL) {
            let seed = Seeds::load(directory).next;
            let errors = fs::read_to_string(directory.join("errors")).unwrap();
            return Err(format!("seed {seed}: {status}\n{errors}"));
        }
    }
}

/// From now on mounts of this thread, and of the processes that it starts, are theirs alone.
fn own_mounts() -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
}

/// Prepares the directory of a worker, with disks that can be full where that is allowed.
fn prepare(directory: &Path, seeds: &Seeds) -> nix::Result<()> {
    let disks = ["here", "there"].map(|name| directory.join(name));
    for disk in &disks {
        fs::create_dir_all(disk).unwrap();
    }
    seeds.save(directory);
    disks.iter().try_for_each(|disk| Disk::mount(disk))
}

#[test]
fn what_comes_back_is_right_in_every_world() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let (first, count) = (number("BURST_SEED", 0), number("BURST_SEEDS", 60));
    let base = tempfile::tempdir().unwrap();
    // Mounts are this thread's and its children's, and end with them.
    let own = own_mounts();
    let directories = (0..WORKERS).map(|index| {
        let directory = base.path().join(index.to_string());
        let seeds = Seeds { next: first + index, end: first + count, step: WORKERS };
        let mounted = own.and_then(|()| prepare(&directory, &seeds));
        if let Err(error) = mounted {
            fs::create_dir_all(&directory).unwrap();
            seeds.save(&directory);
            let skipped = format!("no full disks are simulated: {error}");
            assert!(std::env::var_os("BURST_NO_SKIP").is_none(), "{skipped}");
            drop(io::stderr().write_all(skipped.as_bytes()));
        }
        directory
    });
    let directories: Vec<PathBuf> = directories.collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        // Threads of this one have its mounts.
        let workers = directories.iter().map(|directory| scope.spawn(|| supervise(directory)));
        let workers: Vec<_> = workers.collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap().err()).collect()
    });
    for directory in &directories {
        print!("{}", fs::read_to_string(directory.join("reports")).unwrap_or_default());
        if own.is_ok() {
            for disk in ["here", "there"] {
                Disk::unmount(&directory.join(disk)).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
