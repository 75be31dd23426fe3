//! The commands that are not cargo's: `status`, `down`, `config`.

use std::time::Duration;

use burst_protocol::hello::Preface;
use burst_protocol::message::{AgentStatus, FromAgent, FromShim};
use tokio::runtime::Handle;

use crate::connection::{Connection, Stream, VERSION};
use crate::failure::Failure;
use crate::provider::local::LocalProvider;
use crate::settings::{DEFAULTS, Settings};
use crate::state::Directories;
use crate::terminal::{Terminal, seconds};

/// `cargo burst status`.
pub fn status(
    terminal: &Terminal,
    runtime: &Handle,
    directories: &Directories,
) -> Result<(), Failure> {
    let provider = LocalProvider::new(directories, 0);
    let Some(connection) = provider.reach_running(runtime)? else {
        return print(terminal, "local agent: not running (the next run starts it)\n");
    };
    let answered = ask(runtime, &connection, &FromShim::Status);
    runtime.block_on(connection.close());
    if matches!(answered, Err(Failure::AgentEnding)) {
        return print(terminal, "local agent: ending\n");
    }
    let FromAgent::Status(status) = answered? else { return Err(Failure::AgentEnding) };
    print(terminal, &shown(&status))
}

/// `cargo burst down`.
pub fn down(
    terminal: &Terminal,
    runtime: &Handle,
    directories: &Directories,
    with_volumes: bool,
) -> Result<(), Failure> {
    let provider = LocalProvider::new(directories, 0);
    let ended = match provider.reach_running(runtime) {
        Ok(Some(connection)) => {
            let asked = ask(runtime, &connection, &FromShim::End { with_volumes });
            runtime.block_on(connection.close());
            match asked {
                Ok(_) => provider.wait_until_ended().map(|()| true)?,
                // It speaks another version, or not at all: it still has to go.
                Err(_) => provider.stop()?.is_some(),
            }
        }
        Ok(None) => false,
        Err(_) => provider.stop()?.is_some(),
    };
    let mut text =
        if ended { "ended the local agent" } else { "no local agent is running" }.to_owned();
    if with_volumes {
        let disk = provider.disk().join("projects");
        match std::fs::remove_dir_all(&disk) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::Directory { path: disk, source });
            }
            _ => text.push_str(", deleted what it kept of every project"),
        }
    }
    text.push('\n');
    print(terminal, &text)
}

/// `cargo burst config`.
pub fn config(
    terminal: &Terminal,
    directories: &Directories,
    defaults: bool,
) -> Result<(), Failure> {
    if defaults {
        return print(terminal, DEFAULTS);
    }
    let workspace = std::env::current_dir()
        .ok()
        .and_then(|directory| crate::workspace::Workspace::find(&directory, &[]).ok());
    let root = workspace.as_ref().map(|workspace| workspace.root.as_path());
    let settings = Settings::load(&directories.config_home, root, |name| std::env::var(name).ok())?;
    let mut text = String::new();
    for effective in &settings.effective {
        let origins: Vec<String> = effective.origins.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "{} = {}  # {}\n",
            effective.key,
            effective.shown,
            origins.join("; ")
        ));
    }
    print(terminal, &text)
}

fn ask(
    runtime: &Handle,
    connection: &Connection,
    question: &FromShim,
) -> Result<FromAgent, Failure> {
    let Stream { mut incoming, outgoing, writing } = runtime.block_on(connection.stream())?;
    let lost = |source| Failure::Lost { started: false, source };
    outgoing.preface(&Preface::hello(VERSION)).map_err(lost)?;
    outgoing.message(question).map_err(lost)?;
    connection.welcome(&mut incoming)?;
    let answer = incoming.message().map_err(lost)?;
    drop(outgoing);
    // The answer is what matters.
    drop(runtime.block_on(writing));
    match answer {
        FromAgent::Failed(failure) => Err(Failure::Agent(failure)),
        answer => Ok(answer),
    }
}

fn shown(status: &AgentStatus) -> String {
    let mut text = String::new();
    let ago = |secs| seconds(Duration::from_secs(secs));
    let ends = match status.ends_in_secs {
        Some(secs) => format!("ends in {} if idle", ago(secs)),
        None => "busy".to_owned(),
    };
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let (pid, version) = (status.pid, &status.version);
    line(format!(
        "local agent: running, pid {pid}, version {version}, up {}, {ends}",
        ago(status.up_secs)
    ));
    for project in &status.projects {
        let path = project.project.display();
        if project.runs.is_empty() {
            line(format!("  /{path}  idle for {}", ago(project.idle_secs)));
        }
        for run in &project.runs {
            line(format!("  /{path}  running `{run}`"));
        }
    }
    text
}

fn print(terminal: &Terminal, text: &str) -> Result<(), Failure> {
    terminal.result(text).map_err(Failure::Output)
}
