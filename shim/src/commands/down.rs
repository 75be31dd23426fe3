//! `cargo burst down`: deletes the server and ends the agent on this machine, after a question
//! where runs end or caches are lost.
//!
//! The JSON is `{"hetzner": {"servers", "volumes", "failed"}, "local_agent_ended",
//! "keeper_pid", "detached_runs"}`: names that were deleted, and reasons of deletions that failed.
//! `hetzner` is `null` without a token; `keeper_pid` is the process id of a keeper that runs all
//! the same, else `null`; `detached_runs` are the numbers of those that ran and are ended. If a
//! deletion failed, `error` is added as in `commands/failure.rs`.

mod question;

use burst_protocol::message::{AgentStatus, FromAgent, FromShim};

use self::question::Loss;
use super::context::Context;
use super::reap::{print_json, reaped_of, unfinished};
use super::render;
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local::LocalAgent;
use crate::connection::Connection;
use crate::detached::record::{Run, RunState};
use crate::detached::runs::Runs;
use crate::directories::unusable;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::loss::{Losses, LostRun};
use crate::hetzner::reap::{DownOptions, ReapReport};
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::message::{Ask, Event};

/// What `down` prints about the agent on this machine.
const ENDED_LOCAL: &str = "ended the agent on this machine";

/// `cargo burst down`.
pub(crate) fn down(context: &Context<'_>, mut options: DownOptions) -> Result<(), Error> {
    // A deletion may wait for minutes.
    context.terminal.keep_moving();
    let runs = Runs::below(&context.directories.state);
    // A record that cannot be read must not keep servers.
    let mut running = runs.list().unwrap_or_default().runs;
    running.retain(|run| run.state == RunState::Running);
    let credentials = context.credentials()?;
    let agent = LocalAgent::new(context.directories, KeepAlive::Seconds(0), 0);
    let mut local = Local { reached: agent.reach_running(context.runtime), agent };
    // An API that cannot list what exists cannot delete it either; the agent here can be ended.
    let mut unlisted = None;
    if !options.consent {
        let hetzner = match credentials.as_ref().map(|found| losses(context, found, options)) {
            None => Losses::default(),
            Some(Ok(losses)) => losses,
            Some(Err(error)) => {
                unlisted = Some(error);
                Losses::default()
            }
        };
        let copies = if options.with_volumes { local.agent.copies().len() } else { 0 };
        let loss = Loss { hetzner, detached: running.clone(), local: local.runs(context), copies };
        options.consent = loss.confirm(context.terminal)?;
    }
    for run in &running {
        context.terminal.say(&format!("ending {}", render::run_name(run)));
        runs.directory(run.number).end_for_down();
    }
    let ended = local.end(context, options.with_volumes)?;
    let reaped = match (credentials, unlisted) {
        (None, _) => None,
        (_, Some(error)) => Some(Err(error)),
        (Some(credentials), None) => Some(delete(context, &credentials, options)),
    };
    tell(context, options, Done { running, ended, reaped })
}

/// What would be ended and deleted at Hetzner.
fn losses(
    context: &Context<'_>,
    credentials: &Credentials,
    options: DownOptions,
) -> Result<Losses, Error> {
    context.terminal.begin("listing what exists at Hetzner");
    let ask = || Ask::Losses { credentials: credentials.clone(), options };
    let taken = |event| match event {
        Event::Losses(losses) => Some(losses),
        _ => None,
    };
    let own = async |account: &Account| account.losses(options).await;
    context.with_account(credentials, ask, taken, own)
}

fn delete(
    context: &Context<'_>,
    credentials: &Credentials,
    options: DownOptions,
) -> Result<ReapReport, Error> {
    let ask = || Ask::Down { credentials: credentials.clone(), options };
    let own = async |account: &Account| account.down(options, context.terminal).await;
    context.with_account(credentials, ask, reaped_of, own)
}

