//! What comes back from a run, whatever happens, and where it may go.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use burst_protocol::message::{Artifact, Blob, Encoding, Ending, FromAgent, Timestamp};
use burst_protocol::tree::{Change, Entry, File, FileMode, LinkTarget};
use burst_protocol::{Digest, RelativePath};
use burst_tests::{Project, assert_explained, assert_lines, assert_progress, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::Notify;

use crate::histories::assert_same_tree;
use crate::sandbox;
use crate::scripted::{Says, Scripted, blob, message, raw};
use crate::terminals::{alive, start_waiter, waiter};

/// When a scripted agent has started its run.
pub(crate) const CLOCK: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };

pub(crate) const RUN: &str = "this was made by a run";

/// What a command prints that compiles nothing.
const FRESH: &str = "\
\x20   Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]
burst: on this machine, [..]
";

fn file(content: &str) -> File {
    let digest = Digest::of(content.as_bytes());
    File { size: content.len() as u64, digest, mode: FileMode::REGULAR }
}

fn relative(path: &str) -> RelativePath {
    RelativePath::new(path.as_bytes()).unwrap()
}

fn put(project: &Project<'_>, path: &str, entry: Entry) -> Change {
    let path = RelativePath::below_root(project.root.join(path).as_os_str().as_encoded_bytes());
    Change::Put { path: path.unwrap(), entry }
}

fn link(target: &Path) -> Entry {
    Entry::Link(LinkTarget::new(target.as_os_str().as_encoded_bytes()).unwrap())
}

/// Starts the program of [`waiter`], and kills the command once the program waits.
fn run_and_kill(project: &Project<'_>) {
    let mut running = start_waiter(project);
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGKILL).unwrap();
    running.wait().unwrap();
}

/// What an agent says in a run that returns these results; every file has the content [`RUN`].
fn returning(changes: Vec<Change>, artifacts: &[&str]) -> Vec<u8> {
    let artifact = |path: &&str| Artifact { path: relative(path), file: file(RUN) };
    let messages = [
        FromAgent::Synced { written: 1, removed: 0 },
        FromAgent::Started { notice: None, clock: CLOCK },
        FromAgent::Changed(changes),
        FromAgent::Artifacts(artifacts.iter().map(artifact).collect()),
        FromAgent::Finished(Ending::Exited(0)),
    ];
    let mut bytes: Vec<u8> = messages.iter().flat_map(message).collect();
    bytes.extend(blob(RUN.as_bytes()));
    bytes.extend(after_blob());
    bytes
}

fn after_blob() -> Vec<u8> {
    [FromAgent::BlobsEnd, FromAgent::Done].iter().flat_map(message).collect()
}

/// The number of bytes before the blob in what [`returning`] has made.
fn before_blob(bytes: &[u8]) -> usize {
    bytes.len() - blob(RUN.as_bytes()).len() - after_blob().len()
}

/// A run that returns the content [`RUN`] for `path`, whose blob is withheld until the
/// notification.
pub(crate) fn returning_late(project: &Project<'_>, path: &str) -> (Says, Arc<Notify>) {
    let bytes = returning(vec![put(project, path, Entry::File(file(RUN)))], &[]);
    let (first, second) = bytes.split_at(before_blob(&bytes));
    let (first, second) = (first.to_vec(), second.to_vec());
    let (fetched, go_on) = (Digest::of(RUN.as_bytes()), Arc::new(Notify::new()));
    (Says::Halves { first, fetched, go_on: go_on.clone(), second }, go_on)
}

#[test]
fn a_returned_link_never_leads_artifacts_elsewhere() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let outside = sandbox.path().join("outside");
    fs::create_dir_all(outside.join("debug")).unwrap();
    fs::write(outside.join("debug/hello"), "mine").unwrap();
    let entry = link(&outside);
    let bytes = returning(vec![put(&project, "target", entry)], &["debug/hello"]);
    let _agent = Scripted::start(&sandbox, Says::Bytes(bytes), true);
    let found = project.ok("build");
    let expected = format!(
        "warning: the run changed `{}`, which is a place that no run may change: it is not \
         fetched",
        project.root.join("target").display()
    );
    assert!(found.stderr.lines().any(|line| line == expected), "{found:#?}");
    assert_eq!(fs::read_to_string(outside.join("debug/hello")).unwrap(), "mine");
    assert_eq!(project.read("target/debug/hello"), RUN);
    assert!(!project.root.join("target").is_symlink());
}

