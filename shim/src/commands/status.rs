//! `cargo burst status`: servers, volumes, images, the agent on this machine and detached runs.

use burst_protocol::message::{AgentStatus, FromAgent, FromShim};
use burst_sync::clock::Moment;
use tokio::runtime::Handle;

use super::context::Context;
use super::copies::Copies;
use super::{json, render, timer};
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local::LocalAgent;
use crate::connection::ConnectionError;
use crate::detached::record::RunState;
use crate::detached::runs::Runs;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::differences::of_server;
use crate::hetzner::report::{DeletedBy, Report};
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::message::{Ask, Event};
use crate::settings::Settings;

/// `cargo burst status`.
pub(crate) fn status(context: &Context<'_>, all: bool) -> Result<(), Error> {
    let settings = context.settings(None)?;
    context.terminal.keep_spinning();
    let report = match Credentials::of(&settings) {
        None => Ok(None),
        Some(credentials) => {
            let ask = || Ask::Report { credentials: credentials.clone(), all };
            let taken = |event| match event {
                Event::Reported(report) => Some(*report),
                _ => None,
            };
            let own = async |account: &Account| account.report(all).await;
            context.with_account(&credentials, ask, taken, own).and_then(|mut report| {
                report.is_watched_by(guardian(context, &settings)?);
                Ok(Some(report))
            })
        }
    };
    let provider =
        LocalAgent::new(context.directories, KeepAlive::Seconds(0), settings.local_disk_gb);
    let local = local_status(context.runtime, &provider)?;
    let copies = Copies::of(&provider.copies(), settings.local_disk_gb);
    let records = Runs::below(&context.directories.state);
    let mut runs = records.list()?;
    for run in runs.runs.iter_mut().filter(|run| run.state == RunState::Running) {
        run.waits_for = records.directory(run.number).waits_for();
    }
    if context.json {
        let report = report?;
        let (report, budget) = (report.as_ref(), settings.monthly_budget);
        return context.print_json(&json::status(report, budget, local.as_ref(), &copies, &runs));
    }
    for text in report.iter().flatten().flat_map(|report| differences(report, &settings)) {
        context.terminal.warn(&text);
    }
    // What is on this machine is known all the same.
    let (report, failure) = match report {
        Ok(report) => (report, None),
        Err(error) => (None, Some(error)),
    };
    let budget = settings.monthly_budget;
    let mut text =
        report.as_ref().map(|report| render::resources(report, budget)).unwrap_or_default();
    match local {
        Some(status) => text.push_str(&render::agent(&status)),
        None if report.is_none() && failure.is_none() => {
            text.push_str("agent on this machine: not running; the next command starts it\n");
        }
        None => {}
    }
    if copies.projects > 0 {
        text.push_str(&render::copies(&copies));
    }
    text.push_str(&render::runs(&runs, Moment::now().seconds));
    context.print(&text)?;
    failure.map_or(Ok(()), Err)
}

/// What our servers are and the settings do not ask for.
fn differences(report: &Report, settings: &Settings) -> Vec<String> {
    let Settings { server_type: types, region, .. } = settings;
    let own = report.servers.iter().filter(|server| server.own);
    own.filter_map(|server| of_server((&server.server_type, &server.location), types, region))
        .collect()
}

/// What deletes the resources of this account when they have expired: the keeper, which has taken
/// them over if it runs, or the timer. `None`: at most the servers themselves.
fn guardian(context: &Context<'_>, settings: &Settings) -> Result<Option<DeletedBy>, Error> {
    let directory = KeeperDirectory::below(&context.directories.state);
    if directory.is_taken()? {
        return Ok(Some(DeletedBy::Keeper));
    }
    Ok(timer::reaps(context, settings)?.then_some(DeletedBy::Timer))
}

/// The state of the agent on this machine; `None` if none runs. Blocks: not for async code.
pub(super) fn local_status(
    runtime: &Handle,
    provider: &LocalAgent,
) -> Result<Option<AgentStatus>, Error> {
    let Some(connection) = provider.reach_running(runtime)? else { return Ok(None) };
    let answered = connection.ask(runtime, &FromShim::Status);
    runtime.block_on(connection.close());
    match answered {
        Ok(FromAgent::Status(status)) => Ok(Some(status)),
        Ok(_) | Err(ConnectionError::Ending) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
