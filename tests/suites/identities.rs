//! Who a server belongs to: tokens that are rotated, spellings of one endpoint, state
//! directories that are copied, machines that are cloned. No server that is warm or in use is
//! replaced or deleted.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use burst_tests::{Ended, Project, Sandbox, assert_lines, ended, wait_until};
use hetzner_sim::scenario::Access;
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{TOKEN, cloud, logs, sandbox_on, wait_for_verified_volume};

/// The token after a rotation, or that of a second shell.
const SECOND_TOKEN: &str = "a-second-token-of-this-test";

/// A program that echoes its standard input.
const ECHO: &str = "fn main() {
    println!(\"begun\");
    for line in std::io::stdin().lines() { println!(\"got {}\", line.unwrap()); }
}
";

/// A run of the program that echoes, while it waits for its input.
struct Waiting {
    run: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Waiting {
    fn begin(project: &Project<'_>) -> Self {
        project.write("src/main.rs", ECHO);
        let mut run = project.command("run -q");
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let input = run.stdin.take().unwrap();
        let output = BufReader::new(run.stdout.take().unwrap());
        let mut waiting = Self { run, input, output };
        assert_eq!(waiting.line(), "begun\n");
        waiting
    }

    fn line(&mut self) -> String {
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        said
    }

    /// The run answers still, and ends as it should.
    fn end(mut self) {
        writeln!(self.input, "word").unwrap();
        assert_eq!(self.line(), "got word\n");
        drop(self.input);
        let found = ended(self.run.wait_with_output().unwrap());
        assert_eq!(found.code, Some(0), "{found:#?}");
    }
}

/// The ids of the servers that exist.
fn servers(simulator: &Simulator) -> Vec<u64> {
    lock(&simulator.shared().world).servers.keys().copied().collect()
}

fn second_token() -> Scenario {
    Scenario { tokens: [(SECOND_TOKEN.into(), Access::ReadWrite)].into(), ..Scenario::default() }
}

fn revoke(simulator: &Simulator, token: &str) {
    lock(&simulator.shared().world).scenario.tokens.insert(token.into(), Access::Revoked);
}

/// Runs a command of a project with other variables.
fn with(project: &Project<'_>, variable: (&str, &str), arguments: &str) -> Ended {
    ended(project.command(arguments).env(variable.0, variable.1).output().unwrap())
}

#[test]
fn a_rotated_token_and_another_spelling_of_the_endpoint_find_the_warm_server() {
    let Some(simulator) = cloud(second_token()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("build");
    let warm = servers(&simulator);
    wait_for_verified_volume(&simulator);
    simulator.shared().forget_calls();
    let endpoint = format!("{}//", simulator.endpoint());
    let spelled = with(&project, ("HCLOUD_ENDPOINT", &endpoint), "check");
    assert_eq!(spelled.code, Some(0), "{spelled:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(simulator.shared().calls().len(), 0);
    revoke(&simulator, TOKEN);
    let rotated = with(&project, ("HCLOUD_TOKEN", SECOND_TOKEN), "build");
    assert_eq!(rotated.code, Some(0), "{rotated:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!((servers(&simulator), rotated.warnings().len()), (warm.clone(), 0));
    // The keeper of the first command goes on with the token that is accepted.
    let reaped = with(&project, ("HCLOUD_TOKEN", TOKEN), "reap");
    assert_eq!(reaped.code, Some(0), "{reaped:#?}\n{}", logs(&simulator, &sandbox));
    let keeper = sandbox.keeper();
    sandbox.kill_keeper();
    wait_until("the keeper's end", || sandbox.keeper().is_none());
    // Also another keeper, which has never seen the first token.
    let again = with(&project, ("HCLOUD_TOKEN", SECOND_TOKEN), "build");
    assert_eq!(again.code, Some(0), "{again:#?}\n{}", logs(&simulator, &sandbox));
    assert!(sandbox.keeper().is_some() && sandbox.keeper() != keeper);
    assert_eq!((servers(&simulator), again.warnings().len()), (warm, 0));
}

#[test]
fn shells_with_tokens_of_their_own_share_a_server_in_use() {
    let Some(simulator) = cloud(second_token()) else { return };
    let sandbox = sandbox_on(&simulator)
        .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
        .with("CARGO_BURST_KEEP_ALIVE_SECS", "1");
    let (first, second) = (sandbox.hello("first"), sandbox.hello("second"));
    let run = Waiting::begin(&first);
    let used = servers(&simulator);
    let other = with(&second, ("HCLOUD_TOKEN", SECOND_TOKEN), "build");
    assert_eq!(other.code, Some(0), "{other:#?}\n{}", logs(&simulator, &sandbox));
    for token in [SECOND_TOKEN, TOKEN] {
        let reaped = with(&second, ("HCLOUD_TOKEN", token), "reap");
        assert_eq!(reaped.code, Some(0), "{reaped:#?}\n{}", logs(&simulator, &sandbox));
    }
    // The keeper goes back to the first token as soon as the second one is refused.
    revoke(&simulator, SECOND_TOKEN);
    let reaped = with(&second, ("HCLOUD_TOKEN", TOKEN), "reap");
    assert_eq!(reaped.code, Some(0), "{reaped:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(servers(&simulator), used);
    run.end();
    wait_until("the idle server's deletion", || servers(&simulator).is_empty());
}

#[test]
fn a_token_that_may_only_read_joins_and_the_other_one_deletes() {
    let tokens = [(SECOND_TOKEN.to_owned(), Access::ReadOnly)].into();
    let Some(simulator) = cloud(Scenario { tokens, ..Scenario::default() }) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ok("sync");
    let status = with(&project, ("HCLOUD_TOKEN", SECOND_TOKEN), "status");
    assert_eq!((status.code, status.warnings().len()), (Some(0), 0), "{status:#?}");
    project.ok("down --with-volumes --yes");
    assert_eq!(servers(&simulator), Vec::<u64>::new());
}

/// Gives a sandbox what another one has below `state/cargo-burst/hetzner`.
fn copy_state(from: &Sandbox, to: &Sandbox, name: &str) {
    let directory = to.path().join("state/cargo-burst/hetzner");
    std::fs::create_dir_all(&directory).unwrap();
    let from = from.path().join("state/cargo-burst/hetzner").join(name);
    let copied = Command::new("cp").arg("-a").arg(from).arg(directory).status().unwrap();
    assert!(copied.success());
}

/// A command on a machine with another id: in a mount namespace that has another file there.
fn on_another_machine(project: &Project<'_>, id: &Path, arguments: &str) -> Ended {
    let burst = project.command(arguments);
    let mut command = Command::new("unshare");
    command.arg("--mount").args(["sh", "-ec", "mount --bind \"$0\" /etc/machine-id; exec \"$@\""]);
    command.arg(id).arg(burst.get_program());
    burst_tests::carry_over(&mut command, &burst);
    ended(command.output().unwrap())
}

#[test]
fn a_copied_state_directory_belongs_to_another_owner_on_another_machine() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (here, there) = (sandbox_on(&simulator), sandbox_on(&simulator));
    here.hello("app").ok("build");
    let warm = servers(&simulator);
    copy_state(&here, &there, ".");
    let id = there.path().join("machine-id");
    std::fs::write(&id, "0123456789abcdef0123456789abcdef\n").unwrap();
    let project = there.hello("app");
    let copied = on_another_machine(&project, &id, "build");
    assert_eq!(copied.code, Some(0), "{copied:#?}\n{}", logs(&simulator, &there));
    assert_eq!((servers(&simulator).len(), copied.warnings().len()), (2, 0));
    let down = on_another_machine(&project, &id, "down --with-volumes --yes");
    assert_eq!(down.code, Some(0), "{down:#?}\n{}", logs(&simulator, &there));
    assert_eq!(servers(&simulator), warm);
}

#[test]
fn a_cloned_machine_leaves_the_others_run_alone() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (one, clone) = (sandbox_on(&simulator), sandbox_on(&simulator));
    let run = Waiting::begin(&one.hello("app"));
    let used = servers(&simulator);
    // The clone was made before the server, so it has the seed and not the keys.
    copy_state(&one, &clone, "seed");
    let project = clone.hello("app");
    let down = project.ok("down --with-volumes --yes");
    assert_lines(
        &down.stderr,
        "warning: the server cargo-burst-[..] is not deleted: its keys are not on this machine, \
         so another machine may be using it; `cargo burst down --all` deletes it\n",
    );
    project.ok("reap");
    assert_eq!(servers(&simulator), used);
    // Its runs are not known, so that nothing is deleted without a question.
    let all = project.burst("down --all");
    assert_ne!(all.code, Some(0), "{all:#?}");
    assert_eq!(servers(&simulator), used);
    let cold = project.burst("build");
    assert_eq!(cold.code, Some(0), "{cold:#?}\n{}", logs(&simulator, &clone));
    assert_lines(
        &cold.warnings().join("\n"),
        "warning: the keys of the server cargo-burst-[..] of [..], last used [..] ago, are not on \
         this machine: this machine may be a clone of the one that uses it, so it gets a server \
         and volumes of its own and leaves that one alone; it is deleted in [..] if it stays idle",
    );
    assert_eq!(servers(&simulator).len(), 2);
    // Said once, also where another keeper comes.
    clone.kill_keeper();
    wait_until("the keeper's end", || clone.keeper().is_none());
    let warm = project.ok("build");
    assert_eq!((servers(&simulator).len(), warm.warnings().len()), (2, 0));
    project.ok("down --with-volumes --yes");
    assert_eq!(servers(&simulator), used);
    run.end();
}

/// A clone that was made while the server was warm has its keys as well. It shares the server,
/// and its keeper asks the agent before it deletes what is idle for it.
#[test]
fn a_clone_with_the_keys_shares_the_server_and_spares_its_runs() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let one = sandbox_on(&simulator).with("CARGO_BURST_VOLUME_KEEP_ALIVE_SECS", "1");
    let clone = sandbox_on(&simulator)
        .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
        .with("CARGO_BURST_KEEP_ALIVE_SECS", "1");
    let run = Waiting::begin(&one.hello("app"));
    let used = servers(&simulator);
    copy_state(&one, &clone, ".");
    let project = clone.hello("other");
    let shared = project.burst("build");
    assert_eq!(shared.code, Some(0), "{shared:#?}\n{}", logs(&simulator, &clone));
    let log = || std::fs::read_to_string(clone.path().join("state/cargo-burst/keeper/keeper.log"));
    wait_until("the look at the idle server", || {
        log().unwrap_or_default().contains("an idle server is kept: it has runs of others")
    });
    project.ok("reap");
    assert_eq!(servers(&simulator), used);
    let attached = {
        let world = lock(&simulator.shared().world);
        world.volumes.values().filter(|volume| volume.server == Some(used[0])).count()
    };
    assert_eq!(attached, 2);
    // Neither does that keeper delete the server when it is asked to end.
    let keeper = clone.keeper().expect("a keeper");
    kill(Pid::from_raw(keeper), Signal::SIGTERM).unwrap();
    wait_until("the keeper's end", || clone.keeper().is_none());
    assert_eq!(servers(&simulator), used);
    // The next keeper is told how long this one wants the server to live.
    project.ok("sync");
    run.end();
    // Not by the other one's keeper: that keeps it for its paid hour. It may delete its volume
    // at the same time.
    drop(project.burst("reap"));
    wait_until("the idle server's deletion", || servers(&simulator).is_empty());
}

/// The keys of a server stay when a server in another Hetzner project is created.
#[test]
fn one_installation_has_servers_in_two_projects_at_hetzner() {
    let (Some(first), Some(second)) = (cloud(Scenario::default()), cloud(Scenario::default()))
    else {
        return;
    };
    let sandbox = sandbox_on(&first);
    let project = sandbox.hello("app");
    let second_endpoint = second.endpoint();
    project.ok("build");
    let made = with(&project, ("HCLOUD_ENDPOINT", &second_endpoint), "build");
    assert_eq!(made.code, Some(0), "{made:#?}\n{}", logs(&second, &sandbox));
    let warm = (servers(&first), servers(&second));
    assert_eq!((warm.0.len(), warm.1.len()), (1, 1));
    sandbox.kill_keeper();
    wait_until("the keeper's end", || sandbox.keeper().is_none());
    // The first command is told of what only the token of the other project can look after.
    for (endpoint, warnings) in [(&first.endpoint(), 1), (&second_endpoint, 0)] {
        let again = with(&project, ("HCLOUD_ENDPOINT", endpoint), "build");
        assert_eq!(again.code, Some(0), "{again:#?}\n{}", logs(&first, &sandbox));
        assert_eq!(again.warnings().len(), warnings, "{again:#?}");
    }
    assert_eq!((servers(&first), servers(&second)), warm);
    let keys = || {
        let state = std::fs::read_dir(sandbox.path().join("state/cargo-burst/hetzner")).unwrap();
        let owners = state.map(|entry| entry.unwrap().path().join("keys"));
        let pairs = owners.filter_map(|keys| std::fs::read_dir(keys).ok());
        pairs.map(Iterator::count).sum::<usize>()
    };
    assert_eq!(keys(), 2);
    project.ok("down --with-volumes --yes");
    assert_eq!(keys(), 1);
}
