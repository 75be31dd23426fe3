//! cargo-burst: runs cargo on another machine and leaves this one as if it had run here.
//!
//! # Rooms
//!
//! From top to bottom; a room names only rooms below it, which a test checks.
//!
//! - `cli`: from the words of a command line to a command. Verbs and flags are defined here.
//! - `commands`: the commands that do not call cargo, such as `status`.
//! - `run`: one `cargo burst VERB`, from the workspace to the exit code.
//! - `detached`: runs in the background, their records, and `attach`.
//! - `transfer`: sources go up, results come down.
//! - `workspace`: what cargo says about the workspace, its scan, what is remembered of it.
//! - `agent`: where an agent comes from, on this machine or on a server, and the route to it.
//! - `keeper`: the background process that holds the warm connection and deletes servers.
//! - [`hetzner`]: what is created, found and deleted at Hetzner, when, and what it costs.
//! - `terminal`: the only room that prints or asks; signals and standard input.
//! - `settings`: files and variables, each setting defined once; what a project file may set.
//!
//! Below the rooms: `cargo_options`, `connection` (QUIC), `log`, `atomic_file`, `background`
//! (processes that outlive a command), `directories`, `environment` (the only module that
//! reads it), `error`.
//!
//! # Personalities
//!
//! The program is the command, the agent, the keeper or the holder of a detached run, told apart
//! by the name it is called by; the command of a detached run has a name of its own, too. Exit
//! codes: `error/exit_code.rs`. The messages to the agent: `burst_protocol::message`. The other
//! end: `burst_agent::session`.
//!
//! # What is absent
//!
//! No rsync and no ssh; no state inside the workspace; no secret in an argument or a log; no
//! file of the workspace that is ever half-written.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests write files and read the environment")
)]

mod agent;
mod atomic_file;
mod background;
mod cargo_config;
mod cargo_options;
mod cli;
mod commands;
mod connection;
mod detached;
mod directories;
mod environment;
mod error;
pub mod hetzner;
mod keeper;
mod log;
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
use tokio::runtime::Handle;

use crate::cli::{Command, Refusal};
use crate::commands::Context;
use crate::directories::{Directories, current_directory};
use crate::error::{Error, ErrorKind};
use crate::run::Session;
use crate::run::request::RunArguments;
use crate::terminal::Terminal;
use crate::workspace::metadata::cannot_run;

/// The name under which this program is an agent.
const AGENT: &str = "burst-agent";

