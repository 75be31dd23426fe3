//! One cargo call, contained.
//!
//! A run is three processes. The agent starts the *supervisor*, which makes the namespaces
//! and starts the *init* as their first process; the init mounts the project at its own
//! path and starts cargo. When the init ends, the kernel kills every process in its process
//! namespace. Where namespaces are not allowed, the init is a subreaper instead and kills
//! all descendants itself. [`mount_point`] keeps the mounts where they belong, and on a server
//! each call of cargo has a [`control_group`].
//!
//! Agent and init share one socket, which is the standard input of both helpers. The agent sends
//! the [`spec::RunSpec`] with [what cargo is connected to](spec::Descriptors), then signals; the
//! init tells whenever cargo is stopped, and reports how it ended. When the agent ends, for
//! whatever reason, the init reads the end of the stream and ends the run.

pub(crate) mod containment;
pub(crate) mod control;
pub(crate) mod control_group;
mod file_rights;
pub(crate) mod helper;
pub(crate) mod init;
pub(crate) mod listening;
mod mount_point;
pub(crate) mod output;
mod processes;
pub(crate) mod reading;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;
pub(crate) mod spec;
mod starting;
pub(crate) mod stdio;
pub(crate) mod supervisor;
pub(crate) mod typing;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use burst_protocol::message::Ending;
use burst_sync::wire::Outgoing;

use crate::error::AgentError;
use containment::Containment;
use control::Control;
use control_group::{OutOfMemory, RunGroup};
use helper::{Assignment, SUPERVISOR};
use listening::PortWatch;
use reading::ReadWatch;
use spec::{Descriptors, FromInit, Report, RunSpec};

/// The best containment that this machine allows. Starts the helpers for each candidate.
pub(crate) fn probe() -> Containment {
    let root = nix::unistd::geteuid().is_root();
    let candidates: &[Containment] =
        if root { &[Containment::Root, Containment::User] } else { &[Containment::User] };
    candidates.iter().copied().find(|kind| works(*kind)).unwrap_or(Containment::Plain)
}

fn works(containment: Containment) -> bool {
    Assignment { containment, run: None }
        .command(SUPERVISOR)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What carries out a call of cargo, from the spec on its socket to the report.
#[derive(Debug)]
pub(crate) enum Supervision {
    /// The supervisor, a process that this program starts.
    Process,
    /// A program of a test.
    #[cfg(feature = "simulation")]
    Simulated(simulated::Simulated),
}

impl Supervision {
    /// Starts to read the spec from a socket. Returns the supervisor if that is a process.
    fn start(&self, assignment: Assignment, socket: UnixStream) -> std::io::Result<Option<Child>> {
        match self {
            Self::Process => assignment
                .command(SUPERVISOR)
                .current_dir("/")
                .stdin(Stdio::from(OwnedFd::from(socket)))
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .spawn()
                .map(Some),
            #[cfg(feature = "simulation")]
            Self::Simulated(program) => {
                program.start(socket);
                Ok(None)
            }
        }
    }
}

/// A started run.
#[derive(Debug)]
pub(crate) struct Running {
    supervisor: Option<Child>,
    socket: UnixStream,
    group: Option<RunGroup>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How cargo ended.
    pub(crate) ending: Ending,
    /// The processor time of its programs in milliseconds; `None` if it was killed.
    pub(crate) used_millis: Option<u64>,
    /// What the kernel did because memory was short.
    pub(crate) out_of_memory: Option<OutOfMemory>,
}

impl Running {
    /// Starts a run in a control group; `theirs` is what cargo is connected to.
    pub(crate) fn start(
        supervision: &Supervision,
        assignment: Assignment,
        mut spec: RunSpec,
        group: Option<RunGroup>,
        theirs: &Descriptors,
    ) -> Result<Self, AgentError> {
        let failed = |source| AgentError::Start { what: "the run's supervisor".into(), source };
        let (socket, end) = UnixStream::pair().map_err(failed)?;
        let supervisor = supervision.start(assignment, end).map_err(failed)?;
        spec.groups = group.as_ref().map(RunGroup::entrances).unwrap_or_default();
        let running = Self { supervisor, socket, group };
        spec::send(&running.socket, &spec, theirs).map_err(failed)?;
        Ok(running)
    }

    /// A handle for signals from other threads.
    pub(crate) fn control(&self) -> Result<Control, AgentError> {
        let clone = self.socket.try_clone();
        clone
            .map(Control::new)
            .map_err(|source| AgentError::Start { what: "the control of the run".into(), source })
    }

    /// Watches on which ports the programs of the run listen, and tells the client.
    pub(crate) fn watch_ports(&self, outgoing: &Outgoing) -> Option<PortWatch> {
        let supervisor = self.supervisor.as_ref()?;
        Some(PortWatch::start(supervisor.id(), outgoing.clone()))
    }

    /// Watches whether programs of the run open their controlling terminal to read from it, and
    /// tells the client.
    pub(crate) fn watch_terminal(&self, outgoing: &Outgoing) -> Option<ReadWatch> {
        let supervisor = self.supervisor.as_ref()?;
        ReadWatch::start(supervisor.id(), outgoing.clone())
    }

    /// Waits until no process of the run is left; returns how cargo ended. Calls `stopped` whenever
    /// a signal has stopped cargo.
    pub(crate) fn wait(self, mut stopped: impl FnMut()) -> Result<Ended, AgentError> {
        let mut used_millis = None;
        let report = loop {
            match spec::read_told(&self.socket) {
                Some(FromInit::Stopped) => stopped(),
                Some(FromInit::Used(millis)) => used_millis = Some(millis),
                Some(FromInit::Ended(report)) => break Some(report),
                None => break None,
            }
        };
        // The end of the stream: nothing of the run is left.
        drop((&self.socket).read_to_end(&mut Vec::new()));
        let succeeded = self
            .supervisor
            .is_none_or(|mut process| process.wait().is_ok_and(|status| status.success()));
        let ending = match report {
            Some(Report::Exited(code)) => Ending::Exited(code),
            Some(Report::Signaled(signal)) => Ending::Signaled(signal),
            Some(Report::NoProgram) => return Err(AgentError::NoCargo),
            Some(Report::Failed(message)) => return Err(AgentError::Contain(message)),
            // The init was told to end the run.
            None if succeeded => Ending::Signaled(nix::libc::SIGKILL),
            None => {
                let text = "its supervisor or init failed; the agent's log has the cause";
                return Err(AgentError::Contain(text.into()));
            }
        };
        let out_of_memory = self.group.and_then(|group| group.out_of_memory());
        Ok(Ended { ending, used_millis, out_of_memory })
    }
}