/// Another command has replaced the artifact that a patch is based on: the whole file is fetched.
#[test]
fn a_patch_that_does_not_fit_is_replaced_by_the_whole_file() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("target/debug/hello", "another command's");
    let bytes = returning(Vec::new(), &["debug/hello"]);
    // The first answer is a patch on something else.
    let whole = before_blob(&bytes);
    let base = Digest::of(b"something else");
    let encoding = Encoding::Patch { base, length: 1 };
    let announced = Blob { digest: Digest::of(RUN.as_bytes()), size: RUN.len() as u64, encoding };
    let patch = [message(&FromAgent::Blob(announced)), raw(b"x"), message(&FromAgent::BlobsEnd)];
    let bytes = [&bytes[..whole], &patch.concat(), &bytes[whole..]].concat();
    let _agent = Scripted::start(&sandbox, Says::Bytes(bytes), true);
    project.ok("build");
    assert_eq!(project.read("target/debug/hello"), RUN);
}

#[test]
fn a_returned_link_above_the_target_directory_is_not_followed() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let outside = sandbox.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let bytes = returning(vec![put(&project, "out", link(&outside))], &["debug/hello"]);
    let _agent = Scripted::start(&sandbox, Says::Bytes(bytes), true);
    project.ok("build --target-dir out/target");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(project.read("out/target/debug/hello"), RUN);
}

#[test]
fn no_run_changes_git_or_the_project_file() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".config/cargo-burst.toml", "unexclude = [\".git\"]\n");
    project.ok("trust");
    fs::create_dir_all(project.root.join(".git/hooks")).unwrap();
    let protected = [
        ".git/hooks/pre-commit",
        "sub/.git/config",
        ".config/cargo-burst.toml",
        ".config",
        "target/debug/hello",
    ];
    let changes = protected.map(|path| put(&project, path, Entry::File(file(RUN)))).to_vec();
    let outside = Change::Put { path: relative("tmp/x"), entry: Entry::File(file(RUN)) };
    let sources = ["src/new.rs", "build.rs"];
    let sources = sources.map(|path| put(&project, path, Entry::File(file(RUN))));
    let changes = [changes, vec![outside], sources.to_vec()].concat();
    let _agent = Scripted::start(&sandbox, Says::Bytes(returning(changes, &[])), true);
    let found = project.ok("check");
    assert_eq!(project.read(".config/cargo-burst.toml"), "unexclude = [\".git\"]\n");
    assert_eq!(fs::read_dir(project.root.join(".git/hooks")).unwrap().count(), 0);
    assert!(!project.has("sub") && !project.has("target"));
    assert_eq!(project.read("src/new.rs"), RUN);
    assert_eq!(project.read("build.rs"), RUN);
    let expected =
        "warning: the run changed files that run code here: `build.rs`; read them before you go on";
    assert!(found.stderr.lines().any(|line| line == expected), "{found:#?}");
}

#[test]
fn a_link_that_a_program_puts_in_place_of_the_target_directory_stays_away() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let (outside, target) = (sandbox.path().join("outside"), sandbox.path().join("elsewhere"));
    fs::create_dir(&outside).unwrap();
    project.write(
        "src/main.rs",
        format!("fn main() {{ std::os::unix::fs::symlink({outside:?}, \"target\").unwrap(); }}\n"),
    );
    project.ok(&format!("run --target-dir {}", target.display()));
    assert!(!project.root.join("target").is_symlink());
    project.write("src/main.rs", "fn main() {}\n");
    project.ok("build");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(project.has("target/debug/hello"));
}

