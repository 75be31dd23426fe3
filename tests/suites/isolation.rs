//! Isolation: of builds on a server from each other and from the memory that is kept for the
//! agent, and of background processes from the open descriptors of the command.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use burst_tests::{Ended, Project, Sandbox, assert_progress, carry_over, ended, lacks};
use hetzner_sim::simulator::lock;
use hetzner_sim::{ControlGroups, Scenario, Simulator};

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

/// A package whose program runs its first argument in a shell, as a test could.
fn shell<'a>(sandbox: &'a Sandbox, name: &str) -> Project<'a> {
    let project = sandbox.hello(name);
    project.write(
        "src/main.rs",
        "fn main() {\n\
         let script = std::env::args().nth(1).unwrap();\n\
         let status = std::process::Command::new(\"sh\").args([\"-c\", &script]).status();\n\
         std::process::exit(status.unwrap().code().unwrap_or(99));\n\
         }\n",
    );
    project
}

fn run(project: &Project<'_>, script: &str) -> Ended {
    ended(project.command("-q run -q --").arg(script).output().unwrap())
}

/// The control groups of this machine, by the version of the kernel's interface.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Groups {
    One,
    Two,
}

impl Groups {
    /// None, with a message, where there are none.
    fn of_this_machine() -> Option<Self> {
        let mount = Path::new("/sys/fs/cgroup");
        if mount.join("cgroup.controllers").exists() {
            return Some(Self::Two);
        }
        if mount.join("memory").is_dir() && mount.join("pids").is_dir() {
            return Some(Self::One);
        }
        burst_tests::skip("needs control groups for memory and processes");
        None
    }

    /// Those of a simulator's only host.
    fn of_host(simulator: &Simulator) -> Vec<PathBuf> {
        let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
        simulator.shared().hosts().unwrap().control_groups_of(server)
    }
}

/// Whether a process of root may be protected from the killer of processes here; some
/// containers forbid it.
fn may_protect() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(rights.trim(), 16).unwrap() & CAP_SYS_RESOURCE != 0
}

#[test]
fn projects_on_a_server_share_no_files_and_no_memory() {
    if lacks(&["ipcmk", "ipcs"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let (one, other) = (shell(&sandbox, "one"), shell(&sandbox, "other"));
    const LOOK: &str = "for file in /tmp/own /var/tmp/own /dev/shm/own; do cat $file 2>/dev/null \
                        || echo none; done; ls /dev/mqueue | wc -l; ipcs -m | grep -c ^0x";
    let first = run(
        &one,
        &format!(
            "for file in /tmp/own /var/tmp/own /dev/shm/own; do echo one >$file; done; \
             touch /dev/mqueue/own; ipcmk -M 64 >/dev/null; {LOOK}"
        ),
    );
    assert_eq!(first.stdout, "one\none\none\n1\n1\n", "{first:?}\n{}", logs(&simulator, &sandbox));
    let stranger = run(&other, LOOK);
    assert_eq!(stranger.stdout, "none\nnone\nnone\n0\n0\n", "{stranger:?}");
    // Files stay with the project, as on a machine of one's own; memory ends with the run.
    let again = run(&one, LOOK);
    assert_eq!(again.stdout, "one\none\nnone\n0\n0\n", "{again:?}");
}

/// On the machine of the user, a run sees what cargo would see.
#[test]
fn runs_of_the_agent_here_share_the_directories_of_the_machine() {
    let sandbox = sandbox();
    let project = shell(&sandbox, "app");
    for directory in [sandbox.path(), Path::new("/dev/shm"), Path::new("/var/tmp")] {
        let file = tempfile::NamedTempFile::new_in(directory).unwrap();
        let found = run(&project, &format!("echo seen >{}", file.path().display()));
        assert_eq!(found.code, Some(0), "{found:?}");
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "seen\n");
    }
}

/// Programs that a user expects to be able to use `/dev/shm` and locks below `/run`.
#[test]
fn the_private_directories_of_a_run_are_as_usual() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = shell(&sandbox, "app");
    let found = run(&project, "stat -c '%a %n' /tmp /var/tmp /dev/shm; stat -f -c %T /dev/shm");
    let expected = "1777 /tmp\n1777 /var/tmp\n1777 /dev/shm\ntmpfs\n";
    assert_eq!(found.stdout, expected, "{found:?}\n{}", logs(&simulator, &sandbox));
}

