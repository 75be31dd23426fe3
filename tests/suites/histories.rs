//! Random histories of a workspace. After each step the agent's tree is the same
//! byte for byte, and a build is neither stale nor needless: the program that came
//! back prints what the sources say, and cargo compiles only if one of them
//! changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use burst_tests::Project;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::sandbox;

/// How many histories each of the two tests runs; 300 in all.
const HISTORIES: usize = 150;

/// Files that are compiled in, by their numbers.
const COMPILED: u8 = 4;

/// Files that merely are in the tree.
const OTHERS: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    /// Write something, perhaps for the first time.
    Edit {
        file: u8,
        content: u16,
    },
    /// Write something else of the same size.
    EditSameSize {
        file: u8,
    },
    /// Write twice, the second time in the tick of the first.
    EditTwice {
        file: u8,
    },
    /// Move a file over another one.
    Rename {
        from: u8,
        to: u8,
    },
    Delete {
        file: u8,
    },
    /// Toggle whether it is executable.
    Chmod {
        file: u8,
    },
    /// Put a link in its place.
    Link {
        file: u8,
        target: u8,
    },
    /// Make a directory of a file, or a file of a directory.
    Swap {
        file: u8,
    },
    /// A new time, the same content.
    Touch {
        file: u8,
    },
    /// Content that was there before, with a time from before that.
    CheckOutOld {
        file: u8,
    },
    /// Nothing at all.
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    let file = || 0..COMPILED + OTHERS;
    prop_oneof![
        3 => (file(), any::<u16>()).prop_map(|(file, content)| Step::Edit { file, content }),
        3 => file().prop_map(|file| Step::EditSameSize { file }),
        2 => file().prop_map(|file| Step::EditTwice { file }),
        1 => (file(), file()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => file().prop_map(|file| Step::Delete { file }),
        1 => file().prop_map(|file| Step::Chmod { file }),
        1 => (file(), file()).prop_map(|(file, target)| Step::Link { file, target }),
        1 => file().prop_map(|file| Step::Swap { file }),
        1 => file().prop_map(|file| Step::Touch { file }),
        2 => file().prop_map(|file| Step::CheckOutOld { file }),
        1 => Just(Step::Nothing),
    ]
}

/// The clock by which files are stamped here: as it is, or an hour off.
fn clock() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0_i64), 1 => Just(3600), 1 => Just(-3600)]
}

struct Workspace<'a> {
    project: Project<'a>,
    offset_secs: i64,
    writes: u64,
    old: BTreeMap<u8, (Vec<u8>, SystemTime)>,
}

