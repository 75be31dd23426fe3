//! Two commands of one workspace at once, as an editor and a terminal start them: rounds of
//! random verbs, with edits before the commands and while they run.
//!
//! After each round both commands have succeeded without a warning, the program is the one of
//! the last edit, every file here has the content that its last writer gave it, and the agent
//! has the same tree.
//!
//! `BURST_ROUNDS=500` sets the number of rounds, `BURST_SEED` what happens in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use burst_tests::{Moment, Project, Sandbox, ended, number_from_environment, wait_until};

use crate::histories::assert_same_tree;
use crate::sandbox;

/// Rounds of one test run, unless the environment says otherwise.
const ROUNDS: u64 = 12;

/// What starts at once. `run` and `test` run a program that writes sources. The formatter
/// replaces a file in two steps: beside it only a command runs that compiles nothing.
const PAIRS: [[&str; 2]; 20] = [
    ["check -q", "build -q"],
    ["check -q", "run -q"],
    ["check -q", "test -q --cargo-test"],
    ["check -q", "check -q"],
    ["build -q", "build -q"],
    ["build -q", "run -q"],
    ["build -q", "test -q --cargo-test"],
    ["build -q", "doc -q"],
    ["run -q", "run -q"],
    ["run -q", "test -q --cargo-test"],
    ["run -q", "sync"],
    ["run -q", "clippy -q"],
    ["test -q --cargo-test", "test -q --cargo-test"],
    ["build -q", "sync"],
    [FORMAT, "sync"],
    ["clean -q", "sync"],
    ["clean -q", "build -q"],
    ["clean -q", "run -q"],
    ["clean -q", "test -q --cargo-test"],
    ["clean -q", "clean -q"],
];

/// Formats the sources on this machine.
const FORMAT: &str = "fmt";

/// A program, and a test, that create and replace sources, one of which git ignores, and remove
/// one. Both wait while `HOLD` exists. With an argument the program only prints.
const PROGRAM: &str = r#"use std::fs;
use std::path::Path;

const PART: &str = include_str!("part.txt");

fn work(name: &str) {
    let text = PART.repeat(300);
    for directory in ["made", "ignored"] {
        fs::create_dir_all(directory).unwrap();
        fs::write(format!("{directory}/{name}"), &text).unwrap();
    }
    fs::write(format!("made/{name}-{}", PART.trim()), &text).unwrap();
    fs::remove_file("data/gone").ok();
    fs::write("STARTED", "").unwrap();
    while Path::new("HOLD").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn main() {
    if std::env::args().count() == 1 {
        work("run");
    }
    print!("{PART}");
}

#[test]
fn works() {
    work("test");
}
"#;

/// When the workspace is edited while the commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum During {
    Nothing,
    /// Once the first one runs; the second one starts after that, so that it needs another
    /// state of the workspace and waits for the first one.
    Between,
    /// So many milliseconds after both have been started.
    After(u64),
    /// While a program of theirs runs.
    Held,
}

struct Rounds<'a> {
    project: Project<'a>,
    random: fastrand::Rng,
    /// The number in the part that is compiled in; no two are the same.
    version: u64,
    /// All files of the workspace.
    files: BTreeMap<String, String>,
}

impl<'a> Rounds<'a> {
    fn new(sandbox: &'a Sandbox, seed: u64) -> Self {
        let project = sandbox.hello("app");
        let manifest = project.read("Cargo.toml") + "[profile.dev]\ndebug = 0\n";
        project.write("Cargo.toml", manifest);
        project.ignore("/target\n/ignored\n");
        let place = |name: &str| sandbox.path().join(name).display().to_string();
        let program = PROGRAM.replace("STARTED", &place("started"));
        project.write("src/main.rs", program.replace("HOLD", &place("hold")));
        project.write("src/part.txt", "0\n");
        project.ok(FORMAT);
        project.ok("build -q");
        let files = files(&project.root);
        Self { project, random: fastrand::Rng::with_seed(seed), version: 0, files }
    }