#[test]
fn the_users_own_link_for_the_target_directory_is_followed() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let fast = sandbox.path().join("fast");
    fs::create_dir(&fast).unwrap();
    symlink(&fast, project.root.join("target")).unwrap();
    project.ok("build");
    assert!(project.root.join("target").is_symlink());
    assert!(fast.join("debug/hello").is_file());
}

#[test]
fn a_target_directory_beside_the_working_directory_is_filled() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build --target-dir ../o");
    assert!(sandbox.path().join("o/debug/hello").is_file());
    project.write(".cargo/config.toml", "[build]\ntarget-dir = \"../p\"\n");
    project.ok("build");
    assert!(sandbox.path().join("p/debug/hello").is_file());
    for target in ["o", "p"] {
        assert!(sandbox.path().join(target).join("CACHEDIR.TAG").is_file(), "{target}");
    }
    assert!(!project.has("target"));
}

#[test]
fn results_of_a_killed_command_come_with_the_next_one() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for name in ["changed", "edited", "gone"] {
        project.write(&format!("data/{name}"), "sent");
    }
    project.ignore("/target\n/ignored\n");
    waiter(
        &project,
        "for (name, text) in [(\"data/changed\", \"run\"), (\"data/edited\", \"run\"), (\"made\", \"run\"), (\"ignored\", \"run\")] { std::fs::write(name, text).unwrap(); } std::fs::remove_file(\"data/gone\").unwrap();",
    );
    run_and_kill(&project);
    assert_eq!(project.read("data/changed"), "sent");
    project.write("data/edited", "edit");
    let found = project.ok("check -q");
    assert_eq!(project.read("data/changed"), "run");
    assert_eq!(project.read("data/edited"), "edit");
    assert_eq!(project.read("data/edited.from-burst"), "run");
    assert_eq!((project.read("made"), project.read("ignored")), ("run".into(), "run".into()));
    assert!(!project.has("data/gone"));
    assert!(
        found.stderr.contains(
            "warning: `data/edited.from-burst` is an earlier run's version of a file that \
             was changed here, too\n"
        ),
        "{found:#?}"
    );
    fs::remove_file(project.root.join("data/edited.from-burst")).unwrap();
    // Everything is agreed: the next command brings nothing.
    project.ok("check -q");
    assert!(!project.has("data/edited.from-burst"));
    assert_same_tree(&project);
}

/// However long ago a project was used, what a run has left for it is not deleted.
#[test]
fn results_that_were_never_fetched_outlive_the_age_of_their_copy() {
    let sandbox = sandbox();
    let (kept, deleted) = (sandbox.hello("kept"), sandbox.hello("deleted"));
    deleted.ok("check -q");
    waiter(&kept, "std::fs::write(\"made\", \"run\").unwrap();");
    run_and_kill(&kept);
    sandbox.end_agent(Signal::SIGTERM);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(100 * 86_400);
    for (project, name) in
        [(&kept, "name"), (&kept, "state"), (&deleted, "name"), (&deleted, "state")]
    {
        let record = sandbox.agent_project(&project.root).join(name);
        fs::File::options().write(true).open(record).unwrap().set_modified(long_ago).unwrap();
    }
    sandbox.hello("other").ok("check -q");
    assert!(!sandbox.agent_project(&deleted.root).exists());
    kept.ok("check -q");
    assert_eq!(kept.read("made"), "run");
}

#[test]
fn a_directory_of_a_killed_run_in_place_of_an_edited_file_comes_beside_it() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    waiter(
        &project,
        "std::fs::remove_file(\"data\").unwrap(); std::fs::create_dir(\"data\").unwrap(); std::fs::write(\"data/x\", \"run\").unwrap();",
    );
    run_and_kill(&project);
    project.write("data", "edit");
    project.ok("check -q");
    assert_eq!(project.read("data"), "edit");
    assert_eq!(project.read("data.from-burst/x"), "run");
    project.ok("check -q");
    let there = sandbox.agent_tree(&project.root);
    assert!(!there.join("data.from-burst").exists());
    assert_eq!(project.read("data.from-burst/x"), "run");
}