#[test]
fn a_run_that_needs_too_much_memory_is_ended_and_the_user_is_told() {
    let Some(groups) = Groups::of_this_machine() else { return };
    let control_groups = ControlGroups { memory_mib: Some(800), ..ControlGroups::default() };
    let scenario = Scenario { control_groups, ..Scenario::default() };
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = shell(&sandbox, "app");
    // The agent is protected from the killer, what it starts is not.
    let own =
        run(&project, "cat /proc/self/oom_score_adj; grep -c burst-runs/run- /proc/self/cgroup");
    let hierarchies = Groups::of_host(&simulator);
    let expected = format!("0\n{}\n", hierarchies.len());
    assert_eq!(own.stdout, expected, "{own:?}\n{}", logs(&simulator, &sandbox));
    let greedy = run(&project, "head -c 2000000000 /dev/zero | tail");
    let (code, shell, killed) = match groups {
        Groups::One => (Some(128 + 9), "Killed\n", "a process of the run"),
        Groups::Two => (None, "", "the run"),
    };
    assert_eq!(greedy.code, code, "{greedy:?}");
    assert_eq!(
        greedy.stderr,
        format!(
            "{shell}burst: out of memory: the kernel killed {killed}; the runs of this server may \
             use 0.6 GB together, and a larger `server_type` has more\n"
        )
    );
    assert_eq!(run(&project, "echo fine").stdout, "fine\n");
    if !may_protect() {
        let log = logs(&simulator, &sandbox);
        let warning = "the kernel may end the agent when memory is short: Permission denied";
        assert!(log.contains(warning), "{log}");
        return;
    }
    let agent = match groups {
        Groups::One => hierarchies[0].join("cgroup.procs"),
        Groups::Two => hierarchies[0].join("burst-agent/cgroup.procs"),
    };
    let agents = std::fs::read_to_string(agent).unwrap();
    let is_protected = agents.lines().any(|pid| {
        let adjustment = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        adjustment.is_ok_and(|text| text.trim() == "-1000")
    });
    assert!(is_protected, "{agents}");
}

#[test]
fn a_run_that_starts_processes_without_end_harms_no_other() {
    if Groups::of_this_machine().is_none() {
        return;
    }
    let control_groups = ControlGroups { processes: Some(400), ..ControlGroups::default() };
    let scenario = Scenario { control_groups, ..Scenario::default() };
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = shell(&sandbox, "app");
    let greedy = run(&project, "for one in $(seq 500); do sleep 1000 & done; echo all");
    assert_ne!(greedy.code, Some(0), "{greedy:?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(greedy.stdout, "");
    assert_eq!(run(&project, "echo fine").stdout, "fine\n");
    // Nothing of the runs is left.
    for group in Groups::of_host(&simulator) {
        let left = std::fs::read_dir(group.join("burst-runs")).unwrap().flatten();
        let left: Vec<_> = left.filter(|entry| entry.path().is_dir()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_server_without_control_groups_says_so() {
    let control_groups = ControlGroups { there: false, ..ControlGroups::default() };
    let scenario = Scenario { control_groups, ..Scenario::default() };
    let Some(simulator) = cloud(scenario) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    assert_progress(
        &project.burst("-q build -q"),
        "warning: memory and processes of runs are not limited on this server: it has no control \
         groups for them",
    );
    assert_progress(&project.burst("-q build -q"), "");
}

/// A mount point of a run belongs to the build user: what comes later can be written there.
#[test]
fn a_former_target_directory_can_have_sources() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build --target-dir out/put");
    std::fs::remove_dir_all(project.root.join("out")).unwrap();
    project.write("out/put/text", "a source\n");
    project
        .write("src/main.rs", "fn main() { print!(\"{}\", include_str!(\"../out/put/text\")); }");
    let found = project.burst("run -q");
    assert_eq!(found.stdout, "a source\n", "{found:?}\n{}", logs(&simulator, &sandbox));
}

#[test]
fn clean_empties_the_target_directory_of_the_agent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("build");
    let compiles = || project.ok("build").stderr.contains("Compiling hello");
    assert!(!compiles());
    project.ok("clean --doc");
    project.ok("clean --release");
    assert!(!compiles());
    project.ok("clean -p hello");
    assert!(compiles() && !compiles());
    let clean = project.ok("clean");
    assert!(clean.stderr.contains("     Removed "), "{}", clean.stderr);
    assert_progress(&project.burst("clean"), "     Removed 0 files\nburst: on this machine, [..]");
    assert!(compiles() && !compiles());
    // Its own options reach cargo, the directory's among them.
    project.ok("build --target-dir other");
    project.ok("clean --target-dir other");
    assert!(project.ok("build --target-dir other").stderr.contains("Compiling hello"));
    assert!(!compiles());
}

#[test]
fn clean_works_on_a_server_too() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build");
    project.ok("clean");
    let again = project.ok("build");
    assert!(again.stderr.contains("Compiling hello"), "{}", again.stderr);
}

/// Runs a command whose caller has a pipe at descriptor 9 and a lock at descriptor 8, and
/// asserts that both are free when the command has ended.
fn assert_nothing_is_held(project: &Project<'_>, arguments: &str) {
    let lock = project.sandbox.path().join("held");
    let script = "exec 8>\"$1\" && flock 8 && shift && exec 9>&1 >/dev/null 2>&1 && \"$@\"";
    let inner = project.command(arguments);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&lock).arg(inner.get_program());
    carry_over(&mut command, &inner);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", project.sandbox.agent_log());
    let mut pipe = File::from(std::os::fd::OwnedFd::from(child.stdout.take().unwrap()));
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    assert_eq!(pipe.read(&mut [0; 1]).ok(), Some(0), "the pipe is still held");
    let lock = File::open(&lock).unwrap();
    let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert!(free.is_ok(), "the lock is still held");
}

#[test]
fn the_agent_holds_no_descriptor_of_its_starter() {
    if lacks(&["flock"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    assert_nothing_is_held(&project, "build");
    assert!(sandbox.agent().is_some());
}

#[test]
fn the_keeper_holds_no_descriptor_of_its_starter() {
    if lacks(&["flock"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    assert_nothing_is_held(&project, "sync");
    assert!(sandbox.keeper().is_some());
}