    /// Writes a file in one step, as an editor does.
    fn write(&mut self, path: &str, content: String) {
        let new = self.project.sandbox.path().join("new");
        fs::write(&new, &content).unwrap();
        let place = self.project.root.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(new, place).unwrap();
        self.files.insert(path.to_owned(), content);
    }

    fn remove(&mut self, path: &str) {
        if self.files.remove(path).is_some() {
            fs::remove_file(self.project.root.join(path)).unwrap();
        }
    }

    fn new_version(&mut self) -> String {
        self.version += 1;
        self.write("src/part.txt", format!("{}\n", self.version));
        format!("version {}", self.version)
    }

    /// An edit of a file that no run writes.
    fn edit(&mut self) -> String {
        let (file, other) = (self.random.u8(0..6), self.random.u8(0..6));
        let (path, other) = (format!("data/{file}"), format!("data/{other}"));
        match self.random.u8(0..6) {
            0..3 => return self.new_version(),
            3 => {
                let length = self.random.usize(1..4_000);
                let word = format!("{} ", self.random.u64(..));
                self.write(&path, word.repeat(length / 20));
            }
            4 => self.remove(&path),
            _ => {
                if let Some(content) = self.files.get(&path).cloned() {
                    self.remove(&path);
                    self.write(&other, content);
                }
            }
        }
        format!("an edit of {path}")
    }