#[test]
fn a_run_whose_client_was_killed_ends_at_once() {
    // Only the end of the process tells: silence does not count within the hour.
    let sandbox = sandbox().with("CARGO_BURST_GRACE_SECS", "3600");
    let project = sandbox.hello("app");
    waiter(&project, "std::fs::write(\"made\", \"run\").unwrap();");
    run_and_kill(&project);
    wait_until("the end of the run", || alive(&project) == 0);
}

#[test]
fn results_of_a_killed_agent_come_with_the_next_command() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    waiter(&project, "std::fs::write(\"made\", \"run\").unwrap();");
    let running = start_waiter(&project);
    kill(Pid::from_raw(sandbox.agent().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(running.wait_with_output().unwrap().status.code(), Some(114));
    assert!(!project.has("made"));
    project.ok("check -q");
    assert_eq!(project.read("made"), "run");
    assert_same_tree(&project);
}

#[test]
fn a_declined_result_is_undone_on_the_agent_and_told_once() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // A run writes the project's own settings, and a file that is never a source.
    project.write(".config/cargo-burst.toml", "# mine\n");
    project.write(
        "src/main.rs",
        "fn main() { for name in [\".config/cargo-burst.toml\", \"x.swp\"] { std::fs::write(name, \"run\").unwrap(); } }\n",
    );
    let found = project.ok("run -q");
    assert!(found.stderr.contains("a place that no run may change"), "{found:#?}");
    assert!(!project.has("x.swp"));
    assert_progress(&project.ok("check -q"), "");
    assert_eq!(project.read(".config/cargo-burst.toml"), "# mine\n");
    let there = sandbox.agent_tree(&project.root);
    assert_eq!(fs::read_to_string(there.join(".config/cargo-burst.toml")).unwrap(), "# mine\n");
    assert_eq!(fs::read_to_string(there.join("x.swp")).unwrap(), "run");
}

#[test]
fn a_run_replaces_directories_and_files_by_each_other() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for path in ["one/a", "one/b", "two", "keep/1", "keep/2", "keep/3"] {
        project.write(path, "sent");
    }
    project.write(
        "src/main.rs",
        "use std::fs;\nfn main() { fs::remove_dir_all(\"one\").unwrap(); fs::write(\"one\", \"file\").unwrap(); fs::remove_file(\"two\").unwrap(); fs::create_dir(\"two\").unwrap(); fs::write(\"two/x\", \"below\").unwrap(); }\n",
    );
    assert_progress(&project.ok("run -q"), "");
    assert_eq!((project.read("one"), project.read("two/x")), ("file".into(), "below".into()));
    assert_same_tree(&project);
    project.write("src/main.rs", "fn main() {}\n");
    project.ok("run -q");
    assert_same_tree(&project);
}

#[test]
fn a_build_directory_in_the_workspace_holds_no_sources() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".cargo/config.toml", "[build]\nbuild-dir = \"built/here\"\n");
    for text in ["one", "two", "one"] {
        project.write("src/main.rs", format!("fn main() {{ println!({text:?}) }}\n"));
        project.ok("build");
        assert_eq!(project.output_of("target/debug/hello"), format!("{text}\n"));
    }
    assert!(!project.has("built/here"));
    assert_progress(&project.ok("build"), FRESH);
}

#[test]
fn target_directories_that_a_test_makes_stay_on_the_agent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\\n# created by cargo.";
    project.write(
        "src/main.rs",
        format!("fn main() {{ std::fs::create_dir_all(\"cases/a/out/debug\").unwrap(); std::fs::write(\"cases/a/out/CACHEDIR.TAG\", \"{tag}\").unwrap(); std::fs::write(\"cases/a/out/debug/big\", \"x\").unwrap(); std::fs::write(\"cases/a/log\", \"x\").unwrap(); }}\n"),
    );
    project.ok("run -q");
    assert!(project.has("cases/a/log") && !project.has("cases/a/out"));
    project.ok("run -q");
    assert!(!project.has("cases/a/out"));
}

