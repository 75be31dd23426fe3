//! What is told and recorded of a command when it is over.

use std::path::Path;
use std::time::{Duration, Instant};

use super::exchange::Timing;
use super::request::RunArguments;
use crate::agent::reached::ReachedAgent;
use crate::agent::remote;
use crate::directories::Directories;
use crate::hetzner::audit::{AuditLog, Command, Entry, Place};
use crate::hetzner::report::server_cost;
use crate::hetzner::server::ServerSummary;
use crate::terminal::{Terminal, bytes, seconds};

/// Where cargo ran and how long that took.
pub(super) struct Summary {
    place: String,
    /// Datagrams or stream bytes, sent and received.
    traffic: (u64, u64),
}

impl Summary {
    /// Sums up a command that has reached an agent.
    pub(super) fn of(reached: &ReachedAgent) -> Self {
        let ready = reached.ready();
        let server = ready.as_ref().map(|(ready, at)| remote::by_our_clock(ready, *at));
        Self { place: place_of(server.as_ref()), traffic: reached.connection.bytes() }
    }

    /// Prints the one line that a command ends with.
    pub(super) fn print(&self, terminal: &Terminal, took: Duration) {
        let (sent, received) = self.traffic;
        terminal.detail(&format!("in all: {sent} bytes sent, {received} bytes received"));
        terminal.say(&format!(
            "{}, {}, {} sent, {} received",
            self.place,
            seconds(took),
            bytes(sent),
            bytes(received)
        ));
    }
}

/// Records a command and where it ran, for `cargo burst audit`.
pub(super) fn record(
    directories: &Directories,
    run: &RunArguments,
    workspace: &Path,
    reached: &ReachedAgent,
    timing: Timing,
    began: Instant,
) {
    let ready = reached.ready();
    if reached.is_remote() && ready.is_none() {
        return;
    }
    let total = began.elapsed();
    let now = burst_hcloud::Timestamp::now().as_second();
    let place = ready.as_ref().map_or(Place::Here, |(ready, _)| Place::Server {
        server_type: ready.server.server_type.clone(),
        location: ready.server.location.clone(),
    });
    let reach = ready.as_ref().map(|(_, at)| at.saturating_duration_since(began));
    let command = Command {
        verb: run.verb.name().unwrap_or("other").to_owned(),
        workspace: workspace.to_string_lossy().into_owned(),
        place,
        began: now - i64::try_from(total.as_secs()).unwrap_or(0),
        reach_secs: reach.unwrap_or_default().as_secs_f64(),
        sync_secs: timing.sync.as_secs_f64(),
        run_secs: timing.run.as_secs_f64(),
        total_secs: total.as_secs_f64(),
        cpu_secs: timing.cpu.map(|used| used.as_secs_f64()),
        cold: ready.is_some_and(|(ready, _)| ready.fresh_server),
    };
    AuditLog::new(&directories.hetzner()).append(&[Entry::Command(Box::new(command))]);
}

/// The machine on which cargo ran, and what it costs.
fn place_of(server: Option<&ServerSummary>) -> String {
    let Some(server) = server else { return "on this machine".to_owned() };
    let now = burst_hcloud::Timestamp::now().as_second();
    let cost = server_cost(server.created, now.max(server.created), server.hourly);
    format!(
        "on {} in {} (EUR {cost:.2} so far, {:.2} per started hour)",
        server.server_type, server.location, server.hourly
    )
}
