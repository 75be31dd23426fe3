//! No resource leaks: at each API call of provisioning and deletion the response is lost
//! or an error, shim or keeper is killed, the keeper is asked to end, or the token is revoked; then
//! the next command runs. The calls are those that the simulator has recorded.

use std::process::{Child, Stdio};

use burst_tests::{Project, Sandbox, ended};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Fault, FaultKind, Scenario, Simulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hetzner::{cloud, logs, names, sandbox_on, wait_for_verified_volume};

/// The fault at a call.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Lost,
    Refused,
    ShimKilled,
    KeeperKilled,
    /// As at the end of the user's session.
    KeeperEnded,
    /// With all calls from then on, until the next command.
    Revoked,
}

/// The calls of a command that has a revoked token, at most.
const CALLS_MAX: usize = 40;

impl Mishap {
    /// The faults of the simulator at a call.
    fn faults(self, call: usize, applied: bool) -> Vec<Fault> {
        let last = if matches!(self, Self::Revoked) { call + CALLS_MAX } else { call };
        let fault = |call| Fault {
            method: None,
            route: None,
            call: Some(call),
            times: Some(1),
            kind: self.kind(applied),
        };
        (call..=last).map(fault).collect()
    }

    /// Whether the call is held until a process has got its signal.
    const fn holds(self) -> bool {
        matches!(self, Self::ShimKilled | Self::KeeperKilled | Self::KeeperEnded)
    }

    /// The ways in which it can happen at a call: before and after the API has carried it out.
    const fn ways(self) -> &'static [bool] {
        match self {
            // A token that is revoked has no effect, and an ending keeper waits for no call.
            Self::Revoked => &[false],
            Self::KeeperEnded => &[true],
            _ => &[false, true],
        }
    }

    fn kind(self, applied: bool) -> FaultKind {
        match self {
            Self::Lost => FaultKind::Drop { applied },
            Self::Refused => {
                FaultKind::Answer { status: 500, code: Some("server_error".into()), applied }
            }
            Self::Revoked => {
                FaultKind::Answer { status: 401, code: Some("unauthorized".into()), applied }
            }
            Self::ShimKilled | Self::KeeperKilled | Self::KeeperEnded => {
                FaultKind::Hold { applied }
            }
        }
    }
}

/// The operation whose calls fail.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Provisioning,
    Deletion,
}

impl Phase {
    const fn command(self) -> &'static str {
        match self {
            Self::Provisioning => "sync",
            Self::Deletion => "down --with-volumes --yes",
        }
    }
}

struct Case {
    simulator: Simulator,
    sandbox: Sandbox,
}

impl Case {
    fn new() -> Option<Self> {
        let simulator = cloud(Scenario::default())?;
        let sandbox = sandbox_on(&simulator);
        Some(Self { simulator, sandbox })
    }

    fn prepare(&self, phase: Phase) -> Project<'_> {
        let project = self.sandbox.hello("app");
        if matches!(phase, Phase::Deletion) {
            self.sync(&project);
        }
        self.simulator.shared().forget_calls();
        project
    }

    /// Syncs to a new server. Its volume is verified beside the command, by the last call.
    fn sync(&self, project: &Project<'_>) {
        self.ok(project, "sync");
        self.wait_for_the_volume();
    }

    fn wait_for_the_volume(&self) {
        wait_for_verified_volume(&self.simulator);
    }

    fn ok(&self, project: &Project<'_>, arguments: &str) {
        let found = project.burst(arguments);
        let logs = logs(&self.simulator, &self.sandbox);
        let calls = names(&self.simulator.shared().calls());
        assert_eq!(found.code, Some(0), "{arguments}: {found:#?}\n{logs}\n{calls:#?}");
    }

    /// The numbers of servers and volumes.
    fn counts(&self) -> (usize, usize) {
        let world = lock(&self.simulator.shared().world);
        (world.servers.len(), world.volumes.len())
    }

    fn suffer(
        &self,
        project: &Project<'_>,
        phase: Phase,
        mishap: Mishap,
        call: usize,
        applied: bool,
    ) {
        lock(&self.simulator.shared().world).scenario.faults = mishap.faults(call, applied);
        let mut command = project.command(phase.command());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if mishap.holds() {
            self.kill_while_held(&mut child, mishap);
        }
        drop(ended(child.wait_with_output().unwrap()));
        if matches!(mishap, Mishap::Revoked | Mishap::KeeperEnded) {
            self.assert_watched(mishap);
        }
        lock(&self.simulator.shared().world).scenario.faults.clear();
    }

    /// Nothing exists that no keeper looks after. One that was asked to end has no successor where
    /// its command has ended, too: then the server is gone, and a volume is written down for the
    /// next command.
    fn assert_watched(&self, mishap: Mishap) {
        let may_be_left = |servers: usize, volumes: usize| match mishap {
            Mishap::KeeperEnded => servers == 0 && (volumes == 0 || self.holds_volume()),
            _ => (servers, volumes) == (0, 0),
        };
        burst_tests::wait_until("a keeper, or nothing to look after", || {
            let (servers, volumes) = self.counts();
            self.sandbox.keeper().is_some() || may_be_left(servers, volumes)
        });
    }

    /// Whether the keeper has written down that there is a volume.
    fn holds_volume(&self) -> bool {
        let file = self.sandbox.path().join("state/cargo-burst/keeper/holdings.json");
        std::fs::read_to_string(file).is_ok_and(|text| text.contains("-hel1\""))
    }

    fn kill_while_held(&self, child: &mut Child, mishap: Mishap) {
        let shared = self.simulator.shared();
        burst_tests::wait_until("the held call", || shared.held().is_some());
        let shim = i32::try_from(child.id()).unwrap();
        // Without a keeper the command does the work itself.
        let keeper = self.sandbox.keeper().unwrap_or(shim);
        let (victim, signal) = match mishap {
            Mishap::KeeperKilled => (keeper, Signal::SIGKILL),
            Mishap::KeeperEnded => (keeper, Signal::SIGTERM),
            _ => (shim, Signal::SIGKILL),
        };
        kill(Pid::from_raw(victim), signal).unwrap();
        shared.release();
    }
}

