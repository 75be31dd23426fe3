//! What `status`, `down`, `reap` and `audit` show of servers and volumes, as text.

use std::time::Duration;

use crate::hetzner::audit::{Audit, Split};
use crate::hetzner::reap::ReapReport;
use crate::hetzner::report::{Report, ServerLine, VolumeLine};
use crate::terminal::seconds;

/// What is there.
pub(crate) fn shown(report: &Report) -> String {
    let mut lines = Vec::new();
    if report.servers.is_empty() {
        lines.push("Hetzner: no server (the next run creates one)".to_owned());
    }
    for server in &report.servers {
        lines.push(server_line(server, report));
    }
    for volume in &report.volumes {
        lines.push(volume_line(volume, report));
    }
    for image in &report.images {
        lines.push(format!(
            "image {}: made {} ago, {:.1} GB, {} {:.2} a month",
            image.id,
            span(report.now - image.created),
            image.gb,
            report.currency,
            image.monthly
        ));
    }
    if report.images.is_empty() {
        lines.push("image: none (`cargo burst image build` makes one)".to_owned());
    }
    let so_far: f64 = report.servers.iter().map(|one| one.cost).sum::<f64>()
        + report.volumes.iter().map(|one| one.cost).sum::<f64>()
        // The sum of nothing is a negative zero.
        + 0.0;
    lines.push(format!("cost of what is there so far: {} {so_far:.2}", report.currency));
    lines.push(String::new());
    lines.join("\n")
}

fn server_line(server: &ServerLine, report: &Report) -> String {
    let now = report.now;
    let use_of = if server.in_use {
        "in use".to_owned()
    } else {
        format!("last used {} ago", span(now - server.last_use))
    };
    format!(
        "server {}{}: {} in {}, {}, up {}, {use_of}, paid for {} more, {}; {} {:.2} so far, {:.2} \
         a started hour",
        server.name,
        whose(server.own, &server.host),
        server.server_type,
        server.location,
        server.status,
        span(now - server.created),
        span(server.paid_until - now),
        deletion(server.deleted_at, now),
        report.currency,
        server.cost,
        server.hourly
    )
}

fn volume_line(volume: &VolumeLine, report: &Report) -> String {
    format!(
        "volume of {}{}: {} GB in {}, {}, last used {} ago, {}; {} {:.2} so far",
        volume.project,
        whose(volume.own, "another machine"),
        volume.gb,
        volume.location,
        if volume.attached { "attached" } else { "not attached" },
        span(report.now - volume.last_use),
        deletion(volume.deleted_at, report.now),
        report.currency,
        volume.cost
    )
}

fn whose(own: bool, host: &str) -> String {
    if own { String::new() } else { format!(" (of {host})") }
}

fn deletion(at: Option<i64>, now: i64) -> String {
    match at {
        Some(at) => format!("deleted in {} if idle", span(at - now)),
        None => "kept until `cargo burst down`".to_owned(),
    }
}

/// What was deleted.
pub(crate) fn reaped(reaped: &ReapReport) -> String {
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

/// What the record tells.
pub(crate) fn audit(audit: &Audit) -> String {
    let mut lines = vec![format!(
        "servers: {}, started hours: {}, EUR {:.2} (with hindsight {} hours would have done)",
        audit.servers, audit.started_hours, audit.cost, audit.best_hours
    )];
    let split = |name: &str, split: &Split| {
        format!(
            "{name:<12}{:>6} commands, on average {:>7.1} s: server {:.1}, sync {:.1}, cargo {:.1}",
            split.commands, split.total_secs, split.reach_secs, split.sync_secs, split.run_secs
        )
    };
    lines.push(split("cold", &audit.cold));
    lines.push(split("warm", &audit.warm));
    lines.extend(audit.verbs.iter().map(|(verb, found)| split(verb, found)));
    lines.push("what other settings would have come to:".to_owned());
    for rule in &audit.rules {
        lines.push(format!(
            "  keep_alive_secs = {:<5} keep_paid_hour = {:<6}{:>5} hours, EUR {:>8.2}, {:>4} cold \
             starts",
            rule.keep_alive_secs,
            rule.keep_paid_hour,
            rule.started_hours,
            rule.cost,
            rule.cold_starts
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn span(secs: i64) -> String {
    match u64::try_from(secs) {
        Ok(secs) => seconds(Duration::from_secs(secs)),
        Err(_) => seconds(Duration::ZERO),
    }
}
