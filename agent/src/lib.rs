//! The remote end of cargo-burst: receives a source tree, runs cargo in it, and sends the
//! results back. The shim starts this very library as its local agent; [`main`] is the
//! whole program, whatever the name of its file.
//!
//! The agent knows no cloud provider and no token. Modules from top to bottom; each uses
//! only those below it:
//!
//! - `server`, `tcp_port`: listen and accept connections
//! - `stream`: one stream, from its hello to its session
//! - `session`: one request, from its first message to its end
//! - `agent`: the projects and runs of the process, and when it ends
//! - `port_connection`: a TCP connection that the client forwards
//! - `invocations`: the cargo calls of a run; `clean`, `layout`: their mounts, directories
//!   and environment; `subcommands`, `toolchain`: the plugins
//!   that cargo finds there, and its toolchain
//! - `shared_project`, `project`, `receive`: a project among sessions, its state on disk,
//!   and the receiving half of its sync
//! - `return_set`, `returned_copies`, `artifacts`: what a run returns
//! - `queue`: the order of runs in a project
//! - `volume`, `power_cut`: a project's disk on a server, and the repair of a disk that lost
//!   what a run had written
//! - `path_wait`, `client`, `clock_watch`: waits for a device, for the departure of a client,
//!   and for a change of the clock
//! - `collection`, `copies`: delete projects that are no longer used, or beyond the limit of
//!   their size
//! - `resumption`, `carrier`: streams whose connection has broken wait for their client
//! - `heartbeat`: tells the client that a request is worked on
//! - `boot_id`: tells a restart of the agent from one of the machine
//! - `boot`, [`user_data`]: the start of the agent of a server
//! - `last_will`: the deletion of a server whose lease has expired
//! - [`identity`], [`transport`]: TLS with pinned certificates, and QUIC
//! - [`tcp`], `pieces`: a stream over TCP, and what it needs of QUIC's properties
//! - [`host`], `run`: the machine, and one contained cargo call
//! - `simulation`: for tests, an agent on any transport that runs their programs
//! - [`error`], `atomic_file`, `log`, [`log_file`], `lock`

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests write files"))]

mod agent;
mod agreement;
mod artifacts;
mod atomic_file;
mod boot;
pub mod boot_id;
mod carrier;
mod clean;
mod client;
mod client_process;
mod clock_watch;
mod collection;
mod copies;
pub mod error;
mod heartbeat;
pub mod host;
pub mod identity;
mod invocations;
mod last_will;
mod layout;
mod lock;
mod log;
pub mod log_file;
mod path_wait;
mod pieces;
mod port_connection;
mod power_cut;
mod project;
pub mod pseudo_terminal;
mod queue;
mod receive;
mod resumption;
mod return_set;
mod returned_copies;
mod run;
mod server;
mod session;
mod shared_project;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stream;
mod subcommands;
pub mod tcp;
mod tcp_port;
pub mod terminal_modes;
mod toolchain;
pub mod transport;
pub mod user_data;
mod volume;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use burst_protocol::hello::VERSIONS;
use clap::{Parser, Subcommand};

pub use crate::collection::is_collected;
pub use crate::copies::{ProjectCopy, project_copies};
pub use crate::project::project_key;

use crate::agent::VERSION;
use crate::error::AgentError;
use crate::run::helper;
use crate::server::Deployment;
use crate::transport::IdleTimeout;

/// The text of `--version`.
static VERSION_TEXT: LazyLock<String> = LazyLock::new(|| {
    let (lowest, highest) = (VERSIONS.start(), VERSIONS.end());
    match lowest == highest {
        true => format!("{VERSION} (protocol {highest})"),
        false => format!("{VERSION} (protocols {lowest} to {highest})"),
    }
});

/// The agent of cargo-burst. The shim starts it; there is rarely a reason to do so by hand.
#[derive(Parser)]
#[command(name = "burst-agent", version = VERSION_TEXT.as_str())]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Listen, and run cargo for the shim whose certificate is pinned.
    Serve {
        /// Run as the agent of a server: read the keys from its metadata service and keep
        /// each project on a volume of its own.
        #[arg(long, conflicts_with_all = ["disk", "keys", "keep_alive_secs", "log", "detach"])]
        server: bool,
        /// The directory for projects.
        #[arg(long, required_unless_present = "server")]
        disk: Option<PathBuf>,
        /// The directory with agent.cert, agent.key and shim.cert.
        #[arg(long, required_unless_present = "server")]
        keys: Option<PathBuf>,
        /// The address to listen on; port 0 takes any free port.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Seconds until an idle agent ends.
        #[arg(long, default_value_t = 300)]
        keep_alive_secs: u64,
        /// Seconds without a packet until a client counts as gone and its run is ended.
        #[arg(long, default_value_t = 15)]
        grace_secs: u64,
        /// The bytes that projects may take on the disk; beyond, the longest unused are deleted.
        #[arg(long)]
        disk_bytes: Option<u64>,
        /// The file that standard error goes to. When it is large, a new one takes its place.
        #[arg(long)]
        log: Option<PathBuf>,
        /// Leave the session of the terminal, so that its end does not end the agent.
        #[arg(long)]
        detach: bool,
    },
}

/// The whole program. The first of the `arguments` is the program's name.
///
/// Errors of the agent are written to its log and end in exit code 1, wrong arguments in
/// exit code 2.
pub fn main(arguments: Vec<String>) -> ExitCode {
    identity::install_crypto_provider();
    match arguments.get(1).map(String::as_str) {
        Some(helper::SUPERVISOR) => {
            log::start(None);
            return run::supervisor::main(&arguments[2..]);
        }
        Some(helper::INIT) => {
            log::start(None);
            return run::init::main(&arguments[2..]);
        }
        _ => {}
    }
    let Verb::Serve {
        server: _,
        disk,
        keys,
        listen,
        keep_alive_secs,
        grace_secs,
        disk_bytes,
        log: log_path,
        detach,
    } = Arguments::parse_from(arguments).command;
    log::start(log_path);
    if detach {
        // An error says that the process leads a session of its own already.
        rustix::process::setsid().ok();
    }
    let local = match (disk, keys) {
        (Some(disk), Some(keys)) => Some(Deployment::Local {
            disk,
            keys,
            disk_bytes,
            keep_alive: Duration::from_secs(keep_alive_secs),
            idle_timeout: IdleTimeout { gone_after: Duration::from_secs(grace_secs.max(1)) },
        }),
        _ => None,
    };
    match serve(local, listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error.messages().join(": "));
            ExitCode::FAILURE
        }
    }
}

/// Runs a local agent, or that of a server if there is none.
fn serve(local: Option<Deployment>, listen: SocketAddr) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| AgentError::Start { what: "the runtime".into(), source })?;
    let served = runtime.block_on(async {
        let deployment = match local {
            Some(local) => local,
            None => Deployment::Server(boot::boot().await?),
        };
        server::serve(deployment, listen).await
    });
    // Does not wait for sessions that are still blocked.
    runtime.shutdown_background();
    served
}
