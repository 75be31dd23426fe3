//! The texts of `status`, `down`, `reap` and `audit`. Pure: times are those of the reports, and
//! no text depends on the width of the terminal.

use burst_protocol::message::AgentStatus;

use super::copies::Copies;
use crate::detached::record::{Ended, How, Run, RunState, Started};
use crate::detached::runs::{Found, Unreadable};
use crate::hetzner::audit::{Audit, Fit, Holding, RightSize, Spent, Split};
use crate::hetzner::reap::ReapReport;
use crate::hetzner::report::{DeletedBy, Report, ServerLine, VolumeLine};
use crate::terminal::{amount, bytes, counted, harmless_line, span};

/// The resources of an account, one line each, their cost, and the month's total.
pub(super) fn resources(report: &Report, budget: Option<f64>) -> String {
    let mut lines = Vec::new();
    if report.servers.is_empty() {
        lines.push("server: none; the next command creates one".to_owned());
    }
    for server in &report.servers {
        lines.push(server_line(server, report));
    }
    for volume in &report.volumes {
        lines.push(volume_line(volume, report));
    }
    for image in &report.images {
        lines.push(format!(
            "image {}: created {} ago, {:.1} GB, {} {} per month",
            image.id,
            span(report.now - image.created),
            image.gb,
            report.currency,
            amount(image.monthly)
        ));
    }
    if report.images.is_empty() {
        lines.push("image: none; without one no server can be created".to_owned());
    }
    let so_far: f64 = report.servers.iter().map(|one| one.cost).sum::<f64>()
        + report.volumes.iter().map(|one| one.cost).sum::<f64>();
    lines.push(format!("cost so far: {} {}", report.currency, amount(so_far)));
    lines.push(this_month(&report.this_month, &report.currency, budget));
    lines.push(String::new());
    lines.join("\n")
}

/// What was spent in this month, and what is left of the budget.
fn this_month(spent: &Spent, currency: &str, budget: Option<f64>) -> String {
    let left = match budget {
        None => String::new(),
        Some(budget) if spent.total > budget => {
            let over = amount(spent.total - budget);
            format!("; the monthly budget of {} is exceeded by {over}", amount(budget))
        }
        Some(budget) => {
            format!(
                "; {} left of the monthly budget of {}",
                amount(budget - spent.total),
                amount(budget)
            )
        }
    };
    format!("this month: {currency} {}{left}", amount(spent.total))
}

fn server_line(server: &ServerLine, report: &Report) -> String {
    let now = report.now;
    format!(
        "server {}{}: {} in {}, {}, up {}, {}, paid for {} more, {}; {} {} so far, {} per \
         started hour",
        server.name,
        whose(server.own, &server.host),
        server.server_type,
        server.location,
        server.status,
        span(now - server.created),
        last_use(server.in_use, server.last_use, now),
        span(server.paid_until - now),
        match server.protected {
            true => PROTECTED.to_owned(),
            false => deletion(Fate::of_server(server), now),
        },
        report.currency,
        amount(server.cost),
        amount(server.hourly)
    )
}

fn volume_line(volume: &VolumeLine, report: &Report) -> String {
    format!(
        "volume of {}{}: {} GB in {}, {}, {}, {}; {} {} so far",
        volume.project,
        whose(volume.own, "another machine"),
        volume.gb,
        volume.location,
        if volume.attached { "attached" } else { "not attached" },
        last_use(volume.in_use, volume.last_use, report.now),
        match volume.protected {
            true => PROTECTED.to_owned(),
            false => deletion(Fate::of_volume(volume), report.now),
        },
        report.currency,
        amount(volume.cost)
    )
}

/// What is said of the end of a resource that the API refuses to delete.
const PROTECTED: &str = "protected against deletion, and billed until you remove the protection in \
                         the Hetzner console";

fn whose(own: bool, host: &str) -> String {
    if own { String::new() } else { format!(" (created by {host})") }
}

fn last_use(in_use: bool, at: i64, now: i64) -> String {
    if in_use { "in use".to_owned() } else { format!("last used {} ago", span(now - at)) }
}

/// What is to be said about the deletion of a server or volume.
struct Fate {
    own: bool,
    in_use: bool,
    kept: bool,
    by: Option<DeletedBy>,
    at: Option<i64>,
    /// The command that deletes it now.
    command: &'static str,
}

