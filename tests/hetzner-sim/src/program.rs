//! The command line program `hetzner-sim`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::scenario::Scenario;
use crate::simulator::{Backend, Options, Simulator};

/// Simulates the Hetzner Cloud API on loopback, for tests
#[derive(Parser)]
#[command(name = "hetzner-sim", version)]
struct Arguments {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Token with all permissions
    #[arg(long)]
    token: String,
    /// Implementation of servers: none, or hosts made of namespaces (needs root)
    #[arg(long, value_enum, default_value = "none")]
    backend: BackendName,
    /// Program that hosts run as burst-agent [default: burst-agent beside this program]
    #[arg(long)]
    agent: Option<PathBuf>,
    /// File with a scenario in JSON
    #[arg(long)]
    scenario: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendName {
    None,
    Hosts,
}

/// Runs the program until SIGTERM or SIGINT. `arguments` begins with the program's name.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let scenario = match &arguments.scenario {
        Some(path) => serde_json::from_str(&std::fs::read_to_string(path)?)?,
        None => Scenario::default(),
    };
    let backend = match (arguments.backend, arguments.agent) {
        (BackendName::None, _) => Backend::None,
        (BackendName::Hosts, Some(agent)) => Backend::Hosts { agent },
        (BackendName::Hosts, None) => {
            Backend::Hosts { agent: std::env::current_exe()?.with_file_name("burst-agent") }
        }
    };
    let options = Options { listen: arguments.listen, token: arguments.token, backend, scenario };
    let simulator = Simulator::start(options)?;
    println!("listening on {}", simulator.endpoint());
    std::io::stdout().flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        std::io::Result::Ok(())
    })?;
    drop(simulator);
    Ok(())
}
