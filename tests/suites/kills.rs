//! Commands and agents that are killed in every stage of a command: the next command must give
//! what it would give without the kill, no file may be half-written, and no result may be lost.
//!
//! `BURST_KILLS=300` sets the number of kills. The first 22 meet every stage, of command and
//! agent; after them moments are random. `BURST_SEED` sets what is random.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use burst_tests::{Moment, Project, assert_lines, number_from_environment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::histories::assert_same_tree;
use crate::sandbox;

/// Kills of one test run, unless the environment says otherwise: each stage is met once.
const KILLS: usize = SYNC_STAGES.len() + RUN_STAGES.len() + RESULT_STAGES.len();

/// Files of the workspace.
const FILES: usize = 3_000;

/// Files that the program changes.
const CHANGED: usize = 40;

/// Files that it makes.
const MADE: usize = 20;

/// A program that changes, creates, replaces and removes sources, and writes a file that git
/// ignores. Every file that it writes consists of equal lines, so that a part of one is told
/// from a whole one.
const PROGRAM: &str = r#"
use std::fs;
fn main() {
    let text = |n: usize| format!("run ROUND {n}\n").repeat(400);
    for n in 0..40 { fs::write(format!("data/{}/{n}", n % 7), text(n)).unwrap(); }
    fs::create_dir_all("made/ROUND").unwrap();
    for n in 0..20 { fs::write(format!("made/ROUND/{n}"), text(n)).unwrap(); }
    fs::create_dir_all("ignored").unwrap();
    fs::write("ignored/file", text(0)).unwrap();
    if fs::metadata("turns").map_or(true, |found| found.is_dir()) {
        fs::remove_dir_all("turns").ok();
        fs::write("turns", text(0)).unwrap();
    } else {
        fs::remove_file("turns").unwrap();
        fs::create_dir("turns").unwrap();
        fs::write("turns/x", text(0)).unwrap();
    }
    fs::remove_file("data/0/gone").ok();
    println!("ROUND");
}
"#;

/// A stage of a command, told by the first file that is written in it. More are written in
/// some.
struct Stage {
    name: &'static str,
    place: Place,
    file: &'static str,
    /// Which of the files of this name is the first.
    first: usize,
    /// How many files of the stage may be waited for.
    files: usize,
}

/// Where files tell a stage.
#[derive(Clone, Copy)]
enum Place {
    /// The agent's records of the project.
    AgentRecords,
    /// Its store of blobs that are being received.
    AgentStaging,
    /// Its copy of the sources.
    AgentSources,
    /// Its copy of what runs have made.
    AgentMade,
    /// What commands remember of the workspace.
    Records,
    /// The sources here.
    Sources,
}

const fn stage(name: &'static str, place: Place, file: &'static str) -> Stage {
    Stage { name, place, file, first: 1, files: 1 }
}

/// Before cargo runs.
const SYNC_STAGES: [Stage; 5] = [
    stage("the upload", Place::AgentStaging, ""),
    stage("the begin of the changes", Place::AgentRecords, "changing"),
    Stage { files: 30, ..stage("the changes", Place::AgentSources, "") },
    stage("the end of the changes", Place::AgentRecords, "changed"),
    stage("the record of what was sent", Place::Records, "base-root"),
];

/// While cargo and the program run.
const RUN_STAGES: [Stage; 2] = [
    stage("the begin of the run", Place::AgentRecords, "unfinished"),
    stage("the program", Place::AgentMade, "ROUND"),
];

/// After the program has ended.
const RESULT_STAGES: [Stage; 4] = [
    stage("the begin of the results", Place::Records, "writing-"),
    Stage { files: CHANGED, ..stage("the results", Place::Sources, ".burst-") },
    stage("the first result that is taken", Place::Records, "taken-"),
    Stage { first: 2, ..stage("the record of what was taken", Place::Records, "base-root") },
];