impl Fate {
    const fn of_server(server: &ServerLine) -> Self {
        let ServerLine { own, in_use, kept, deleted_by: by, deleted_at: at, .. } = *server;
        Self { own, in_use, kept, by, at, command: "cargo burst down" }
    }

    const fn of_volume(volume: &VolumeLine) -> Self {
        let VolumeLine { own, in_use, kept, deleted_by: by, deleted_at: at, .. } = *volume;
        Self { own, in_use, kept, by, at, command: "cargo burst down --with-volumes" }
    }
}

fn deletion(fate: Fate, now: i64) -> String {
    match fate {
        Fate { kept: true, .. } => "kept until `cargo burst down`".to_owned(),
        Fate { own: true, by: None, command, .. } => {
            format!("NOBODY will delete it: run `{command}`")
        }
        Fate { by: Some(DeletedBy::Server), at: Some(at), .. } => {
            format!("deletes itself in {}", span(at - now))
        }
        Fate { in_use: true, at: Some(at), .. } => {
            format!("deleted in {} if its use ended now", span(at - now))
        }
        Fate { at: Some(at), .. } => format!("deleted in {} if it stays idle", span(at - now)),
        Fate { at: None, .. } => "deleted by its own machine".to_owned(),
    }
}

/// Seconds of a century: an agent that stays so long does not exit by itself.
pub(super) const ENDLESS_SECS: u64 = 100 * 365 * 24 * 60 * 60;

