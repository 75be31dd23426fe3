mod rounds;

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burst_tests::{Project, assert_lines, assert_progress, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox;

/// A program that says that it runs, and runs until it is let go.
fn held(project: &Project<'_>, name: &str) {
    let (started, go) = (
        project.sandbox.path().join(format!("{name}-started")),
        project.sandbox.path().join(format!("{name}-go")),
    );
    project.write(
        "src/main.rs",
        format!("fn main() {{\n    std::fs::write({started:?}, \"\").unwrap();\n    while !std::path::Path::new({go:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}\n    println!(\"{name}\");\n}}\n"),
    );
}

fn wait_for(path: &std::path::Path) {
    wait_until(&path.display().to_string(), || path.exists());
}

/// Reads what a run says until it says that it waits for `cargo run -q`; the rest
/// is read by the thread that is returned.
fn heard_waiting(run: &mut Child) -> JoinHandle<std::io::Result<String>> {
    heard_waiting_for("run -q", run)
}

pub(crate) fn heard_waiting_for(
    arguments: &str,
    run: &mut Child,
) -> JoinHandle<std::io::Result<String>> {
    let waiting = format!("waiting for `cargo {arguments}`");
    let mut said = String::new();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    while !said.contains(&waiting) {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    std::thread::spawn(move || std::io::read_to_string(stderr))
}

#[test]
fn several_projects_run_at_once_on_one_agent() {
    let sandbox = sandbox();
    let (a, b) = (sandbox.hello("a"), sandbox.hello("b"));
    held(&a, "a");
    held(&b, "b");
    let (run_a, run_b) = (a.start("run -q"), b.start("run -q"));
    wait_for(&sandbox.path().join("a-started"));
    wait_for(&sandbox.path().join("b-started"));
    let status = a.ok("status").stdout;
    let line =
        |project: &Project<'_>| format!("  {}  running `cargo run -q`\n", project.root.display());
    let expected = "agent on this machine: running, pid [..], version 0.1.0, up [..], busy\n";
    let copies = "copies on this machine: 2 projects, [..], at most 100 GB\n";
    assert_lines(&status, &(expected.to_owned() + &line(&a) + &line(&b) + copies));
    for name in ["a", "b"] {
        std::fs::write(sandbox.path().join(format!("{name}-go")), "").unwrap();
    }
    for (run, name) in [(run_a, "a\n"), (run_b, "b\n")] {
        let ended = ended(run.wait_with_output().unwrap());
        assert_eq!(ended.stdout, name, "{ended:?}");
    }
    let log = sandbox.agent_log();
    assert!(!log.contains("another agent"), "{log}");
}

#[test]
fn a_run_that_needs_another_state_waits_visibly() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    held(&project, "one");
    let first = project.start("run -q");
    wait_for(&sandbox.path().join("one-started"));
    // The very same state joins at once.
    assert_eq!(project.ok("check -q").code, Some(0));
    project.write("src/main.rs", "fn main() { println!(\"two\") }\n");
    let mut second = project.start("-v run -q");
    let reading = heard_waiting(&mut second);
    std::fs::write(sandbox.path().join("one-go"), "").unwrap();
    assert_eq!(ended(first.wait_with_output().unwrap()).stdout, "one\n");
    assert_eq!(ended(second.wait_with_output().unwrap()).stdout, "two\n");
    reading.join().unwrap().unwrap();
}

/// The run calls cargo once more, which builds in the target directory.
#[test]
fn a_clean_waits_for_an_active_run() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    held(&project, "one");
    let program = project.read("src/main.rs").replace(
        "println!",
        "let cargo = std::process::Command::new(\"cargo\").args([\"build\", \"-q\", \"--release\"]).status();\n    assert!(cargo.unwrap().success());\n    println!",
    );
    project.write("src/main.rs", program);
    let first = project.start("run -q");
    wait_for(&sandbox.path().join("one-started"));
    let mut clean = project.start("-v clean -q");
    let reading = heard_waiting(&mut clean);
    std::fs::write(sandbox.path().join("one-go"), "").unwrap();
    let first = ended(first.wait_with_output().unwrap());
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), "one\n"), "{first:?}");
    assert_eq!(ended(clean.wait_with_output().unwrap()).code, Some(0));
    reading.join().unwrap().unwrap();
    let again = project.ok("build --release");
    assert!(again.stderr.contains("Compiling hello"), "{again:#?}");
}

/// The clean has ended on the agent, and here cargo is about to begin.
#[test]
fn a_build_waits_until_a_clean_has_removed_what_is_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build -q");
    let place = |name: &str| sandbox.path().join(name);
    let (started, go) = (place("started"), place("go"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = clean ]; then : >'{}'; while ! [ -e '{}' ]; do sleep 0.01; done; fi\nexec cargo \"$@\"\n",
        started.display(),
        go.display()
    );
    std::fs::create_dir(place("here")).unwrap();
    std::fs::write(place("here/cargo"), script).unwrap();
    std::fs::set_permissions(place("here/cargo"), Permissions::from_mode(0o755)).unwrap();
    let mut clean = project.command("clean -q");
    let clean = clean.env("CARGO", place("here/cargo")).stdout(Stdio::piped());
    let clean = clean.stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&started);
    let mut build = project.start("-v build -q");
    let reading = heard_waiting_for("clean -q", &mut build);
    std::fs::write(go, "").unwrap();
    for command in [clean, build] {
        let found = ended(command.wait_with_output().unwrap());
        assert_eq!(found.code, Some(0), "{found:?}");
    }
    reading.join().unwrap().unwrap();
    assert_eq!(project.output_of("target/debug/hello"), "hello\n");
}

