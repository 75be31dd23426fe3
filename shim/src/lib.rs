//! cargo-burst: runs cargo somewhere else and leaves this machine as if it had
//! run here.
//!
//! # The way of one command
//!
//! [`main`] tells the program's personalities apart and turns every outcome into
//! an exit code. [`arguments`] splits the command line: what is ours, what is
//! cargo's. A run is a [`session`]: [`workspace`] asks cargo what is at hand,
//! [`settings`] are resolved once, [`plan`] makes cargo calls of the verb,
//! [`environment`] picks the variables. While a [`provider`] reaches an agent, on this
//! machine or, by way of the [`keeper`], on a server of [`hetzner`]'s,
//! [`sources`] scan the workspace, with what [`state`] remembers from last time.
//! On one stream of the [`connection`] ([`exchange`]), which can be spoken on before a
//! server is there, goes what is wanted and what
//! differs ([`upload`]); back come cargo's words, which [`terminal`] prints, and in the end
//! the results, which [`download`] write. [`input`] and [`signals`] go forward
//! meanwhile. [`suggestion`] speaks up once, on a project's first run.
//!
//! # Where things are decided
//!
//! What is sent: `burst_sync::ignore_rules`. What a command costs in errors, exit
//! codes and hints: [`failure`] and [`exit_code`], nowhere else. What is printed:
//! [`terminal`], nowhere else. The messages: `burst_protocol::message`. What
//! happens on the other end: `burst_agent::session`.
//!
//! # What is absent
//!
//! No rsync and no ssh; no state inside the workspace; no secret in an argument
//! or a log; no file of the workspace that is ever half-written.

mod agent;
mod arguments;
mod background;
mod commands;
mod connection;
mod directories;
mod environment;
mod error;
pub mod hetzner;
mod keeper;
mod plan;
mod run;
mod settings;
mod terminal;
mod transfer;
mod workspace;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use burst_protocol::message::Ending;

use crate::arguments::{RunArguments, Wanted};
use crate::commands::Context;
use crate::directories::Directories;
use crate::error::{Error, ErrorKind};
use crate::hetzner::reap::DownOptions;
use crate::run::Session;
use crate::terminal::Terminal;

/// The name under which this program is an agent.
const AGENT: &str = "burst-agent";

/// The whole program; `arguments` begin with its name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let called_as = arguments.first().map(Path::new).and_then(Path::file_name);
    if called_as.is_some_and(|name| name == AGENT) {
        let texts = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        return burst_agent::main(texts.collect());
    }
    if called_as.is_some_and(|name| name == keeper::client::KEEPER) {
        let texts = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        return keeper::service::main(&texts.collect::<Vec<_>>());
    }
    install_crypto();
    let words = arguments.into_iter().skip(1).collect();
    let (wanted, verbosity) = arguments::parse(words);
    let terminal = Arc::new(Terminal::new(verbosity));
    match perform(&terminal, wanted) {
        Ok(Ending::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(Ending::Signaled(signal)) => terminal::signals::die_by(signal),
        Err(failure) => {
            terminal.error(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// HTTPS asks for the process's provider of cryptography; there is one, see Cargo.toml.
pub(crate) fn install_crypto() {
    // Installed already is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn perform(terminal: &Arc<Terminal>, wanted: Wanted) -> Result<Ending, Error> {
    if let Wanted::Text { text, code } = &wanted {
        match code {
            0 => terminal.result(text)?,
            _ => terminal.complain(text),
        }
        return Ok(Ending::Exited((*code).into()));
    }
    if environment::is_inside_run() {
        return run_here(terminal, wanted);
    }
    let directories = Directories::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| {
            Error::new(
                ErrorKind::State,
                "cannot start the threads of the network",
                "check the limits of processes and memory (`ulimit -a`)",
            )
            .caused_by(&source)
        })?;
    let handle = runtime.handle().clone();
    let done = match wanted {
        Wanted::Run(run) => {
            terminal.keep_moving();
            run_remotely(terminal, handle, directories, &run)
        }
        Wanted::Status { all, json } => {
            let context = Context { terminal, runtime: &handle, directories: &directories, json };
            commands::status(&context, all).map(|()| Ending::Exited(0))
        }
        Wanted::Down { with_volumes, all, json } => {
            let context = Context { terminal, runtime: &handle, directories: &directories, json };
            commands::down(&context, DownOptions { with_volumes, all }).map(|()| Ending::Exited(0))
        }
        Wanted::Init { choice, json } => {
            let context = Context { terminal, runtime: &handle, directories: &directories, json };
            commands::init(&context, &choice).map(|()| Ending::Exited(0))
        }
        Wanted::Reap { install_timer, json } => {
            let context = Context { terminal, runtime: &handle, directories: &directories, json };
            let done = if install_timer {
                commands::install_timer(&context)
            } else {
                commands::reap(&context)
            };
            done.map(|()| Ending::Exited(0))
        }
        Wanted::Audit { rate, json } => {
            let context = Context { terminal, runtime: &handle, directories: &directories, json };
            commands::audit(&context, rate).map(|()| Ending::Exited(0))
        }
        Wanted::Config { defaults } => {
            commands::config(terminal, &directories, defaults).map(|()| Ending::Exited(0))
        }
        Wanted::Text { .. } => Ok(Ending::Exited(0)),
    };
    // A thread that still reads standard input must not keep us.
    runtime.shutdown_background();
    done
}

fn run_remotely(
    terminal: &Arc<Terminal>,
    runtime: tokio::runtime::Handle,
    directories: Directories,
    run: &RunArguments,
) -> Result<Ending, Error> {
    let directory = std::env::current_dir().map_err(|source| {
        Error::new(
            ErrorKind::Workspace,
            "cannot find the current directory",
            "it may have been deleted: change to an existing directory",
        )
        .caused_by(&source)
    })?;
    Session { directory, terminal, runtime, directories, run }.run()
}

/// Inside of a run there is no further burst: a script that calls us means cargo.
fn run_here(terminal: &Terminal, wanted: Wanted) -> Result<Ending, Error> {
    use std::os::unix::process::CommandExt;
    let Wanted::Run(RunArguments { verb, arguments, .. }) = wanted else {
        return Err(Error::new(
            ErrorKind::Usage,
            "this command is not available inside a run",
            "run it on the machine that started the run",
        ));
    };
    terminal.detail("inside of a run: plain cargo");
    let program = environment::cargo();
    let source = std::process::Command::new(&program).args(verb.name()).args(arguments).exec();
    Err(Error::new(
        ErrorKind::Workspace,
        format!("cannot run `{}`", program.display()),
        "install Rust from https://rustup.rs, or set CARGO to the path of cargo",
    )
    .caused_by(&source))
}