#[test]
fn permission_bits_travel_both_ways() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for (name, mode) in [("fixture", 0o444), ("secret", 0o600), ("tool", 0o755), ("odd", 0o640)] {
        project.write(name, "sent");
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(project.root.join(name), mode).unwrap();
    }
    project.write(
        "src/main.rs",
        "use std::{fs, os::unix::fs::PermissionsExt};\nfn mode(name: &str) -> u32 { fs::metadata(name).unwrap().permissions().mode() & 0o777 }\nfn set(name: &str, mode: u32) { fs::set_permissions(name, fs::Permissions::from_mode(mode)).unwrap(); }\nfn main() { for name in [\"fixture\", \"secret\", \"tool\", \"odd\"] { println!(\"{:o}\", mode(name)); } fs::write(\"key\", \"\").unwrap(); set(\"key\", 0o600); fs::write(\"plain\", \"\").unwrap(); set(\"tool\", 0o711); }\n",
    );
    // As cargo here would, the run creates files with the umask of the shell.
    let with_umask = |arguments: &str| {
        let mut command = sandbox.command("sh", &project.root);
        command.arg("-c").arg("umask 027; exec \"$@\"").arg("sh");
        let burst = project.command(arguments);
        command.arg(burst.get_program()).args(burst.get_args());
        ended(command.output().unwrap())
    };
    let found = with_umask("run -q");
    assert_eq!((found.code, found.stdout.as_str()), (Some(0), "444\n600\n755\n640\n"), "{found:?}");
    let mode =
        |name: &str| fs::metadata(project.root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["key", "plain", "tool", "Cargo.lock"].map(mode), [0o600, 0o640, 0o711, 0o640]);
    assert_eq!(with_umask("build -q").code, Some(0));
    assert_eq!(mode("target/debug/hello"), 0o750);
    assert_same_tree(&project);
    // A change of the bits alone is a change.
    fs::set_permissions(project.root.join("secret"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(project.ok("run -q").stdout, "444\n400\n711\n640\n");
}

#[test]
fn clean_removes_what_is_here_and_on_the_agent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build -q");
    let found = project.ok("clean");
    assert!(found.stderr.contains("Removed "), "{found:#?}");
    assert!(!project.has("target"));
    let again = project.ok("build");
    assert!(again.stderr.contains("Compiling hello"), "{again:#?}");
    project.ok("doc -q");
    project.ok("-- clean --doc");
    assert!(!project.has("target/doc") && project.has("target/debug/hello"));
    project.ok("clean -p hello");
    assert!(!project.has("target/debug/hello"));
    assert!(project.ok("build").stderr.contains("Compiling hello"));
}

#[test]
fn clean_is_as_quiet_as_it_is_told() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for (options, said) in [("-q", 0), ("--quiet", 0), ("-v", 1), ("", 1)] {
        project.ok("build -q");
        let found = project.ok(&format!("clean {options}"));
        let said_here = found.stderr.lines().filter(|line| line.starts_with("     Removed "));
        assert_eq!(said_here.count(), said, "{found:#?}");
        assert!(!project.has("target"));
    }
}

#[test]
fn a_target_directory_that_the_user_removed_is_built_from_nothing() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // A command that brings no artifact leaves no target directory: nothing was removed.
    project.ok("check");
    assert_progress(&project.ok("check"), FRESH);
    project.ok("build");
    assert_progress(&project.ok("build"), FRESH);
    fs::remove_dir_all(project.root.join("target")).unwrap();
    assert!(project.ok("check").stderr.contains("Checking"));
    assert_progress(&project.ok("check"), FRESH);
    assert!(project.ok("build").stderr.contains("Compiling"));
}

