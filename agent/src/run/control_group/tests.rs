//! The groups in directories that stand for a hierarchy, and in the kernel's own where this
//! machine has some that can be written.

use super::hierarchy::Group;
use super::*;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

/// A directory in the place of a hierarchy of version 2.
fn hierarchy() -> (tempfile::TempDir, Hierarchy) {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().to_owned();
    fs::create_dir_all(own.join("burst-runs/run-3")).unwrap();
    for file in ["memory.max", "pids.max", "cgroup.subtree_control"] {
        fs::write(own.join("burst-runs").join(file), "").unwrap();
    }
    fs::write(own.join("cgroup.subtree_control"), "").unwrap();
    let group = Group { mount: own.clone(), directory: own };
    (directory, Hierarchy::Two(group))
}

#[test]
fn all_runs_together_are_limited_and_each_has_a_group() {
    let (directory, hierarchy) = hierarchy();
    let runs = directory.path().join("burst-runs");
    let limits = Limits { memory_bytes: 7_650_000_000, processes: 300 };
    let groups = RunGroups::prepare_in(&hierarchy, limits).unwrap();
    let read = |name: &str| fs::read_to_string(runs.join(name)).unwrap();
    assert_eq!((read("memory.max"), read("pids.max")), ("7650000000".into(), "300".into()));
    assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
    // What an earlier agent has left is gone.
    assert!(!runs.join("run-3").exists());
    let (first, second) = (groups.add().unwrap(), groups.add().unwrap());
    let entrance = |name: &str| spec::path_bytes(&runs.join(name).join("cgroup.procs"));
    assert_eq!(first.entrances(), [entrance("run-1")]);
    assert_eq!(second.entrances(), [entrance("run-2")]);
    drop(first);
    assert!(!runs.join("run-1").exists() && runs.join("run-2").exists());
}

#[test]
fn the_user_is_told_what_the_kernel_has_killed() {
    let (directory, hierarchy) = hierarchy();
    let limits = Limits { memory_bytes: 7_650_000_000, processes: 300 };
    let groups = RunGroups::prepare_in(&hierarchy, limits).unwrap();
    let group = groups.add().unwrap();
    let events = directory.path().join("burst-runs/run-1/memory.events");
    fs::write(&events, "oom 1\noom_kill 0\n").unwrap();
    assert_eq!(group.out_of_memory(), None);
    fs::write(&events, "oom 1\noom_kill 9\noom_group_kill 1\n").unwrap();
    assert_eq!(
        group.out_of_memory().unwrap().notice(),
        "burst: out of memory: the kernel killed the run; the runs of this server may use \
         7.6 GB together, and a larger `server_type` has more\n"
    );
    fs::remove_file(&events).unwrap();
    let control = directory.path().join("burst-runs/run-1/memory.oom_control");
    fs::write(&control, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
    assert!(group.out_of_memory().unwrap().notice().contains("killed a process of the run"));
    fs::remove_file(&control).unwrap();
}

/// A group of the kernel for one test, at the root of its hierarchies; removed at the end.
struct KernelGroups(Hierarchy);

impl KernelGroups {
    /// None where this machine has no groups that can be written.
    fn new(name: &str) -> Option<Self> {
        let mount = Path::new("/sys/fs/cgroup");
        let name = format!("burst-{name}-{}", std::process::id());
        let make = |mount: PathBuf| {
            let directory = mount.join(&name);
            fs::create_dir(&directory).ok()?;
            Some(Group { mount, directory })
        };
        if mount.join("cgroup.controllers").exists() {
            hierarchy::enable_controllers(mount).ok()?;
            return Some(Self(Hierarchy::Two(make(mount.to_owned())?)));
        }
        let memory = make(mount.join("memory"))?;
        let pids = make(mount.join("pids"))?;
        Some(Self(Hierarchy::One { memory, pids }))
    }
}

impl Drop for KernelGroups {
    fn drop(&mut self) {
        for group in self.0.groups() {
            for name in ["burst-runs", "burst-agent", ""] {
                // Not every version has all of them.
                drop(fs::remove_dir(group.directory.join(name)));
            }
        }
    }
}

/// Runs a script in a group. It begins once it is in there.
fn run_in(group: &RunGroup, script: &str) -> ExitStatus {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("read begin; {script}")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    for entrance in group.entrances() {
        write(&spec::path(&entrance), &child.id().to_string()).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap()
}

#[test]
fn the_agent_is_outside_of_the_groups_of_runs() {
    let Some(kernel) = KernelGroups::new("agent") else { return };
    let mut agent = Command::new("sleep").arg("1000").spawn().unwrap();
    for group in kernel.0.groups() {
        write(&group.directory.join("cgroup.procs"), &agent.id().to_string()).unwrap();
    }
    let limits = Limits { memory_bytes: 64 << 20, processes: 20 };
    let groups = RunGroups::prepare_in(&kernel.0, limits).unwrap();
    let group = groups.add().unwrap();
    for group in kernel.0.groups() {
        let place = match kernel.0 {
            Hierarchy::Two(_) => group.directory.join("burst-agent"),
            Hierarchy::One { .. } => group.directory.clone(),
        };
        let there = fs::read_to_string(place.join("cgroup.procs")).unwrap();
        assert_eq!(there, format!("{}\n", agent.id()));
    }
    drop(group);
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn the_kernel_ends_a_run_that_takes_too_much_memory() {
    let Some(kernel) = KernelGroups::new("memory") else { return };
    let limits = Limits { memory_bytes: 64 << 20, processes: 20 };
    let groups = RunGroups::prepare_in(&kernel.0, limits).unwrap();
    let (modest, greedy) = (groups.add().unwrap(), groups.add().unwrap());
    let mut survivor = Command::new("sleep").arg("1000").spawn().unwrap();
    write(&spec::path(&modest.entrances()[0]), &survivor.id().to_string()).unwrap();
    let status = run_in(&greedy, "head -c 500000000 /dev/zero | tail");
    let whole_run = matches!(kernel.0, Hierarchy::Two(_));
    match whole_run {
        true => assert_eq!(status.signal(), Some(9), "{status}"),
        false => assert_eq!(status.code(), Some(128 + 9), "{status}"),
    }
    let expected = OutOfMemory { whole_run, memory_bytes: limits.memory_bytes };
    assert_eq!(greedy.out_of_memory(), Some(expected));
    // The other run goes on.
    assert_eq!(modest.out_of_memory(), None);
    assert_eq!(survivor.try_wait().unwrap(), None);
    survivor.kill().unwrap();
    survivor.wait().unwrap();
    drop((modest, greedy));
    for directory in &groups.directories {
        let mut left = fs::read_dir(directory).unwrap().flatten();
        assert!(!left.any(|entry| entry.path().is_dir()), "{}", directory.display());
    }
}

/// Version 2 alone can kill a group, also beside hierarchies of version 1.
#[test]
fn what_is_left_in_a_group_is_killed() {
    let name = format!("burst-test-{}", std::process::id());
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let made = mounts.iter().filter(|mount| mount.join("cgroup.controllers").exists());
    let mut made = made.map(|mount| mount.join(&name));
    let Some(directory) = made.find(|group| fs::create_dir(group).is_ok()) else { return };
    let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
    write(&directory.join("cgroup.procs"), &left.id().to_string()).unwrap();
    if !directory.join("cgroup.kill").exists() {
        left.kill().unwrap();
    }
    drop(RunGroup { directories: vec![directory.clone()], memory_bytes: 0 });
    assert_eq!(left.wait().unwrap().signal(), Some(9));
    assert!(!directory.exists());
}
