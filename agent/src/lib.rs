//! The remote end of cargo-burst.
//!
//! - [`server`] listens and passes streams on; [`identity`] is the TLS on both ends,
//!   [`transport`] how they move bytes. [`agent`] knows the projects (each in its
//!   [`slot`]) and when to end.
//! - [`session`] serves one request: a deployment in the [`queue`], the sync into a
//!   [`project`] (its receiving half is `receive`), the cargo calls ([`steps`],
//!   laid out by [`layout`]), and what they left behind ([`artifacts`]).
//! - On a server of its own, [`boot`] gets its keys ([`user_data`]) and closes them
//!   away from builds; each project has a [`volume`], and [`power_cut`] sees what a
//!   server's sudden end may have spoilt on it. [`last_will`] is what it does when nobody
//!   looks after it any more.
//! - [`run`] contains a cargo call in namespaces and tells exactly how it ended.
//!
//! The agent knows no cloud and no token. The shim starts this very library as
//! its local agent: [`main`] is the program, whatever its file is called.

mod agent;
mod artifacts;
mod atomic_file;
mod boot;
mod client;
pub mod error;
pub mod host;
pub mod identity;
mod invocations;
mod last_will;
mod layout;
mod lock;
mod path_wait;
mod power_cut;
mod project;
mod queue;
mod receive;
mod returned_copies;
mod run;
mod server;
mod session;
mod shared_project;
pub mod transport;
pub mod user_data;
mod volume;

pub use crate::project::project_key;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::server::{Deployment, Options};
use crate::transport::IdleTimeout;

/// The agent of cargo-burst. It is started by the shim; people rarely need it.
#[derive(Parser)]
#[command(name = "burst-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Listen, and run cargo for the shim whose certificate is pinned.
    Serve {
        /// Be the only purpose of a server: keys come from its metadata service, and
        /// each project has a volume of its own.
        #[arg(long, conflicts_with_all = ["disk", "keys", "keep_alive_secs", "detach"])]
        server: bool,
        /// Where projects are kept.
        #[arg(long, required_unless_present = "server")]
        disk: Option<PathBuf>,
        /// The directory with agent.cert, agent.key and shim.cert.
        #[arg(long, required_unless_present = "server")]
        keys: Option<PathBuf>,
        /// The UDP address; port 0 takes any.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Seconds to stay when idle.
        #[arg(long, default_value_t = 300)]
        keep_alive_secs: u64,
        /// Seconds of silence after which a client is gone and its run is ended.
        #[arg(long, default_value_t = 15)]
        grace_secs: u64,
        /// Leave the session of the starting terminal.
        #[arg(long)]
        detach: bool,
    },
}

/// The whole program. `arguments` begin with the program's name.
pub fn main(arguments: Vec<String>) -> ExitCode {
    match arguments.get(1).map(String::as_str) {
        Some(run::spec::SUPERVISOR) => return run::supervisor::main(&arguments[2..]),
        Some(run::spec::INIT) => return run::init::main(&arguments[2..]),
        _ => {}
    }
    install_crypto_provider();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CARGO_BURST_LOG")
                .unwrap_or_else(|_| "warn,burst_agent=info".into()),
        )
        .init();
    let Verb::Serve { server: _, disk, keys, listen, keep_alive_secs, grace_secs, detach } =
        Arguments::parse_from(arguments).command;
    if detach {
        // Already the leader of a session: as good.
        rustix::process::setsid().ok();
    }
    let local = match (disk, keys) {
        (Some(disk), Some(keys)) => Some(Deployment::Local {
            disk,
            keys,
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

/// Makes ring the crypto provider of this process, which reqwest requires.
fn install_crypto_provider() {
    // An error says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn serve(local: Option<Deployment>, listen: SocketAddr) -> Result<(), error::AgentError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| error::AgentError::Start { what: "the runtime".into(), source })
        .and_then(|runtime| {
            let served = runtime.block_on(async {
                let deployment = match local {
                    Some(local) => local,
                    None => Deployment::Server(boot::boot().await?),
                };
                server::serve(Options { deployment, listen }, server::print_ready).await
            });
            // Sessions that still wait for something must not keep us.
            runtime.shutdown_background();
            served
        })
}