impl Workspace<'_> {
    fn path(&self, file: u8) -> PathBuf {
        let name = if file < COMPILED {
            format!("src/part{file}.txt")
        } else {
            format!("data/{}/f{file}", file % 2)
        };
        self.project.root.join(name)
    }

    fn now(&self) -> SystemTime {
        let offset = Duration::from_secs(self.offset_secs.unsigned_abs());
        if self.offset_secs < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset }
    }

    fn clear(&self, path: &Path) {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => fs::create_dir_all(path.parent().unwrap()).unwrap(),
        }
    }

    fn write(&mut self, file: u8, content: &[u8], time: Option<SystemTime>) {
        let path = self.path(file);
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            self.clear(&path);
        } else if let Ok(held) = fs::read(&path) {
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            self.old.insert(file, (held, time - Duration::from_secs(7200)));
        }
        fs::write(&path, content).unwrap();
        let time = time.unwrap_or_else(|| self.now());
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        self.writes += 1;
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Edit { file, content } => {
                let text = format!("{content} {}\n", "x".repeat(usize::from(content % 97)));
                self.write(file, text.as_bytes(), None);
            }
            Step::EditSameSize { file } => {
                let text = format!("{:020}\n", self.writes);
                self.write(file, text.as_bytes(), None);
            }
            Step::EditTwice { file } => {
                for round in 0..2 {
                    let text = format!("{:019}{round}\n", self.writes);
                    self.write(file, text.as_bytes(), None);
                }
            }
            Step::Rename { from, to } => {
                let (from, to) = (self.path(from), self.path(to));
                if from != to && fs::symlink_metadata(&from).is_ok() {
                    self.clear(&to);
                    fs::rename(from, to).unwrap();
                }
            }
            Step::Delete { file } => self.clear(&self.path(file)),
            Step::Chmod { file } => {
                let path = self.path(file);
                if let Ok(found) = fs::symlink_metadata(&path)
                    && found.is_file()
                {
                    let mode = found.permissions().mode() ^ 0o111;
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            Step::Link { file, target } => {
                let path = self.path(file);
                self.clear(&path);
                symlink(format!("../anywhere/{target}"), path).unwrap();
            }
            Step::Swap { file } => {
                let path = self.path(file);
                let was_file = fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir());
                if was_file {
                    self.clear(&path);
                    fs::create_dir_all(path.join("inner/deeper")).unwrap();
                    fs::write(path.join("inner/x"), self.writes.to_string()).unwrap();
                    self.writes += 1;
                } else {
                    self.write(file, b"was no file\n", None);
                }
            }
            Step::Touch { file } => {
                if let Ok(open) = fs::File::options().write(true).open(self.path(file)) {
                    open.set_modified(self.now()).unwrap();
                }
            }
            Step::CheckOutOld { file } => {
                if let Some((content, time)) = self.old.get(&file).cloned() {
                    self.write(file, &content, Some(time));
                }
            }
            Step::Nothing => {}
        }
    }

    /// What the program should print: the parts that can be compiled in.
    fn expected(&self) -> (String, String) {
        let mut source = String::from("fn main() {\n");
        let mut output = String::new();
        for file in 0..COMPILED {
            let path = self.path(file);
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                source += &format!("    print!(\"{{}}\", include_str!(\"part{file}.txt\"));\n");
                output += &fs::read_to_string(&path).unwrap();
            }
        }
        (source + "}\n", output)
    }

    fn check(&self, before: &mut Option<(String, String)>, history: &str) {
        let (source, output) = self.expected();
        if self.project.read("src/main.rs") != source {
            self.project.write("src/main.rs", &source);
        }
        let ended = self.project.burst("build");
        assert_eq!(
            ended.code,
            Some(0),
            "{history}\n{ended:#?}\n{}",
            self.project.sandbox.agent_log()
        );
        assert_eq!(
            self.project.output_of("target/debug/hello"),
            output,
            "stale: {history}\n{ended:#?}"
        );
        let now = Some((source, output));
        let compiled = ended.stderr.contains("Compiling");
        // What is printed says nothing about which part it came from: the parts
        // decide, and a moved part changes them.
        if *before == now
            && compiled
            && !history.contains("Rename")
            && !history.contains("CheckOutOld")
        {
            panic!("needless: {history}\n{ended:#?}");
        }
        *before = now;
        assert_same_tree(&self.project);
    }
}

/// Compares the agent's tree with the workspace: names, kinds, contents, links,
/// and permission bits.
pub(crate) fn assert_same_tree(project: &Project<'_>) {
    let here = entries(&project.root);
    let there = entries(&project.sandbox.agent_tree(&project.root));
    for (path, entry) in &here {
        assert!(there.get(path) == Some(entry), "{path:?} is not the same on the agent");
    }
    let more: Vec<_> = there.keys().filter(|path| !here.contains_key(*path)).collect();
    assert!(more.is_empty(), "only on the agent: {more:?}");
}

fn entries(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(root).unwrap().to_owned();
            if below == Path::new("target") || below == Path::new(".git") {
                continue;
            }
            let status = fs::symlink_metadata(&path).unwrap();
            let entry = if status.is_symlink() {
                (1, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if status.is_dir() {
                directories.push(path);
                (2, Vec::new())
            } else {
                (status.permissions().mode() & 0o777, fs::read(&path).unwrap())
            };
            found.insert(below, entry);
        }
    }
    found
}

fn run_histories(seed: u8) {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "Cargo.toml",
        project.read("Cargo.toml") + "[profile.dev]\ndebug = 0\nincremental = false\n",
    );
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut workspace = Workspace { project, offset_secs: 0, writes: 0, old: BTreeMap::new() };
    let mut before = None;
    workspace.check(&mut before, "the beginning");
    let histories = (clock(), proptest::collection::vec(step(), 1..4));
    for number in 0..HISTORIES {
        let (offset_secs, steps) = histories.new_tree(&mut runner).unwrap().current();
        workspace.offset_secs = offset_secs;
        for step in &steps {
            workspace.perform(step);
            let history = format!(
                "seed {seed}, history {number}: {step:?} of {steps:?}, clock {offset_secs:+} s"
            );
            workspace.check(&mut before, &history);
        }
    }
}

#[test]
fn random_histories_even() {
    run_histories(2);
}

#[test]
fn random_histories_odd() {
    run_histories(3);
}