/// The agent on this machine and its projects.
pub(super) fn agent(status: &AgentStatus) -> String {
    let secs = |secs| span(i64::try_from(secs).unwrap_or(i64::MAX));
    let ends = match status.ends_in_secs {
        Some(left) if left >= ENDLESS_SECS => "stays until `cargo burst down`".to_owned(),
        Some(left) => format!("exits in {} if it stays idle", secs(left)),
        None => "busy".to_owned(),
    };
    let mut lines = vec![format!(
        "agent on this machine: running, pid {}, version {}, up {}, {ends}",
        status.pid,
        status.version,
        secs(status.up_secs)
    )];
    for project in &status.projects {
        let path = harmless_line(&project.project.absolute().to_string_lossy());
        if project.runs.is_empty() {
            lines.push(format!("  {path}  idle for {}", secs(project.idle_secs)));
        }
        let runs = project.runs.iter().map(|run| harmless_line(run));
        lines.extend(runs.map(|run| format!("  {path}  running `{run}`")));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The copies of projects on this machine.
pub(super) fn copies(copies: &Copies) -> String {
    let size = match copies.bytes {
        None => "not measured yet".to_owned(),
        Some(measured) => format!("{} as last measured", bytes(measured)),
    };
    let projects = counted(copies.projects, "project");
    format!("copies on this machine: {projects}, {size}, at most {} GB\n", copies.limit_gb)
}

/// The detached runs that are running, those whose end was not shown yet, and the records that
/// cannot be read.
pub(super) fn runs(found: &Found, now: i64) -> String {
    let unseen = found.runs.iter().filter(|run| !run.is_shown);
    let unseen = unseen.map(|run| format!("{}\n", run_line(run, now)));
    unseen.chain(found.unreadable.iter().map(unreadable_line)).collect()
}

/// A detached run, by its number, command and workspace.
pub(super) fn run_name(run: &Run) -> String {
    let Started { title, workspace, .. } = &run.started;
    let name = format!("detached run {}: `{title}` of {}", run.number, workspace.display());
    harmless_line(&name)
}

fn run_line(run: &Run, now: i64) -> String {
    let Run { number, started, .. } = run;
    let since = |at: i64| span(now - at);
    let state = match (run.state, &run.waits_for) {
        (RunState::Running, Some(what)) => {
            format!("waiting for {}, started {} ago", harmless_line(what), since(started.at))
        }
        (RunState::Running, None) => format!("running for {}", since(started.at)),
        (RunState::Ended(Ended { at, how, .. }), _) => {
            let how = match how {
                How::Code(code) => format!("with code {code}"),
                How::Signal(signal) => format!("by signal {signal}"),
                How::Down => "by `cargo burst down`".to_owned(),
            };
            format!("ended {} ago {how}, not shown yet", since(at))
        }
        (RunState::EndUnknown, _) => {
            format!("started {} ago, has ended: how cannot be read", since(started.at))
        }
        (RunState::Lost, _) => {
            format!("started {} ago, lost: its holder is gone", since(started.at))
        }
    };
    format!("{}, {state}; `cargo burst attach {number}` shows it", run_name(run))
}

fn unreadable_line(record: &Unreadable) -> String {
    let Unreadable { number, path, why } = record;
    let path = path.display();
    let line =
        format!("detached run {number}: its record cannot be read ({why}); `{path}` is kept");
    format!("{}\n", harmless_line(&line))
}

/// The deleted resources, one line each. Deletions that failed are the error of the command.
pub(super) fn reaped(reaped: &ReapReport) -> String {
    let mut text = String::new();
    for name in &reaped.servers {
        text.push_str(&format!("deleted the server {name}\n"));
    }
    for name in &reaped.volumes {
        text.push_str(&format!("deleted the volume {name}\n"));
    }
    if text.is_empty() && reaped.failed.is_empty() {
        text.push_str("nothing to delete at Hetzner\n");
    }
    text
}

/// The evaluation of the audit record.
pub(super) fn audit(
    audit: &Audit,
    size: Option<&RightSize>,
    workspace: Option<&str>,
    budget: Option<f64>,
) -> String {
    let nothing = "no command has run yet\n";
    if audit.servers == 0 && audit.commands == 0 && audit.here.commands == 0 {
        return nothing.to_owned();
    }
    let mut lines = vec![format!(
        "{}, {}, EUR {}; optimum with perfect foresight: {}",
        counted(audit.servers as u64, "server"),
        counted(audit.started_hours.unsigned_abs(), "started hour"),
        amount(audit.cost),
        counted(audit.best_hours.unsigned_abs(), "hour"),
    )];
    let split = |name: &str, split: &Split| {
        format!(
            "{name:<12}{:>15}, on average {:>7.1} s: server {:.1}, sync {:.1}, cargo {:.1}",
            counted(split.commands as u64, "command"),
            split.total_secs,
            split.reach_secs,
            split.sync_secs,
            split.run_secs
        )
    };
    let previous = amount(audit.previous_month.total);
    lines.push(format!(
        "{}, EUR {previous} in the one before",
        this_month(&audit.this_month, "EUR", budget)
    ));
    if audit.here.commands > 0 {
        lines.push(split("here", &audit.here));
    }
    lines.push(split("cold", &audit.cold));
    lines.push(split("warm", &audit.warm));
    lines.extend(audit.verbs.iter().map(|(verb, found)| split(verb, found)));
    lines.push("cost with other settings:".to_owned());
    for rule in &audit.rules {
        lines.push(format!(
            "  keep_alive_secs = {:<5} keep_paid_hour = {:<6}{:>11}, EUR {:>8}, {:>16}",
            rule.keep_alive_secs,
            rule.keep_paid_hour,
            counted(rule.started_hours.unsigned_abs(), "hour"),
            amount(rule.cost),
            counted(rule.cold_starts as u64, "cold start"),
        ));
    }
    lines.extend(size.map(|size| right_size(size, workspace)));
    lines.extend(audit.holding.as_ref().map(holding));
    lines.push(String::new());
    lines.join("\n")
}

/// The cheapest and the fastest type, and what that is known from.
fn right_size(size: &RightSize, workspace: Option<&str>) -> String {
    let fit = |fit: &Fit| {
        let Fit { server_type, cores, cost, run_secs } = fit;
        format!("{server_type} ({cores} cores, EUR {}, {run_secs:.1} s a run)", amount(*cost))
    };
    format!(
        "today cheapest: {}; fastest: {}; it took {:.1} s; from {} of {}, if only cores count",
        fit(&size.cheapest),
        fit(&size.fastest),
        size.run_secs,
        counted(size.commands as u64, "command"),
        harmless_line(workspace.unwrap_or("all workspaces"))
    )
}

/// What one more hour after each hour with a use would have given.
fn holding(holding: &Holding) -> String {
    format!(
        "one more hour after each with a use: {} more, {} fewer, {} less waiting",
        counted(holding.hours.max(0).unsigned_abs(), "hour"),
        counted(holding.cold_starts.max(0).unsigned_abs(), "cold start"),
        span(holding.secs.round() as i64)
    )
}

#[cfg(test)]
mod tests;
