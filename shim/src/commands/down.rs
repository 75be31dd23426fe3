//! `cargo burst down`: deletes the server and ends the agent on this machine.
//!
//! The JSON is `{"hetzner": {"servers", "volumes", "failed"}, "local_agent_ended",
//! "keeper_pid", "detached_runs"}`: names that were deleted, and reasons of deletions that failed.
//! `hetzner` is `null` without a token; `keeper_pid` is the process id of a keeper that runs all
//! the same, else `null`; `detached_runs` are the numbers of those that ran and are ended. If a
//! deletion failed, `error` is added as in `commands/failure.rs`.

use burst_protocol::message::FromShim;

use super::context::Context;
use super::reap::{print_json, reaped_of, unfinished};
use super::render;
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local::LocalAgent;
use crate::detached::record::{Run, RunState};
use crate::detached::runs::Runs;
use crate::directories::unusable;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::reap::DownOptions;
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::message::Ask;

/// What `down` prints about the agent on this machine.
const ENDED_LOCAL: &str = "ended the agent on this machine";

/// `cargo burst down`.
pub(crate) fn down(context: &Context<'_>, options: DownOptions) -> Result<(), Error> {
    let runs = Runs::below(&context.directories.state);
    // A record that cannot be read must not keep servers.
    let mut running = runs.list().unwrap_or_default().runs;
    running.retain(|run| run.state == RunState::Running);
    for run in &running {
        context.terminal.say(&format!("ending {}", render::run_name(run)));
        runs.directory(run.number).end_for_down();
    }
    end_all(context, options, &running)
}

/// Ends everything; `running` are the detached runs that end with it.
fn end_all(context: &Context<'_>, options: DownOptions, running: &[Run]) -> Result<(), Error> {
    // Without the API the agent here can still be ended.
    let ended = end_local(context, options.with_volumes)?;
    let reaped = match context.credentials()? {
        None => None,
        Some(credentials) => {
            let ask = || Ask::Down { credentials: credentials.clone(), options };
            let own = async |account: &Account| account.down(options, context.terminal).await;
            let reaped = context.with_account(&credentials, ask, reaped_of, own);
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

/// Ends the agent on this machine; whether there was one.
fn end_local(context: &Context<'_>, with_volumes: bool) -> Result<bool, Error> {
    let provider = LocalAgent::new(context.directories, KeepAlive::Seconds(0), 0);
    let ended = match provider.reach_running(context.runtime) {
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