/// The second build has looked for the target directory before the first one creates it.
#[test]
fn a_target_directory_that_another_command_creates_is_not_built_from_nothing() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let root = project.root.to_str().unwrap();
    let init = std::process::Command::new("git").args(["init", "-q", root]).status();
    assert!(init.unwrap().success());
    project.ok("sync");
    let [started, go, programs] = ["started", "go", "programs"].map(|it| sandbox.path().join(it));
    let git = programs.join("git");
    fs::create_dir(&programs).unwrap();
    let script = format!(
        "#!/bin/sh\n: >'{}'\nwhile ! [ -e '{}' ]; do sleep 0.01; done\n",
        started.display(),
        go.display()
    );
    fs::write(&git, script).unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut second = project.command("-q build");
    let second = second.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    wait_until("the scan", || started.exists());
    project.ok("build -q");
    fs::write(go, "").unwrap();
    let found = ended(second.unwrap().wait_with_output().unwrap());
    assert_eq!(found.code, Some(0), "{found:?}");
    assert_progress(&found, FRESH.lines().next().unwrap());
}

#[test]
fn pages_of_removed_items_go() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project
        .write("src/lib.rs", "pub struct Kept;\npub struct Gone;\npub mod sub { pub fn f() {} }\n");
    project.ok("doc -q");
    project.write("target/doc/hello/mine.html", "mine");
    assert!(project.has("target/doc/hello/struct.Gone.html"));
    project.write("src/lib.rs", "pub struct Kept;\n");
    project.ok("doc -q");
    assert!(project.has("target/doc/hello/struct.Kept.html"));
    assert!(!project.has("target/doc/hello/struct.Gone.html"));
    assert!(!project.has("target/doc/hello/sub"));
    assert_eq!(project.read("target/doc/hello/mine.html"), "mine");
}

#[test]
fn a_link_of_the_user_where_results_go_is_named_before_the_run() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    fs::create_dir_all(project.root.join("target")).unwrap();
    fs::create_dir(sandbox.path().join("pages")).unwrap();
    symlink(sandbox.path().join("pages"), project.root.join("target/doc")).unwrap();
    let refused = |found, path: &str| {
        assert_explained(
            &found,
            115,
            &format!(
                "error: the results of this run could not be written\n\
                 caused by: cannot write `[..]/app/target/{path}`\n\
                 caused by: it is a symbolic link, which is not followed\n\
                 hint: move away `[..]/app/target/{path}`, or name another directory with \
                 `--target-dir`: the target directory itself may be a link, and what is in it may \
                 not\n"
            ),
        );
    };
    refused(project.burst("doc -q"), "doc");
    // Nothing has run.
    assert!(!sandbox.agent_project(&project.root).exists());
    assert_eq!(fs::read_dir(sandbox.path().join("pages")).unwrap().count(), 0);
    // What brings nothing there is not affected.
    project.ok("build -q");
    fs::rename(project.root.join("target/debug"), sandbox.path().join("programs")).unwrap();
    symlink(sandbox.path().join("programs"), project.root.join("target/debug")).unwrap();
    refused(project.burst("build -q"), "debug");
    project.ok("check -q");
}

/// As root a file can always be read, so the run is that of a user with a path that is too long.
#[test]
fn what_cannot_be_read_on_the_agent_is_named_once() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "use std::fs;\nfn main() { fs::write(\"made\", \"run\").unwrap(); let mut depth = 0; while depth < 300 { fs::create_dir(\"d\").unwrap(); std::env::set_current_dir(\"d\").unwrap(); depth += 1; } fs::write(\"deep\", \"run\").unwrap(); }\n",
    );
    assert_progress(
        &project.ok("run -q"),
        "warning: the agent passes over what a run has left: cannot send `…/[..]/d/d`: the path is \
         nested deeper than 255 directories\n",
    );
    assert_eq!(project.read("made"), "run");
    project.write("src/main.rs", "fn main() {}\n");
    assert_progress(&project.ok("run -q"), "");
}

