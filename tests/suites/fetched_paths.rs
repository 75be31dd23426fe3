//! `--fetch PATH`: what else a run has written.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use burst_tests::{Moment, Project, Sandbox, assert_explained, ended, temporaries};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{cloud, sandbox_on};
use crate::sandbox;

/// A program that writes a file that is too large to come by itself, and two below `target`.
fn writer(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.write(".gitignore", "/target\n/large\n");
    project.write(
        "src/main.rs",
        "use std::fs;\nfn main() {\n    std::env::set_current_dir(env!(\"CARGO_MANIFEST_DIR\")).unwrap();\n    let text = std::env::args().nth(1).unwrap();\n    fs::create_dir_all(\"target/data/deep\").unwrap();\n    fs::write(\"target/data/one\", &text).unwrap();\n    fs::write(\"target/data/deep/two\", &text).unwrap();\n    fs::write(\"large\", &text).unwrap();\n    fs::File::options().write(true).open(\"large\").unwrap().set_len(65 << 20).unwrap();\n}\n",
    );
    project
}

fn beginning(project: &Project<'_>, name: &str) -> String {
    let bytes = fs::read(project.root.join(name)).unwrap();
    String::from_utf8(bytes.into_iter().take_while(|byte| *byte != 0).collect()).unwrap()
}

fn brings_what_is_named(sandbox: &Sandbox) {
    let project = writer(sandbox);
    project.ok("run -q first");
    assert!(!project.has("target/data") && !project.has("large"));
    let ended = project.ok("run --fetch target/data --fetch large first");
    assert!(!ended.stderr.contains("is not fetched"), "{}", ended.stderr);
    assert_eq!(project.read("target/data/one"), "first");
    assert_eq!(project.read("target/data/deep/two"), "first");
    assert_eq!(beginning(&project, "large"), "first");
    // Paths are relative to the working directory.
    let mut command = sandbox.burst_command(&project.root.join("src"), "run -q --fetch");
    let status = command.args(["../large", "second"]).status().unwrap();
    assert!(status.success());
    assert_eq!(beginning(&project, "large"), "second");
    assert_eq!(project.read("target/data/one"), "first");
    project.ok("sync --fetch target/data/one");
    assert_eq!(project.read("target/data/one"), "second");
}

#[test]
fn what_is_named_comes_and_is_replaced_by_later_versions() {
    brings_what_is_named(&sandbox());
}

#[test]
fn what_is_named_comes_from_a_server() {
    let Some(simulator) = cloud(hetzner_sim::Scenario::default()) else { return };
    brings_what_is_named(&sandbox_on(&simulator));
}

#[test]
fn a_command_that_is_killed_leaves_no_temporary_file_of_what_is_named() {
    let sandbox = sandbox();
    let project = writer(&sandbox);
    project.ok("run -q first");
    let comes = Moment::new(&[&project.root], ".burst-", 1);
    let mut command = project.command("run -q --fetch large second").spawn().unwrap();
    assert!(comes.comes_before_end_of(&command));
    command.kill().unwrap();
    command.wait().unwrap();
    assert_eq!((temporaries(&project.root).len(), project.has("large")), (1, false));
    project.ok("-q sync");
    assert_eq!(temporaries(&project.root).len(), 0);
}