/// What was ended and deleted.
struct Done {
    /// The detached runs.
    running: Vec<Run>,
    /// Whether there was an agent on this machine.
    ended: bool,
    /// At Hetzner; `None` without a token.
    reaped: Option<Result<ReapReport, Error>>,
}

fn tell(context: &Context<'_>, options: DownOptions, done: Done) -> Result<(), Error> {
    let Done { running, ended, reaped } = done;
    let reaped = match reaped {
        None => None,
        Some(reaped) => {
            if reaped.is_err() && ended && !context.json {
                context.print(ENDED_LOCAL)?;
                context.print("\n")?;
            }
            Some(reaped.map_err(not_deleted)?)
        }
    };
    // With a token the keeper itself has deleted what it looks after.
    let keeper = match &reaped {
        Some(_) => None,
        None => KeeperDirectory::running(&context.directories.state)?,
    };
    if context.json {
        let value = serde_json::json!({
            "hetzner": reaped, "local_agent_ended": ended, "keeper_pid": keeper,
            "detached_runs": running.iter().map(|run| run.number).collect::<Vec<_>>(),
        });
        return print_json(context, value, reaped);
    }
    let mut text = reaped.as_ref().map(render::reaped).unwrap_or_default();
    if reaped.is_none() || ended {
        text.push_str(if ended { ENDED_LOCAL } else { "no agent is running on this machine" });
        if options.with_volumes {
            text.push_str("; deleted its copies of all projects");
        }
        text.push('\n');
    }
    if let Some(pid) = keeper {
        text.push_str(&format!(
            "the keeper is still running, pid {pid}: it deletes servers and volumes of an earlier \
             token when they expire; `cargo burst down` with that token deletes them now\n"
        ));
    }
    context.print(&text)?;
    unfinished(reaped)
}

/// The hint of an error after which nothing is known to be deleted.
fn not_deleted(error: Error) -> Error {
    let hint = format!(
        "{}. Servers and volumes may still exist and are billed: run `cargo burst down` again",
        error.hint().trim_end_matches('.')
    );
    error.with_hint(hint)
}

/// The agent on this machine.
struct Local {
    agent: LocalAgent,
    /// The connection to it; none if none runs.
    reached: Result<Option<Connection>, Error>,
}

impl Local {
    /// Its runs; none if it does not tell them, since it hangs or speaks another version.
    fn runs(&self, context: &Context<'_>) -> Vec<LostRun> {
        let Ok(Some(connection)) = &self.reached else { return Vec::new() };
        match connection.ask(context.runtime, &FromShim::Status) {
            Ok(FromAgent::Status(status)) => runs_of(&status),
            _ => Vec::new(),
        }
    }

    /// Ends it; whether there was one.
    fn end(&mut self, context: &Context<'_>, with_volumes: bool) -> Result<bool, Error> {
        let provider = &self.agent;
        let ended = match std::mem::replace(&mut self.reached, Ok(None)) {
            Ok(Some(connection)) => {
                let asked = connection.ask(context.runtime, &FromShim::End { with_volumes });
                context.runtime.block_on(connection.close());
                match asked {
                    Ok(_) => provider.wait_until_ended().map(|()| true)?,
                    // It speaks another version, or not at all: it still has to go.
                    Err(_) => provider.stop()?.is_some(),
                }
            }
            Ok(None) => false,
            Err(_) => provider.stop()?.is_some(),
        };
        if with_volumes {
            let disk = provider.disk().join("projects");
            match std::fs::remove_dir_all(&disk) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable("delete", &disk, &source));
                }
                _ => {}
            }
        }
        Ok(ended)
    }
}

/// All runs that an agent tells.
fn runs_of(status: &AgentStatus) -> Vec<LostRun> {
    let projects = status.projects.iter().flat_map(|project| {
        let workspace = project.project.absolute().to_string_lossy().into_owned();
        let run = move |title: &String| LostRun {
            title: Some(title.clone()),
            workspace: workspace.clone(),
        };
        project.runs.iter().map(run)
    });
    projects.collect()
}