/// When a command or agent is killed.
enum When {
    /// After the `count`th file of a stage.
    Stage(&'static Stage, usize),
    After(Duration),
}

/// One kill.
struct Plan {
    verb: &'static str,
    when: When,
    kills_agent: bool,
    /// Whether the program has ended by then.
    has_run: bool,
}

impl Plan {
    /// The first plans meet every stage, for both victims, the others are random.
    fn new(number: usize, random: &mut fastrand::Rng) -> Self {
        let stages = || SYNC_STAGES.iter().chain(&RUN_STAGES).chain(&RESULT_STAGES);
        let count = stages().count();
        let is_first = number < 2 * count;
        let (index, kills_agent) = match is_first {
            true => (number % count, (number + number / count) % 2 == 1),
            // One more than there are stages.
            false => (random.usize(0..=count), random.u8(0..10) < 4),
        };
        let Some(stage) = stages().nth(index) else {
            let when = When::After(Duration::from_millis(random.u64(0..600)));
            return Self { verb: "run -q", when, kills_agent, has_run: false };
        };
        let more = if is_first { 0 } else { random.usize(0..stage.files) };
        let is_sync = index < SYNC_STAGES.len() && random.bool();
        Self {
            verb: if is_sync { "sync" } else { "run -q" },
            when: When::Stage(stage, stage.first + more),
            kills_agent,
            has_run: index >= SYNC_STAGES.len() + RUN_STAGES.len(),
        }
    }

    fn describe(&self) -> String {
        let when = match self.when {
            When::Stage(stage, count) => format!("file {count} of {}", stage.name),
            When::After(delay) => format!("{delay:?}"),
        };
        let victim = if self.kills_agent { "agent" } else { "command" };
        format!("`{}`, {victim} killed after {when}", self.verb)
    }
}

/// What happens after a kill.
#[derive(Debug)]
enum Next {
    /// The command runs again.
    SameRun,
    /// Another command brings the results.
    Check,
    /// Another one does after the user has edited a file that the run has changed.
    EditAndCheck,
}

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

/// A workspace, and the commands in it that are killed.
struct Kills<'a> {
    project: Project<'a>,
    /// What commands remember of it.
    records: PathBuf,
}

impl<'a> Kills<'a> {
    fn new(project: Project<'a>) -> Self {
        project.ignore("/target\n/ignored\n");
        for n in 0..FILES {
            project.write(&format!("data/{}/{n}", n % 7), format!("sent {n}\n"));
        }
        project.write("src/main.rs", PROGRAM.replace("ROUND", "first"));
        project.write("data/large", "first\n".repeat(400));
        project.ok("run -q");
        let records = project.sandbox.path().join("cache/cargo-burst/workspaces");
        let mut records = fs::read_dir(records).unwrap();
        let (first, second) = (records.next().unwrap().unwrap(), records.next());
        assert!(second.is_none());
        Self { project, records: first.path() }
    }

    fn moment(&self, stage: &Stage, count: usize, round: usize) -> Moment {
        let root = &self.project.root;
        let agent = self.project.sandbox.agent_project(root);
        let there = self.project.sandbox.agent_tree(root);
        let data = |root: &Path| (0..7).map(|n| root.join(format!("data/{n}"))).collect();
        let directories: Vec<PathBuf> = match stage.place {
            Place::AgentRecords => vec![agent],
            Place::AgentStaging => vec![agent.join("staging")],
            Place::AgentSources => data(&there),
            Place::AgentMade => vec![there.join("made")],
            Place::Records => vec![self.records.clone()],
            Place::Sources => data(root),
        };
        let directories: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        Moment::new(&directories, &stage.file.replace("ROUND", &round.to_string()), count)
    }

    /// The user's edits of one round: the program, some sources and a large file.
    fn edit(&self, round: usize) {
        let write = |path: &str, text: String| self.project.write(path, text);
        write("src/main.rs", PROGRAM.replace("ROUND", &round.to_string()));
        for n in 100..130 {
            write(&format!("data/{}/{n}", n % 7), format!("edit {round}\n"));
        }
        write("data/0/gone", format!("edit {round}\n"));
        write("data/large", format!("{}\n", format!("{round:03}").repeat(2_000)).repeat(400));
    }