/// What took effect here before the results failed is not done again over the user's undo.
#[test]
fn an_undo_after_an_interrupted_fetch_stays() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "build.rs",
        "fn main() { println!(\"cargo:rerun-if-changed=op\"); if std::path::Path::new(\"op\").exists() { std::fs::remove_file(\"data/x\").unwrap(); std::fs::write(\"made\", \"run\").unwrap(); } }\n",
    );
    for path in ["data/x", "data/y", "op"] {
        project.write(path, "mine");
    }
    // The program cannot be written.
    project.write("target/debug/hello/x", "in the way");
    assert_eq!(project.burst("build -q").code, Some(115));
    assert!(!project.has("data/x"));
    project.write("data/x", "mine");
    fs::remove_file(project.root.join("op")).unwrap();
    fs::remove_dir_all(project.root.join("target/debug/hello")).unwrap();
    let found = project.ok("build -q");
    assert_eq!(found.stderr, "");
    assert_eq!(project.read("data/x"), "mine");
    assert_same_tree(&project);
}

/// A clone at the path of an earlier workspace has nothing of it.
#[test]
fn what_runs_have_left_belongs_to_the_workspace_and_not_to_its_path() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    waiter(
        &project,
        "for name in [\"data\", \"made\"] { std::fs::write(name, \"run\").unwrap(); }",
    );
    run_and_kill(&project);
    fs::rename(&project.root, sandbox.path().join("earlier")).unwrap();
    let project = sandbox.hello("app");
    project.write("data", "sent");
    project.ok("check -q");
    assert_eq!(project.read("data"), "sent");
    assert!(!project.has("made"));
    assert_same_tree(&project);
}

#[test]
fn a_run_may_move_every_source() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let main = |directory: &str| {
        let modules = ["a", "b", "c", "d", "e"].map(|name| format!("mod {name};\n")).concat();
        format!(
            "{modules}fn main() {{ for n in [\"a\", \"b\", \"c\", \"d\", \"e\"] {{ std::fs::create_dir_all(format!(\"src/{{n}}\")).unwrap(); std::fs::rename(format!(\"src/{{n}}.rs\"), format!(\"src/{{n}}/{directory}.rs\")).unwrap(); }} }}\n"
        )
    };
    for name in ["a", "b", "c", "d", "e"] {
        project.write(&format!("src/{name}.rs"), "");
    }
    project.write("src/main.rs", main("mod"));
    project.ok("run -q");
    assert!(project.has("src/a/mod.rs") && !project.has("src/a.rs"));
    project.ok("check -q");
    assert_same_tree(&project);
}

/// A repository's configuration does not decide where a build writes here.
#[test]
fn a_configured_target_directory_with_other_files_is_refused() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    fs::create_dir_all(project.root.join(".git/hooks")).unwrap();
    sandbox.hello("other");
    for named in [".git", "../other"] {
        project.write(".cargo/config.toml", format!("[build]\ntarget-dir = {named:?}\n"));
        assert_explained(
            &project.burst("build"),
            112,
            "error: the target directory `[..]` may hold other files than cargo's\n\
             hint: a configuration file names it; if that is intended, name it with \
             `--target-dir` or CARGO_TARGET_DIR, or run plain `cargo build` once, which marks it\n",
        );
    }
    project.ok("build --target-dir ../other");
    assert!(sandbox.path().join("other/debug/hello").is_file());
}

#[test]
fn rustdoc_brings_its_pages() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/lib.rs", "pub struct Page;\n");
    project.ok("rustdoc --lib -q");
    assert!(project.has("target/doc/hello/struct.Page.html"));
}

#[test]
fn a_directory_that_a_run_has_removed_and_made_again_is_no_conflict() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("shape/deep/file", "this was sent");
    let removed =
        RelativePath::below_root(project.root.join("shape").as_os_str().as_encoded_bytes());
    let changes = vec![
        Change::Remove { path: removed.unwrap() },
        put(&project, "shape/deep/file", Entry::File(file(RUN))),
    ];
    let _agent = Scripted::start(&sandbox, Says::Bytes(returning(changes, &[])), true);
    let done = project.ok("check");
    assert_eq!(fs::read_to_string(project.root.join("shape/deep/file")).unwrap(), RUN);
    assert_lines(&done.stderr, "burst: on this machine, [..]\n");
}