/// Injects a fault at each call, before and after the API has carried it out.
fn at_every_call(phase: Phase, mishap: Mishap) {
    let Some(case) = Case::new() else { return };
    let project = case.prepare(phase);
    case.ok(&project, phase.command());
    if matches!(phase, Phase::Provisioning) {
        case.wait_for_the_volume();
    }
    let calls = case.simulator.shared().calls();
    assert!(calls.len() >= 5, "{:#?}", names(&calls));
    drop(case);
    let ways = |call| mishap.ways().iter().map(move |applied| (call, *applied));
    for (call, applied) in (0..calls.len()).flat_map(ways) {
        let what = format!("{phase:?}, {mishap:?} at {}, applied: {applied}", calls[call].name());
        let case = Case::new().unwrap();
        let project = case.prepare(phase);
        case.suffer(&project, phase, mishap, call, applied);
        // The next command repairs the state.
        case.ok(&project, phase.command());
        let there = match phase {
            Phase::Provisioning => (1, 1),
            Phase::Deletion => (0, 0),
        };
        assert_eq!(case.counts(), there, "{what}");
        case.ok(&project, "down --with-volumes --yes");
        assert_eq!(case.counts(), (0, 0), "{what}");
        let (ledger, sum) = case.simulator.shared().ledger();
        assert!(ledger.lines.iter().filter(|line| line.to.is_none()).count() == 1, "{what}");
        // At most the interrupted hour and the one that is needed.
        assert!(sum.server_hours <= 2, "{what}: {ledger:#?}");
        assert_eq!(case.simulator.shared().violations(), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn lost_responses_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::Lost);
}

#[test]
fn errors_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::Refused);
}

#[test]
fn killed_shims_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::ShimKilled);
}

#[test]
fn killed_keepers_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::KeeperKilled);
}

#[test]
fn keepers_that_are_asked_to_end_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::KeeperEnded);
}

#[test]
fn revoked_tokens_during_provisioning() {
    at_every_call(Phase::Provisioning, Mishap::Revoked);
}

#[test]
fn keepers_that_are_asked_to_end_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::KeeperEnded);
}

#[test]
fn revoked_tokens_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::Revoked);
}

#[test]
fn lost_responses_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::Lost);
}

#[test]
fn errors_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::Refused);
}

#[test]
fn killed_shims_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::ShimKilled);
}

#[test]
fn killed_keepers_during_deletion() {
    at_every_call(Phase::Deletion, Mishap::KeeperKilled);
}

/// Injects a fault at each call of the keeper that deletes idle resources.
fn at_every_call_of_the_keeper(mishap: Mishap) {
    let idle = || {
        let case = Case::new()?;
        let sandbox = case
            .sandbox
            .with("CARGO_BURST_KEEP_PAID_HOUR", "false")
            .with("CARGO_BURST_KEEP_ALIVE_SECS", "2")
            .with("CARGO_BURST_VOLUME_KEEP_ALIVE_SECS", "2");
        Some(Case { sandbox, ..case })
    };
    let Some(case) = idle() else { return };
    let project = case.prepare(Phase::Provisioning);
    case.sync(&project);
    case.simulator.shared().forget_calls();
    burst_tests::wait_until("the deletion of the idle server", || case.counts() == (0, 0));
    let calls = case.simulator.shared().calls();
    assert!(calls.len() >= 5, "{:#?}", names(&calls));
    drop(case);
    let ways = |call| mishap.ways().iter().map(move |applied| (call, *applied));
    for (call, applied) in (0..calls.len()).flat_map(ways) {
        let what = format!("{mishap:?} at {}, applied: {applied}", calls[call].name());
        let case = idle().unwrap();
        let project = case.prepare(Phase::Provisioning);
        case.sync(&project);
        let shared = case.simulator.shared();
        shared.forget_calls();
        lock(&shared.world).scenario.faults = mishap.faults(call, applied);
        if matches!(mishap, Mishap::KeeperKilled) {
            burst_tests::wait_until("the held call", || shared.held().is_some());
            case.sandbox.kill_keeper();
            shared.release();
        } else {
            burst_tests::wait_until("the call", || {
                shared.calls().get(call).is_some_and(|call| call.ended.is_some())
            });
        }
        if matches!(mishap, Mishap::Revoked) {
            case.assert_watched(mishap);
        }
        lock(&shared.world).scenario.faults.clear();
        shared.advance(60.0);
        case.ok(&project, "reap");
        assert_eq!(case.counts(), (0, 0), "{what}");
        assert_eq!(shared.ledger().1.server_hours, 1, "{what}");
    }
}

#[test]
fn lost_responses_to_the_keeper() {
    at_every_call_of_the_keeper(Mishap::Lost);
}

#[test]
fn errors_of_the_keeper_calls() {
    at_every_call_of_the_keeper(Mishap::Refused);
}

#[test]
fn tokens_that_are_revoked_while_the_keeper_reaps() {
    at_every_call_of_the_keeper(Mishap::Revoked);
}

#[test]
fn killed_keepers_while_they_reap() {
    at_every_call_of_the_keeper(Mishap::KeeperKilled);
}