    /// An edit of what runs have written or will remove.
    fn edit_made(&mut self) -> &'static str {
        match self.random.u8(0..4) {
            0 => {
                self.write("data/gone", "sent\n".to_owned());
                "data/gone"
            }
            1 => {
                self.write("made/run", "mine\n".to_owned());
                "made/run"
            }
            2 => {
                let made = self.project.root.join("made");
                if made.exists() {
                    fs::remove_dir_all(made).unwrap();
                }
                self.files.retain(|path, _| !path.starts_with("made/"));
                "no made"
            }
            _ => {
                self.remove("ignored/test");
                "no ignored/test"
            }
        }
    }

    fn perform(&mut self, number: u64, seed: u64) {
        let pair = *self.random.choice(&PAIRS).unwrap();
        let mut edits: Vec<_> = (0..self.random.u8(0..3)).map(|_| self.edit()).collect();
        if self.random.u8(0..3) == 0 {
            edits.push(self.edit_made().to_owned());
        }
        let runs = |name: &str| pair.iter().any(|verb| verb.starts_with(name));
        let has_program = runs("run") || runs("test");
        let during = match self.random.u8(0..6) {
            0 => During::Nothing,
            1 if has_program => During::Held,
            1..4 => During::Between,
            _ => During::After(self.random.u64(0..80)),
        };
        tell(&format!("round {number}, seed {seed}: {edits:?}, {pair:?}, edits then: {during:?}"));
        if pair.contains(&FORMAT) {
            let formatted = self.project.read("src/main.rs");
            self.project.write("src/main.rs", formatted.replace("    ", " "));
        }
        let before = self.version;
        let outputs = self.start_both(pair, during);
        let versions = [before, self.version];
        let printed: Vec<u64> = outputs.iter().flatten().copied().collect();
        for version in &printed {
            assert!(versions.contains(version), "{printed:?} of {versions:?}");
        }
        if runs("run") {
            self.note_made("run", &printed);
        }
        if runs("test") {
            self.note_made("test", &versions);
        }
        if has_program {
            self.files.remove("data/gone");
        }
        self.check();
    }

    /// Starts both commands, edits, and waits for their success. Returns what `run` has
    /// printed.
    fn start_both(&mut self, pair: [&str; 2], during: During) -> [Option<u64>; 2] {
        let [hold, started] =
            ["hold", "started"].map(|name| self.project.sandbox.path().join(name));
        drop(fs::remove_file(&started));
        if during == During::Held {
            fs::write(&hold, "").unwrap();
        }
        let records = self.project.sandbox.agent_project(&self.project.root);
        let run = Moment::new(&[&records], "unfinished", 1);
        let first = self.project.start(pair[0]);
        if during == During::Between {
            // A command that runs nothing ends without this moment.
            run.comes_before_end_of(&first);
            self.edit_while_they_run();
        }
        let second = self.project.start(pair[1]);
        match during {
            During::Nothing | During::Between => {}
            During::After(milliseconds) => {
                // The moments of the edits are what is tested.
                std::thread::sleep(Duration::from_millis(milliseconds));
                self.edit_while_they_run();
            }
            During::Held => {
                wait_until("the program", || started.exists());
                self.edit_while_they_run();
            }
        }
        drop(fs::remove_file(&hold));
        [self.succeeded(pair[0], first), self.succeeded(pair[1], second)]
    }

    fn edit_while_they_run(&mut self) {
        let edits = [self.edit(), self.edit()];
        tell(&format!("while they ran: {edits:?}"));
    }

    /// Waits for a command, which succeeds without a warning. Returns the version that `run` has
    /// printed.
    fn succeeded(&self, verb: &str, command: Child) -> Option<u64> {
        let found = ended(command.wait_with_output().unwrap());
        let log = || self.project.sandbox.agent_log();
        let stderr = match verb {
            "sync" => found.stderr.lines().filter(|line| !line.starts_with("burst: ")).collect(),
            _ => found.stderr.clone(),
        };
        assert_eq!((found.code, stderr.as_str()), (Some(0), ""), "{verb}: {found:#?}\n{}", log());
        verb.starts_with("run").then(|| found.stdout.trim().parse().unwrap())
    }

    /// Notes what programs of one or both of these versions have written. Where that is the
    /// same file, either version may be the last one.
    fn note_made(&mut self, name: &str, versions: &[u64]) {
        let text = |version: &u64| format!("{version}\n").repeat(300);
        let last = self.project.read(&format!("made/{name}"));
        let version = versions.iter().find(|version| last == text(version));
        let last = version.unwrap_or_else(|| {
            let (length, begin) = (last.len(), last.lines().next());
            let log = self.project.sandbox.agent_log();
            panic!("made/{name}, {length} bytes of {begin:?}, is of none of {versions:?}\n{log}")
        });
        for directory in ["made", "ignored"] {
            self.files.insert(format!("{directory}/{name}"), text(last));
        }
        for version in versions {
            let path = format!("made/{name}-{version}");
            // A test does not tell which version it is of.
            if name == "run" || version == last || self.project.has(&path) {
                self.files.insert(path, text(version));
            }
        }
    }

    /// Fails unless a build now gives the program of the last edit, and both ends have all files.
    fn check(&self) {
        self.assert_files();
        self.project.ok("build -q");
        let mut program = Command::new(self.project.root.join("target/debug/hello"));
        let found = ended(program.arg("print").output().unwrap());
        assert_eq!(found.stdout, format!("{}\n", self.version));
        self.assert_files();
        assert_same_tree(&self.project);
        let target = files(&self.project.root.join("target"));
        let left: Vec<_> = target.keys().filter(|path| path.contains(".burst-")).collect();
        assert_eq!(left, [""; 0]);
    }

    fn assert_files(&self) {
        let found = files(&self.project.root);
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&self.files));
        for (path, content) in &self.files {
            assert_eq!(found.get(path), Some(content), "{path}");
        }
    }
}

/// Tells what is done, for messages of failed tests.
#[expect(clippy::print_stdout, reason = "shown only if the test fails")]
fn tell(text: &str) {
    println!("{text}");
}

/// The files below a directory, but for its target directory. Contents that are no text are
/// left out.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if below == "target" {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(below, fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    found
}

fn perform_rounds(sandbox: &Sandbox, rounds: u64) {
    let seed = number_from_environment("BURST_SEED", 1);
    let mut state = Rounds::new(sandbox, seed);
    for number in 0..rounds {
        state.perform(number, seed);
    }
}

#[test]
fn two_commands_at_once_with_edits_both_succeed() {
    perform_rounds(&sandbox(), number_from_environment("BURST_ROUNDS", ROUNDS));
}

/// As to a server: sources and artifacts travel as patches on earlier versions.
#[test]
fn two_commands_at_once_exchange_patches() {
    let sandbox = sandbox().with("CARGO_BURST_COMPRESSION", "always");
    perform_rounds(&sandbox, number_from_environment("BURST_ROUNDS", ROUNDS) / 4);
}
