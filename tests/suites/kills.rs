//! Commands and agents that are killed at random moments: the next command must give what it
//! would give without the kill, no file may be half-written, and no result may be lost.
//!
//! `BURST_KILLS=300` sets the number of kills, `BURST_SEED` the moments.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use burst_tests::Project;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::histories::assert_same_tree;
use crate::sandbox;

/// Kills of one test run, unless the environment says otherwise.
const KILLS: u64 = 16;

/// Files of the workspace.
const FILES: usize = 3_000;

/// A program that changes, creates, replaces and removes sources. Every file that it writes
/// consists of equal lines, so that a part of one is told from a whole one.
const PROGRAM: &str = r#"
use std::fs;
fn main() {
    let text = format!("run ROUND\n").repeat(400);
    for n in 0..40 { fs::write(format!("data/{}/{n}", n % 7), &text).unwrap(); }
    fs::create_dir_all("made/ROUND").unwrap();
    for n in 0..20 { fs::write(format!("made/ROUND/{n}"), &text).unwrap(); }
    if fs::metadata("turns").map_or(true, |found| found.is_dir()) {
        fs::remove_dir_all("turns").ok();
        fs::write("turns", &text).unwrap();
    } else {
        fs::remove_file("turns").unwrap();
        fs::create_dir("turns").unwrap();
        fs::write("turns/x", &text).unwrap();
    }
    fs::remove_file(format!("data/0/{}", 49 * 7 + ROUND % 7 * 7)).ok();
    println!("ROUND");
}
"#;

/// Fails if a file is not whole: its lines differ, or the last one is cut off. After a kill
/// there may be temporary files, which the next command removes.
fn assert_whole(directory: &Path, may_have_temporaries: bool) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_whole(&path, may_have_temporaries);
            continue;
        }
        let name = entry.file_name();
        if may_have_temporaries && name.to_string_lossy().starts_with(".burst-") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        assert!(text.ends_with('\n') && lines.all(|line| line == first), "{}", path.display());
        assert!(matches!(text.lines().count(), 1 | 400), "{}: {}", path.display(), text.len());
    }
}

fn start_and_kill(project: &Project<'_>, delay: Duration, kills_agent: bool) {
    let mut command = project.command("run -q");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The moments of the kills are what is tested.
    std::thread::sleep(delay);
    let victim = match kills_agent {
        true => project.sandbox.agent(),
        false => Some(child.id().cast_signed()),
    };
    if let Some(victim) = victim {
        // It may have ended by itself.
        kill(Pid::from_raw(victim), Signal::SIGKILL).ok();
    }
    child.wait().unwrap();
}

#[test]
fn no_kill_gives_a_wrong_rerun_or_half_a_file() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (kills, seed) = (number("BURST_KILLS", KILLS), number("BURST_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for n in 0..FILES {
        project.write(&format!("data/{}/{n}", n % 7), format!("sent {n}\n"));
    }
    project.ok("run -q");
    for round in 0..kills {
        project.write("src/main.rs", PROGRAM.replace("ROUND", &round.to_string()));
        project.write(&format!("data/{}/{}", round % 7, 70 + round % 7), format!("edit {round}\n"));
        let delay = Duration::from_millis(random.u64(0..600));
        let kills_agent = random.u8(0..10) < 4;
        let history = format!("round {round}, {delay:?}, agent {kills_agent}, seed {seed}");
        start_and_kill(&project, delay, kills_agent);
        assert_whole(&project.root.join("data"), true);
        let found = project.burst("run -q");
        let expected = (Some(0), format!("{round}\n"));
        let log = || sandbox.agent_log();
        assert!((found.code, found.stdout.clone()) == expected, "{history}\n{found:#?}\n{}", log());
        for part in ["data", "made"] {
            assert_whole(&project.root.join(part), false);
        }
        // What both have edited is beside: nothing here, since the edits are of other files.
        assert_eq!(besides(&project.root), [""; 0].map(std::path::PathBuf::from), "{history}");
        project.ok("check -q");
        println!("{history}");
        assert_same_tree(&project);
    }
}

fn besides(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(besides(&path));
        } else if path.extension().is_some_and(|end| end == "from-burst") {
            found.push(path);
        }
    }
    found
}