/// The whole program; `arguments` begin with its name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    terminal::signals::hear_of_children();
    let called_as = arguments.first().map(Path::new).and_then(Path::file_name);
    if called_as.is_some_and(|name| name == AGENT) {
        let texts = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        return burst_agent::main(texts.collect());
    }
    if called_as.is_some_and(|name| name == keeper::client::KEEPER) {
        let texts = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        return keeper::service::main(&texts.collect::<Vec<_>>());
    }
    let mut words = arguments.get(1..).unwrap_or_default();
    if called_as.is_some_and(|name| name == detached::HOLDER) {
        return detached::holder::main(words);
    }
    terminal::signals::block_ignored();
    let mut record = None;
    if called_as.is_some_and(|name| name == detached::HELD)
        && let Some((first, behind)) = words.split_first()
    {
        (record, words) = (Some(Path::new(first)), behind);
    }
    let parsed = cli::parse(words.to_vec());
    if let Some(toolchain) = parsed.toolchain {
        environment::choose_toolchain(toolchain);
    }
    let waits = record.map(|record| record.join(detached::record::WAITS));
    let terminal = Arc::new(Terminal::new(parsed.verbosity).noting_waits(waits));
    let done = match parsed.command {
        Ok(Command::Run(run)) if run.flags.detach && record.is_none() => {
            detach(&terminal, &run, words)
        }
        Ok(command) => perform(&terminal, command, record.and_then(detached::record::number_of)),
        Err(Refusal::Text { text, code }) => {
            if parsed.json && code != 0 {
                print_failure(
                    &terminal,
                    &Error::new(ErrorKind::Usage, text.trim(), "see `--help`"),
                );
            }
            say(&terminal, &text, code)
        }
        Err(Refusal::Error(error)) => Err(error),
    };
    match done {
        Ok(Ending::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(Ending::Signaled(signal)) => terminal::signals::die_by(signal),
        Err(error) => {
            if parsed.json && !error.is_reported() {
                print_failure(&terminal, &error);
            }
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints a failure as JSON. If standard output is closed, the exit code still tells.
fn print_failure(terminal: &Terminal, error: &Error) {
    drop(terminal.result(&commands::json_text(&commands::failure(error))));
}

/// Prints a text of the command line: on standard output what was asked for.
fn say(terminal: &Terminal, text: &str, code: u8) -> Result<Ending, Error> {
    match code {
        0 => terminal.help(text)?,
        _ => terminal.complain(text),
    }
    Ok(Ending::Exited(code.into()))
}

/// `detached`: the number of the run, if it is detached.
fn perform(
    terminal: &Arc<Terminal>,
    command: Command,
    detached: Option<u32>,
) -> Result<Ending, Error> {
    if environment::is_inside_run() {
        return run_here(terminal, command);
    }
    if let Command::Local(arguments) = command {
        match cli::compiles_here(&arguments) {
            Some(verb) => terminal.say(&format!(
                "`{verb}` runs on this machine, and so does its compiler: it writes outside of \
                 the workspace or needs credentials of yours"
            )),
            None => terminal.detail("this verb runs on this machine"),
        }
        return Err(exec_cargo(arguments));
    }
    let directories = prepared_directories()?;
    if let Command::Attach(number) = command {
        // Signals are received without a runtime, whose threads would receive them, too.
        return detached::attach(terminal, &directories, number);
    }
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
    let done = match command {
        Command::Run(run) => {
            commands::warn_of_trouble(terminal, &directories);
            terminal.keep_moving();
            run_remotely(terminal, runtime.handle().clone(), directories, &run, detached)
        }
        command => {
            let json = command.is_json();
            let (runtime, directories) = (runtime.handle(), &directories);
            let context = Context { terminal, runtime, directories, json };
            perform_own(&context, command).map(|()| Ending::Exited(0))
        }
    };
    // The process is about to exit. A shutdown would wait for a thread that still reads standard
    // input, and threads that still wait for the keeper would panic.
    std::mem::forget(runtime);
    done
}

/// The directories of this program, of which other users see nothing, and the log of this
/// command in them.
fn prepared_directories() -> Result<Directories, Error> {
    let directories = Directories::find()?;
    directories.close_to_others()?;
    log::start(&directories)?;
    Ok(directories)
}

/// Starts the run that `words` ask for in the background. Its number is the result; on a terminal
/// the line that says so is enough, unless `--quiet`.
fn detach(terminal: &Terminal, run: &RunArguments, words: &[OsString]) -> Result<Ending, Error> {
    if environment::is_inside_run() {
        return Err(Error::new(
            ErrorKind::Usage,
            "`--detach` is not available inside a run",
            "detach the whole run on the machine that starts it, or use `&` in a shell",
        ));
    }
    let directories = prepared_directories()?;
    let workspace = run::check(run, &current_directory()?, &directories, terminal)?;
    let number = detached::start(&directories, &workspace, run.title(), words)?;
    terminal.say(&format!("run {number} is detached: `cargo burst attach {number}` shows it"));
    if terminal.is_quiet() || !terminal::streams::shows_output() {
        terminal.result(&format!("{number}\n"))?;
    }
    Ok(Ending::Exited(0))
}

/// The commands that do not call cargo.
fn perform_own(context: &Context<'_>, command: Command) -> Result<(), Error> {
    match command {
        // They ask for what exists, and leave it to a keeper themselves; `doctor` changes nothing.
        Command::Status { .. }
        | Command::Down { .. }
        | Command::Reap { .. }
        | Command::Doctor { .. } => {
            commands::warn_of_trouble(context.terminal, context.directories);
        }
        _ => context.look_after(),
    }
    match command {
        Command::Status { all, .. } => commands::status(context, all),
        Command::Down { options, .. } => commands::down(context, options),
        Command::Init { choice, .. } => commands::init(context, &choice),
        Command::Reap { install_timer: true, .. } => commands::install_timer(context),
        Command::Reap { .. } => commands::reap(context),
        Command::Audit { rate, .. } => commands::audit(context, rate),
        Command::Doctor { apparmor_profile: true, .. } => commands::apparmor_profile(context),
        Command::Doctor { .. } => commands::doctor(context),
        Command::Config { defaults, .. } => commands::config(context, defaults),
        Command::Trust { revoke, .. } => commands::trust(context, revoke),
        Command::Logs(arguments) => {
            commands::logs(context.terminal, context.directories, &arguments)
        }
        // Answered by the command line itself, or before.
        Command::Run(_)
        | Command::Local(_)
        | Command::Attach(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Help(_)
        | Command::Version => Ok(()),
    }
}

fn run_remotely(
    terminal: &Arc<Terminal>,
    runtime: Handle,
    directories: Directories,
    run: &RunArguments,
    detached: Option<u32>,
) -> Result<Ending, Error> {
    let directory = current_directory()?;
    Session { directory, terminal, runtime, directories, run, detached }.run()
}

/// Inside a run, a script that calls this program means cargo.
fn run_here(terminal: &Terminal, command: Command) -> Result<Ending, Error> {
    let arguments = match command {
        Command::Run(run) => {
            run.name().map(OsString::from).into_iter().chain(run.arguments).collect()
        }
        Command::Local(arguments) => arguments,
        _ => {
            return Err(Error::new(
                ErrorKind::Usage,
                "this command is not available inside a run",
                "run it on the machine that started the run",
            ));
        }
    };
    terminal.detail("inside a run: calling cargo itself");
    Err(exec_cargo(arguments))
}

/// Becomes cargo. Returns only if that fails.
fn exec_cargo(arguments: Vec<OsString>) -> Error {
    use std::os::unix::process::CommandExt;
    let mut command = environment::cargo_command();
    let source = command.args(arguments).exec();
    cannot_run(command.get_program(), &source)
}