#[test]
fn waiting_is_visible_however_much_is_to_be_sent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    held(&project, "one");
    let first = project.start("run -q");
    wait_for(&sandbox.path().join("one-started"));
    // More than any window holds, and nothing that compresses.
    let noise: Vec<u8> =
        (0..30_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    project.write("data", &noise);
    let mut second = project.start("-v check -q");
    let reading = heard_waiting(&mut second);
    std::fs::write(sandbox.path().join("one-go"), "").unwrap();
    assert_eq!(ended(first.wait_with_output().unwrap()).stdout, "one\n");
    assert_eq!(ended(second.wait_with_output().unwrap()).code, Some(0));
    reading.join().unwrap().unwrap();
    assert!(std::fs::read(sandbox.agent_tree(&project.root).join("data")).unwrap() == noise);
}

/// The output of `run` waits in a pipe, as for a pager; it has changed a source.
#[test]
fn results_of_a_command_do_not_wait_for_the_reader_of_another_one() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() { std::fs::write(\"made\", \"run\").unwrap(); print!(\"{}\", \"line\\n\".repeat(40_000)); }\n",
    );
    project.ok("build -q");
    let paged = project.start("run -q");
    wait_until("the end of the run", || {
        sandbox.agent_log().matches("exited with code").count() == 2
    });
    assert_progress(&project.ok("check -q"), "");
    assert_eq!(project.read("made"), "run");
    let found = ended(paged.wait_with_output().unwrap());
    assert_eq!((found.code, found.stdout.len()), (Some(0), 200_000));
    crate::histories::assert_same_tree(&project);
}

#[test]
fn commands_that_start_at_once_share_one_agent() {
    let sandbox = sandbox();
    let projects: Vec<_> = (0..4).map(|n| sandbox.hello(&format!("p{n}"))).collect();
    let runs: Vec<_> = projects.iter().map(|project| project.start("run -q")).collect();
    for run in runs {
        let ended = ended(run.wait_with_output().unwrap());
        assert_eq!(ended.stdout, "hello\n", "{ended:?}");
    }
    let began = sandbox.agent_log().matches("idle: ending").count();
    assert_eq!(began, 0);
    let status = projects[0].ok("status").stdout;
    assert_eq!(status.matches("  /").count(), 4, "{status}");
}

#[test]
fn the_agent_ends_when_idle_and_when_told() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("check");
    let agent = sandbox.agent().expect("an agent");
    let copies = "copies on this machine: 1 project, [..], at most 100 GB\n";
    assert_lines(
        &project.ok("status").stdout,
        &format!(
            "agent on this machine: running, pid {agent}, version 0.1.0, up [..], exits in 4 min \
             [..] s if it stays idle\n  {}  idle for [..] s\n{copies}",
            project.root.display()
        ),
    );
    assert_eq!(project.ok("down").stdout, "ended the agent on this machine\n");
    let absent = "agent on this machine: not running; the next command starts it\n";
    assert_lines(&project.ok("status").stdout, &format!("{absent}{copies}"));
    assert_eq!(project.ok("down").stdout, "no agent is running on this machine\n");
    // What it kept is still there: nothing is compiled again.
    let ended = project.ok("check");
    assert_progress(
        &ended,
        "burst: cargo runs through an agent on this machine, since no Hetzner token is set; \
         `cargo burst init` sets one\n\
         \x20   Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n\
         burst: on this machine, [..]\n",
    );
    project.ok("down --with-volumes --yes");
    assert!(project.ok("check").stderr.contains("Checking"));

    sandbox.settings("keep_alive_secs = 1\n");
    project.ok("check");
    let began = Instant::now();
    while !project.ok("status").stdout.starts_with(absent) {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    // Runs that meet an agent at its end get the next one.
    sandbox.settings("keep_alive_secs = 0\n");
    for _ in 0..12 {
        project.ok("check -q");
    }
}

#[test]
fn a_burst_inside_of_a_run_is_plain_cargo() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        format!("fn main() {{\n    let out = std::process::Command::new({:?}).args([\"burst\", \"--\", \"--version\"]).output().unwrap();\n    print!(\"{{}}\", String::from_utf8_lossy(&out.stdout));\n}}\n", env!("CARGO_BIN_EXE_cargo-burst-under-test")),
    );
    assert!(project.ok("run -q").stdout.starts_with("cargo 1."));
}

