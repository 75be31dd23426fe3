//! The programs that run in place of cargo in a simulation. Only with the feature `simulation`.
//!
//! A thread of this process takes the place of the supervisor: it reads the spec from the
//! socket, calls the program, and reports. There is no containment.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::spec::{self, FromInit, Report};

/// One call of cargo, as the program sees it.
#[derive(Debug)]
pub struct Call {
    /// The working directory, in the agent's copy of the workspace.
    pub directory: PathBuf,
    /// All environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Standard output, to which a write can block.
    pub output: File,
}

/// What a program does; the result is its exit code. Dropped early if the call is killed.
pub type Doing = Pin<Box<dyn Future<Output = i32> + Send>>;

/// The programs of an agent, and the runtime by whose clock they run.
#[derive(Clone)]
pub(crate) struct Simulated {
    runtime: Handle,
    program: Arc<dyn Fn(Call) -> Doing + Send + Sync>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Simulated")
    }
}

impl Simulated {
    /// Programs that run by the clock of this runtime.
    pub(crate) fn new(
        runtime: Handle,
        program: impl Fn(Call) -> Doing + Send + Sync + 'static,
    ) -> Self {
        Self { runtime, program: Arc::new(program) }
    }

    /// Starts the thread that carries out the call on this socket.
    pub(super) fn start(&self, socket: UnixStream) {
        let simulated = self.clone();
        std::thread::spawn(move || simulated.carry_out(&socket));
    }

    fn carry_out(&self, socket: &UnixStream) {
        let Ok((spec, spec::Descriptors { streams: [_input, output, _error], .. })) =
            spec::receive(socket)
        else {
            return;
        };
        let environment = spec.environment.iter();
        let call = Call {
            directory: spec::path(&spec.working_directory),
            environment: environment
                .map(|(name, value)| (spec::os_string(name), spec::os_string(value)))
                .collect(),
            output: output.into(),
        };
        let Some(killed) = killed(socket) else { return };
        let code = self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = killed => None,
                code = (self.program)(call) => Some(code),
            }
        });
        if let Some(code) = code {
            spec::tell(socket, &FromInit::Ended(Report::Exited(code)));
        }
        // Ends the thread that reads commands.
        drop(socket.shutdown(std::net::Shutdown::Both));
    }
}

/// Completes when the agent ends the call, or is gone. Signals have no effect.
fn killed(socket: &UnixStream) -> Option<oneshot::Receiver<Infallible>> {
    let mut commands = socket.try_clone().ok()?;
    let (alive, killed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut command = [1];
        while commands.read_exact(&mut command).is_ok() && command != [0] {}
        drop(alive);
    });
    Some(killed)
}