    /// Starts the command of a plan and kills at its moment.
    fn start_and_kill(&self, plan: &Plan, round: usize) {
        let mut command = self.project.command(plan.verb);
        let moment = match plan.when {
            When::Stage(stage, count) => Some(self.moment(stage, count, round)),
            When::After(_) => None,
        };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let comes = moment.map(|moment| moment.comes_before_end_of(&child));
        match plan.when {
            When::After(delay) => std::thread::sleep(delay),
            // Before the first of them no command ends.
            When::Stage(stage, count) => assert!(comes == Some(true) || count > stage.first),
        }
        let victim = match plan.kills_agent {
            true => self.project.sandbox.agent(),
            false => Some(child.id().cast_signed()),
        };
        if let Some(victim) = victim {
            // It may have ended by itself.
            kill(Pid::from_raw(victim), Signal::SIGKILL).ok();
        }
        let status = child.wait().unwrap();
        let (code, is_agent) = (status.code(), plan.kills_agent);
        assert!(
            code == Some(0)
                || is_agent && matches!(code, Some(113..=115))
                || !is_agent && code.is_none(),
            "{status}"
        );
    }

    /// Brings what is missing, and fails unless that is everything.
    fn finish(&self, next: &Next, round: usize) {
        let text = |n: usize| format!("run {round} {n}\n").repeat(400);
        let project = &self.project;
        let edited = "data/1/1";
        let beside = format!("{edited}.from-burst");
        let mut is_beside = false;
        match next {
            Next::SameRun => {
                let found = project.ok("run -q");
                assert_eq!((found.stdout, found.stderr), (format!("{round}\n"), String::new()));
            }
            Next::Check => assert_lines(&project.ok("check -q").stderr, ""),
            Next::EditAndCheck => {
                is_beside = project.read(edited) != text(1);
                project.write(edited, format!("edit {round}\n"));
                let warning = format!(
                    "warning: `{beside}` is an earlier run's version of a file that was changed \
                     here, too\n"
                );
                let expected = if is_beside { warning.as_str() } else { "" };
                assert_lines(&project.ok("check -q").stderr, expected);
                assert_eq!(project.read(edited), format!("edit {round}\n"));
            }
        }
        let besides = if is_beside { vec![project.root.join(&beside)] } else { Vec::new() };
        assert_eq!(self.besides(), besides);
        if is_beside {
            assert_eq!(project.read(&beside), text(1));
            fs::remove_file(project.root.join(&beside)).unwrap();
        }
        for n in 0..CHANGED {
            let path = format!("data/{}/{n}", n % 7);
            if path != edited || !matches!(next, Next::EditAndCheck) {
                assert!(project.read(&path) == text(n), "{path}");
            }
        }
        for n in 0..MADE {
            assert!(project.read(&format!("made/{round}/{n}")) == text(n), "{n}");
        }
        assert!(project.read("ignored/file") == text(0));
        assert!(!project.has("data/0/gone"));
        for part in ["data", "made", "ignored"] {
            assert_whole(&project.root.join(part), false);
        }
        project.ok("check -q");
        assert_same_tree(project);
    }

    /// The versions of runs that are beside files of the user, and temporary files.
    fn besides(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.project.root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|end| end == "from-burst") {
                    found.push(path);
                }
            }
        }
        found
    }
}

#[test]
fn no_kill_gives_a_wrong_rerun_or_half_a_file() {
    let kills = number_from_environment("BURST_KILLS", KILLS);
    let seed = number_from_environment("BURST_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    // A command notices soon that its agent is gone.
    let sandbox = sandbox().with("CARGO_BURST_GRACE_SECS", "2");
    let state = Kills::new(sandbox.hello("app"));
    for round in 0..kills {
        let plan = Plan::new(round, &mut random);
        let next = match random.u8(0..3) {
            1 if plan.has_run => Next::Check,
            2 if plan.has_run => Next::EditAndCheck,
            _ => Next::SameRun,
        };
        println!("round {round}, seed {seed}: {}, then {next:?}", plan.describe());
        state.edit(round);
        state.start_and_kill(&plan, round);
        assert_whole(&state.project.root.join("data"), true);
        state.finish(&next, round);
    }
}