/// A program that adds to a count between two files: it writes the first one, and waits for
/// the second one.
fn counter(project: &Project<'_>, name: &str) {
    held(project, name);
    let held = project.read("src/main.rs");
    let begin = "fn main() {\n    let count: u32 = std::fs::read_to_string(\"count\").unwrap().parse().unwrap();\n";
    let end = "    std::fs::write(\"count\", (count + 1).to_string()).unwrap();\n}\n";
    let held = held.strip_prefix("fn main() {\n").unwrap().strip_suffix("}\n").unwrap();
    project.write("src/main.rs", format!("{begin}{held}{end}"));
}

/// As it would where cargo runs here: it waits there, too, and reads the sources after that.
#[test]
fn a_run_that_has_waited_sees_the_results_of_the_one_before() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("count", "0");
    counter(&project, "one");
    let first = project.start("run -q");
    wait_for(&sandbox.path().join("one-started"));
    counter(&project, "two");
    std::fs::write(sandbox.path().join("two-go"), "").unwrap();
    let mut second = project.start("-v run -q");
    let reading = heard_waiting(&mut second);
    std::fs::write(sandbox.path().join("one-go"), "").unwrap();
    assert_eq!(ended(first.wait_with_output().unwrap()).stdout, "one\n");
    assert_eq!(ended(second.wait_with_output().unwrap()).stdout, "two\n");
    let said = reading.join().unwrap().unwrap();
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(project.read("count"), "2");
    assert!(!project.has("count.from-burst"));
    crate::histories::assert_same_tree(&project);
}

/// Two programs run with the same sources; `work` is what each does, knowing its `name`. `one` ends
/// first. If it `is_paused`, its command is, until the other program has ended; else its results
/// are here by then.
fn one_after_the_other(project: &Project<'_>, work: &str, is_paused: bool) {
    let sandbox = project.sandbox;
    let place = sandbox.path().join("");
    project.write(
        "src/main.rs",
        format!("use std::fs;\nfn main() {{\n    let name = std::env::args().nth(1).unwrap();\n    fs::write(format!(\"{{}}{{name}}-started\", {place:?}), \"\").unwrap();\n    while !fs::exists(format!(\"{{}}{{name}}-go\", {place:?})).unwrap() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}\n    {work}\n}}\n"),
    );
    let [one, two] = ["one", "two"].map(|name| {
        let command = project.start(&format!("run -q {name}"));
        wait_for(&sandbox.path().join(format!("{name}-started")));
        command
    });
    let first = Pid::from_raw(one.id().cast_signed());
    let end = |command: Child| {
        let found = ended(command.wait_with_output().unwrap());
        assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
    };
    let go = |name: &str| std::fs::write(sandbox.path().join(format!("{name}-go")), "").unwrap();
    let before = sandbox.agent_log().matches("exited with code").count();
    let exited = |count| {
        let log = || sandbox.agent_log().matches("exited with code").count() - before;
        wait_until("the end of a run", || log() == count);
    };
    if !is_paused {
        go("one");
        end(one);
        go("two");
        end(two);
        return;
    }
    kill(first, Signal::SIGSTOP).unwrap();
    go("one");
    exited(1);
    go("two");
    exited(2);
    kill(first, Signal::SIGCONT).unwrap();
    end(one);
    end(two);
}

/// What the second program writes is new, or what the file contained before both.
#[test]
fn the_last_program_that_writes_a_file_decides_what_it_is_here() {
    for before in ["zero", "two"] {
        let sandbox = sandbox().with("CARGO_BURST_GRACE_SECS", "60");
        let project = sandbox.hello("app");
        project.write("made", before);
        project.ok("build -q");
        let work =
            "fs::write(\"made\", if name == \"one\" { \"\" } else { name.as_str() }).unwrap();";
        one_after_the_other(&project, work, true);
        assert_eq!(project.read("made"), "two");
        crate::histories::assert_same_tree(&project);
    }
}

/// The first program makes a directory of a file, or a file of a directory, and the second one
/// undoes it.
#[test]
fn the_last_program_decides_what_is_a_directory_here() {
    const WORK: &str = "if fs::metadata(\"shape\").unwrap().is_dir() { fs::remove_dir_all(\"shape\").unwrap(); fs::write(\"shape\", name).unwrap(); } else { fs::remove_file(\"shape\").unwrap(); fs::create_dir_all(\"shape/deep\").unwrap(); fs::write(\"shape/deep/file\", name).unwrap(); }";
    for is_paused in [true, false] {
        let sandbox = sandbox().with("CARGO_BURST_GRACE_SECS", "60");
        for before in ["shape", "shape/deep/file"] {
            let project = sandbox.hello(if before == "shape" { "file" } else { "directory" });
            project.write(before, "zero");
            project.ok("build -q");
            one_after_the_other(&project, WORK, is_paused);
            assert_eq!(project.read(before), "two");
            assert!(!project.has("shape.from-burst"));
            crate::histories::assert_same_tree(&project);
            for name in ["one", "two"] {
                for what in ["started", "go"] {
                    std::fs::remove_file(sandbox.path().join(format!("{name}-{what}"))).unwrap();
                }
            }
        }
    }
}
