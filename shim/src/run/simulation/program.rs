//! The program that runs in place of cargo: it reads the sources, takes its time, prints, builds
//! an artifact of them, and changes files of its tree.
//!
//! All of it is decided by the seed and the number of the command, and by what the tree holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use burst_agent::simulation::Call;
use burst_protocol::Digest;

use super::journal::{Entry, Journal};

/// The variable with the number of the command.
pub(super) const COMMAND: &str = "SIMULATED_COMMAND";

/// Where an artifact is in the target directory.
pub(super) const ARTIFACT: &str = "debug/app";

/// A file that the user edits and every other run appends to.
pub(super) const SHARED: &str = "shared.txt";

/// Where programs write files that no one else has. Those in the second are ignored by git.
pub(super) const UNIQUE: [&str; 2] = ["made", "ignored"];

/// The program of one agent.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) seed: u64,
    pub(super) journal: Arc<Journal>,
    /// The number of the agent that runs it, and of the one that is alive.
    pub(super) agent: u32,
    pub(super) alive: Arc<AtomicU32>,
    /// Commands from this number on succeed.
    pub(super) succeeds_from: Arc<AtomicU32>,
}

impl Program {
    /// Carries out one call. Returns the exit code.
    pub(super) async fn run(self, call: Call) -> i32 {
        let command = number(&call);
        let fails = fastrand::Rng::with_seed(self.seed ^ u64::from(command)).u8(0..5) == 0;
        let mut lines = 0;
        let code = match self.work(command, call, &mut lines).await {
            // Of the output: then the run has been ended; or of a full disk, as of cargo's.
            Err(_) => 1,
            Ok(()) if fails && command < self.succeeds_from.load(Ordering::Relaxed) => 101,
            Ok(()) => 0,
        };
        self.note(Entry::Exited { command, code, lines });
        code
    }

    async fn work(&self, command: u32, mut call: Call, lines: &mut u32) -> std::io::Result<()> {
        let target = PathBuf::from(variable(&call, "CARGO_TARGET_DIR"));
        let mut random = fastrand::Rng::with_seed(self.seed ^ u64::from(command) << 32);
        let sources = sources(&call.directory);
        self.note(Entry::Started { command, sources: sources.clone() });
        for line in 0..random.u32(1..5) {
            let padding = "x".repeat(random.usize(0..40_000));
            writeln!(call.output, "<{command}:{line}>{padding}")?;
            *lines += 1;
            let pause = if random.u8(0..4) == 0 { 12_000 } else { 300 };
            tokio::time::sleep(Duration::from_millis(random.u64(0..pause))).await;
        }
        self.build(&target, &sources)?;
        self.change(command, &call.directory, &mut random)?;
        tokio::time::sleep(Duration::from_millis(random.u64(0..500))).await;
        Ok(())
    }

    /// Records what has happened, unless the agent was killed: the next one has its disk from
    /// before that.
    fn note(&self, entry: Entry) {
        if self.alive.load(Ordering::Relaxed) == self.agent {
            self.journal.add(entry);
        }
    }

    fn build(&self, target: &Path, sources: &str) -> std::io::Result<()> {
        let artifact = target.join(ARTIFACT);
        fs::create_dir_all(artifact.parent().unwrap())?;
        let content = artifact_of(sources);
        // As cargo: only what is not there.
        if fs::read(&artifact).ok() != Some(content.clone()) {
            fs::write(&artifact, content)?;
        }
        // By this file cargo marks the directory of a profile.
        fs::write(artifact.with_file_name(".cargo-lock"), "")
    }

    fn change(&self, command: u32, root: &Path, random: &mut fastrand::Rng) -> std::io::Result<()> {
        for directory in UNIQUE {
            if random.u8(0..3) == 0 {
                continue;
            }
            let path = format!("{directory}/{command}.txt");
            let content = format!("made by {command}\n").repeat(random.usize(1..2000));
            fs::create_dir_all(root.join(directory))?;
            fs::write(root.join(&path), &content)?;
            self.note(Entry::Left { command, path, content });
        }
        if random.bool() {
            let path = root.join(SHARED);
            let line = format!("run {command}\n");
            let text = fs::read_to_string(&path).unwrap_or_default() + &line;
            fs::write(&path, text)?;
            self.note(Entry::Left { command, path: SHARED.into(), content: line });
        }
        if random.u8(0..3) == 0 {
            let junk = root.join(format!("junk/{}", random.u8(0..4)));
            if junk.exists() {
                fs::remove_file(junk)?;
            }
        }
        if random.u8(0..3) == 0 {
            change_shape(&root.join("shape"), command)?;
        }
        Ok(())
    }
}

/// The number of the command.
fn number(call: &Call) -> u32 {
    variable(call, COMMAND).parse().unwrap()
}

fn variable(call: &Call, name: &str) -> String {
    let found = call.environment.iter().find(|(other, _)| other == name);
    found.and_then(|(_, value)| value.to_str()).unwrap().to_owned()
}

/// Makes a directory of a file, and the other way round.
fn change_shape(path: &Path, command: u32) -> std::io::Result<()> {
    let text = format!("shape of {command}\n");
    if path.is_dir() {
        fs::remove_dir_all(path)?;
        return fs::write(path, text);
    }
    if path.exists() {
        fs::remove_file(path)?;
    }
    fs::create_dir_all(path.join("deep"))?;
    fs::write(path.join("deep/file"), text)
}

/// What a build of sources gives.
pub(super) fn artifact_of(sources: &str) -> Vec<u8> {
    let seed = u64::from_str_radix(&sources[..16], 16).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = sources.as_bytes().to_vec();
    bytes.resize_with(sources.len() + 60_000, || random.u8(..));
    bytes
}

/// A digest of the files in `src`.
pub(super) fn sources(root: &Path) -> String {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root.join("src")).unwrap() {
        let entry = entry.unwrap();
        files.insert(entry.file_name(), Digest::of(&fs::read(entry.path()).unwrap()).to_hex());
    }
    Digest::of(format!("{files:?}").as_bytes()).to_hex()
}
