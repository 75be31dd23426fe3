//! `cargo burst status`: servers, volumes, images and the agent on this machine.

use std::time::Duration;

use burst_protocol::message::{AgentStatus, FromAgent, FromShim};

use super::context::Context;
use super::{json, render};
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local::LocalAgent;
use crate::connection::ConnectionError;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::keeper::message::{Ask, Event};
use crate::terminal::seconds;

/// `cargo burst status`.
pub(crate) fn status(context: &Context<'_>, all: bool) -> Result<(), Error> {
    let report = match context.credentials()? {
        None => None,
        Some(credentials) => {
            let ask = || Ask::Report { credentials: credentials.clone(), all };
            let taken = |event| match event {
                Event::Reported(report) => Some(*report),
                _ => None,
            };
            let own = async |account: &Account| account.report(all).await;
            Some(context.with_account(&credentials, ask, taken, own)?)
        }
    };
    let local = local_status(context)?;
    if context.json {
        return context.print_json(&json::status(report.as_ref(), local.as_ref()));
    }
    let mut text = report.as_ref().map(render::shown).unwrap_or_default();
    match local {
        Some(status) => text.push_str(&shown(&status)),
        None if report.is_none() => {
            text.push_str("agent on this machine: not running; the next command starts it\n");
        }
        None => {}
    }
    context.print(&text)
}

fn local_status(context: &Context<'_>) -> Result<Option<AgentStatus>, Error> {
    let provider = LocalAgent::new(context.directories, KeepAlive::Seconds(0));
    let Some(connection) = provider.reach_running(context.runtime)? else { return Ok(None) };
    let answered = connection.ask(context.runtime, &FromShim::Status);
    context.runtime.block_on(connection.close());
    match answered {
        Ok(FromAgent::Status(status)) => Ok(Some(status)),
        Ok(_) | Err(ConnectionError::Ending) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn shown(status: &AgentStatus) -> String {
    let mut text = String::new();
    let ago = |secs| seconds(Duration::from_secs(secs));
    let ends = match status.ends_in_secs {
        Some(secs) => format!("exits in {} if it stays idle", ago(secs)),
        None => "busy".to_owned(),
    };
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let (pid, version) = (status.pid, &status.version);
    line(format!(
        "agent on this machine: running, pid {pid}, version {version}, up {}, {ends}",
        ago(status.up_secs)
    ));
    for project in &status.projects {
        let absolute = project.project.absolute();
        let path = absolute.display();
        if project.runs.is_empty() {
            line(format!("  {path}  idle for {}", ago(project.idle_secs)));
        }
        for run in &project.runs {
            line(format!("  {path}  running `{run}`"));
        }
    }
    text
}
