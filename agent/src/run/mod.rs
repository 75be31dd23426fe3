//! One cargo call, contained.
//!
//! A run is three processes. The agent starts the *supervisor*, which makes the
//! namespaces and starts the *init* as the first process in them; the init mounts
//! the project at its own path and starts cargo. When the init ends, the kernel
//! ends everything in its process namespace. Where namespaces are not allowed the
//! init is a subreaper instead and kills every descendant itself.
//!
//! Agent and init talk over one socket, which is the standard input of both
//! helpers: first the [`spec::RunSpec`] with cargo's three streams as passed
//! descriptors, then signals one way and the ending the other way. The socket is
//! also the lifeline: when the agent is gone, however it went, the init reads the
//! end of the stream and takes the run down with it.

pub(crate) mod containment;
pub(crate) mod control;
pub(crate) mod init;
pub(crate) mod spec;
pub(crate) mod stdio;
pub(crate) mod supervisor;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use burst_protocol::message::Ending;

use crate::error::AgentError;
use containment::Containment;
use control::Control;
use spec::{Report, RunSpec, SUPERVISOR};

/// A run under way.
#[derive(Debug)]
pub(crate) struct Running {
    supervisor: Child,
    socket: UnixStream,
}

impl Running {
    /// Starts a run. `streams` are cargo's standard input, output and error.
    pub(crate) fn start(
        containment: Containment,
        spec: &RunSpec,
        streams: [OwnedFd; 3],
    ) -> Result<Self, AgentError> {
        let failed = |source| AgentError::Start { what: "the run's supervisor".into(), source };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let supervisor = Command::new("/proc/self/exe")
            .arg0("burst-agent")
            .args([SUPERVISOR, containment.name()])
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let running = Self { supervisor, socket };
        spec::send(&running.socket, spec, &streams).map_err(failed)?;
        Ok(running)
    }

    /// A handle for signals.
    pub(crate) fn control(&self) -> Result<Control, AgentError> {
        let clone = self.socket.try_clone();
        clone
            .map(Control::new)
            .map_err(|source| AgentError::Start { what: "the run".into(), source })
    }

    /// Waits until nothing of the run is left, and tells how cargo ended.
    pub(crate) fn wait(mut self) -> Result<Ending, AgentError> {
        let mut report = Vec::new();
        // A read error means that the init died: the report is then missing.
        drop(self.socket.read_to_end(&mut report));
        drop(self.supervisor.wait());
        match spec::read_report(&report) {
            Some(Report::Exited(code)) => Ok(Ending::Exited(code)),
            Some(Report::Signaled(signal)) => Ok(Ending::Signaled(signal)),
            Some(Report::NoProgram) => Err(AgentError::NoCargo),
            Some(Report::Failed(message)) => Err(AgentError::Contain(message)),
            // Killed as a whole, which only we do.
            None => Ok(Ending::Signaled(nix::libc::SIGKILL)),
        }
    }
}
