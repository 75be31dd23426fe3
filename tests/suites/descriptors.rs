use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, PathBuf};
use std::process::Command;

use burst_tests::{carry_over, ended, wait_until};

use crate::sandbox;

/// The projects of which a process has files open.
fn open_projects(process: i32) -> BTreeSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    let files = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let below = |file: PathBuf| {
        let mut parts = file.components().skip_while(|part| part.as_os_str() != "projects");
        match (parts.next()?, parts.next()?) {
            (_, Component::Normal(key)) => Some(PathBuf::from(key)),
            _ => None,
        }
    };
    files.filter_map(below).collect()
}

#[test]
fn idle_projects_are_closed_and_opened_again() {
    let sandbox = sandbox();
    let projects: Vec<_> = (0..11).map(|n| sandbox.hello(&format!("app-{n}"))).collect();
    for project in &projects {
        project.ok("sync");
    }
    let agent = sandbox.agent().unwrap();
    // A session ends a moment after its command.
    wait_until("that all but eight projects are closed", || open_projects(agent).len() == 8);
    projects[0].write("src/main.rs", "fn main() {\n    println!(\"again\");\n}\n");
    let again = projects[0].burst("-v sync");
    assert!(again.stderr.contains("1 written, 0 removed"), "{again:?}");
    wait_until("that another project is closed", || open_projects(agent).len() == 8);
}

#[test]
fn a_run_has_the_limits_of_the_shell() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    std::process::Command::new(\"sh\").args([\"-c\", \"ulimit -Sn\"])\
         .status().unwrap();\n}\n",
    );
    let inner = project.command("run -q");
    let mut outer = Command::new("sh");
    outer.args(["-c", "ulimit -Sn 517 && exec \"$@\"", "sh"]).arg(inner.get_program());
    carry_over(&mut outer, &inner);
    let found = ended(outer.output().unwrap());
    assert_eq!(found.stdout, "517\n", "{found:?}");
    let agent = sandbox.agent().unwrap();
    let limits = fs::read_to_string(format!("/proc/{agent}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft > 517, "{line}");
}

/// The agent deletes what is beyond the limit when it starts.
#[test]
fn copies_beyond_the_limit_are_deleted_the_longest_unused_first() {
    let sandbox = sandbox().with("CARGO_BURST_LOCAL_DISK_GB", "1");
    let (old, new) = (sandbox.hello("old"), sandbox.hello("new"));
    old.ok("check -q");
    new.ok("check -q");
    let status = new.ok("status").stdout;
    let line = status.lines().last().unwrap();
    assert!(line.starts_with("copies on this machine: 2 projects, "), "{status}");
    assert!(line.ends_with(", at most 1 GB"), "{status}");
    new.ok("down");
    let copy = sandbox.agent_project(&old.root);
    let large = fs::File::create(copy.join("large")).unwrap();
    let flags = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&large, flags, 0, 1_100_000_000).unwrap();
    new.ok("check -q");
    wait_until("the deletion", || !copy.exists());
    old.ok("check -q");
    new.ok("check -q");
}