#[test]
fn the_first_signal_ends_a_download_and_its_results_come_with_the_next_command() {
    let sandbox = sandbox();
    let project = writer(&sandbox);
    project.ok("run -q first");
    let comes = Moment::new(&[&project.root], ".burst-", 1);
    let mut command = project.command("run -q --fetch large second").spawn().unwrap();
    assert!(comes.comes_before_end_of(&command));
    kill(Pid::from_raw(command.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(command.wait().unwrap().signal(), Some(Signal::SIGINT as i32));
    assert!(!project.has("large"));
    project.ok("-q sync --fetch large");
    assert_eq!(beginning(&project, "large"), "second");
}

#[test]
fn a_file_that_was_changed_here_stays() {
    let sandbox = sandbox();
    let project = writer(&sandbox);
    project.write("large", "mine");
    let ended = project.ok("run --fetch large theirs");
    assert_eq!(project.read("large"), "mine");
    assert_eq!(beginning(&project, "large.from-burst"), "theirs");
    let told = "warning: `large` was changed here and by the run: the run's version is in \
                `large.from-burst`";
    assert!(ended.stderr.lines().any(|line| line == told), "{}", ended.stderr);
}

#[test]
fn paths_that_cannot_be_fetched_are_explained() {
    let sandbox = sandbox();
    let project = writer(&sandbox);
    let path = |name: &str| project.root.join(name).display().to_string();
    assert_explained(
        &project.burst("run --fetch none-such x"),
        115,
        &format!(
            "error: `{}` was not fetched: it does not exist there\nhint: name what a run has \
             written, relative to this directory; what was fetched is in place",
            path("none-such")
        ),
    );
    // The program of the run has failed, and its code counts.
    let ended = project.burst("run --fetch none-such");
    assert_eq!(ended.code, Some(101), "{ended:#?}");
    let told = format!("warning: `{}` was not fetched: it does not exist there", path("none-such"));
    assert!(ended.stderr.lines().any(|line| line == told), "{}", ended.stderr);
    assert_explained(
        &project.burst("build --fetch /etc/passwd"),
        2,
        &format!(
            "error: `--fetch /etc/passwd` is in neither the workspace nor its target directory\n\
             hint: let the run write it below `{}` or `{}`",
            project.root.display(),
            path("target")
        ),
    );
}

#[test]
fn a_file_below_target_that_was_changed_here_stays_too() {
    let sandbox = sandbox();
    let project = writer(&sandbox);
    project.ok("run -q --fetch target/data first");
    project.write("target/data/one", "mine");
    let told = format!(
        "warning: `{}` was changed here and stays: remove it to have the run's version",
        project.root.join("target/data/one").display()
    );
    for verb in ["sync --fetch target/data", "run -q --fetch target/data/one second"] {
        let ended = project.ok(verb);
        assert!(ended.stderr.lines().any(|line| line == told), "{verb}: {}", ended.stderr);
        assert_eq!(project.read("target/data/one"), "mine");
    }
    fs::remove_file(project.root.join("target/data/one")).unwrap();
    project.ok("sync --fetch target/data/one");
    assert_eq!(project.read("target/data/one"), "second");
}

/// A program that makes links in `target/data` and in `ignored`, as its arguments say.
fn linker(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.hello("app");
    project.ignore("/target\n/ignored\n");
    project.write(
        "src/main.rs",
        "fn main() {\n    std::env::set_current_dir(env!(\"CARGO_MANIFEST_DIR\")).unwrap();\n    \
         for argument in std::env::args().skip(1) {\n        \
         let (path, to) = argument.split_once('=').unwrap();\n        \
         let path = std::path::Path::new(path);\n        \
         std::fs::create_dir_all(path.parent().unwrap()).unwrap();\n        \
         std::fs::remove_file(path).ok();\n        \
         let directory = match to {\n            \
             \"DIRECTORY\" => { std::fs::create_dir(path).unwrap(); path.join(\"file\") }\n            \
             to => { std::os::unix::fs::symlink(to, path).unwrap(); path.with_file_name(\"file\") }\n        \
         };\n        \
         std::fs::write(directory, \"text\").unwrap();\n    }\n}\n",
    );
    project
}

fn leads_to(project: &Project<'_>, link: &str) -> String {
    let target = fs::read_link(project.root.join(link));
    target.map_or_else(|error| error.kind().to_string(), |target| target.display().to_string())
}

#[test]
fn links_come_if_they_stay_in_what_is_named() {
    let Some(simulator) = cloud(hetzner_sim::Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = linker(&sandbox);
    let data = "target/data/deep/up=../file target/data/latest=deep";
    let fetched = "--fetch target/data --fetch ignored";
    let ended = project.ok(&format!("run -q {fetched} {data} ignored/link=file"));
    assert_eq!(ended.warnings(), [""; 0]);
    assert_eq!(project.read("ignored/file"), "text");
    assert_eq!(leads_to(&project, "target/data/deep/up"), "../file");
    assert_eq!(leads_to(&project, "target/data/latest"), "deep");
    assert_eq!(leads_to(&project, "ignored/link"), "file");
    assert_eq!(project.read("target/data/latest/up"), "text");
    // A later version of a link takes its place below `target`; what is the user's stays.
    fs::remove_file(project.root.join("target/data/deep/up")).unwrap();
    project.write("target/data/deep/up", "mine");
    fs::remove_file(project.root.join("ignored/link")).unwrap();
    project.write("ignored/link", "mine");
    let ended = project.ok(&format!("run -q {fetched} target/data/latest=file ignored/other=file"));
    assert_eq!(leads_to(&project, "target/data/latest"), "file");
    assert_eq!(leads_to(&project, "ignored/other"), "file");
    let stays = |name: &str| {
        let path = project.root.join(name);
        let path = path.display();
        format!(
            "warning: `{path}` is something else here and stays: remove it to have the run's link"
        )
    };
    assert_eq!(ended.warnings(), [stays("target/data/deep/up")]);
    assert_eq!(project.read("target/data/deep/up"), "mine");
    // None that leads elsewhere is made, not even over another one.
    let ended = project.ok("run -q --fetch target/data target/data/latest=/etc/passwd");
    assert_eq!(leads_to(&project, "target/data/latest"), "file");
    let latest = project.root.join("target/data/latest");
    let expected = format!(
        "warning: a symbolic link is not fetched, since it leads out of what `--fetch` names: \
         `{}` -> `/etc/passwd`",
        latest.display()
    );
    assert_eq!(ended.warnings(), [stays("target/data/deep/up"), expected]);
    // A link that is a source comes as one, wherever it leads.
    let ended = project.ok("run -q --fetch data data/out=/etc/passwd");
    assert_eq!(ended.warnings(), [""; 0]);
    let ended = project.ok("-q sync --fetch data");
    assert_eq!(
        (leads_to(&project, "data/out").as_str(), ended.warnings()),
        ("/etc/passwd", vec![])
    );
    // One that is named itself, and one with an absolute path in what is named.
    let inside = project.root.join("target/more/file");
    let inside = inside.display();
    let link = "--fetch target/more --fetch target/latest";
    let ended = project.ok(&format!("run -q {link} target/more/link={inside} target/latest=more"));
    assert_eq!(ended.warnings(), [""; 0]);
    assert_eq!(project.read("target/latest/link"), "text");
}

#[test]
fn links_come_with_the_whole_target_directory() {
    let Some(simulator) = cloud(hetzner_sim::Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = linker(&sandbox);
    let links = "target/a/link=file target/a/out=../../src";
    let ended = project.ok(&format!("run -q --fetch target {links}"));
    let refused = project.root.join("target/a/out");
    let expected = format!(
        "warning: a symbolic link is not fetched, since it leads out of what `--fetch` names: \
         `{}` -> `../../src`",
        refused.display()
    );
    assert_eq!(ended.warnings(), [expected.as_str()]);
    assert_eq!(project.read("target/a/link"), "text");
    let ended = project.ok("run -q --fetch all target/a/link=other target/a/out=file");
    assert_eq!(ended.warnings(), [""; 0]);
    assert_eq!(
        (leads_to(&project, "target/a/link"), leads_to(&project, "target/a/out")),
        ("other".into(), "file".into())
    );
}

#[test]
fn the_target_directory_itself_is_all_of_it() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build --fetch target");
    let mut cargo = sandbox.command("cargo", &project.root);
    let built = ended(cargo.args(["build", "-v"]).output().unwrap());
    assert!(built.stderr.contains("Fresh hello"), "{}", built.stderr);
}

/// They are one blob, and the settings of the command name one of them twice.
#[test]
fn a_file_that_is_already_what_the_run_has_made_of_it_is_no_conflict() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\n/out\n");
    // Too large to come by themselves.
    project.write(
        "src/main.rs",
        "fn main() {\n    std::fs::create_dir_all(\"out\").unwrap();\n    \
         for name in [\"a\", \"b\"] {\n        \
         let file = std::fs::File::create(format!(\"out/{name}\")).unwrap();\n        \
         file.set_len((65 << 20) + std::env::args().len() as u64).unwrap();\n    }\n}\n",
    );
    for run in ["run", "run", "run -- longer"] {
        let (verb, rest) = run.split_once(' ').unwrap_or((run, ""));
        let ended = project.ok(&format!("{verb} --fetch out --fetch out/b {rest}"));
        assert_eq!(ended.warnings(), [""; 0], "{run}");
        let mut names: Vec<_> = fs::read_dir(project.root.join("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "b"], "{run}");
    }
    // The argument counts.
    let size = |name: &str| fs::metadata(project.root.join("out").join(name)).unwrap().len();
    assert_eq!((size("a"), size("b")), ((65 << 20) + 2, (65 << 20) + 2));
}
