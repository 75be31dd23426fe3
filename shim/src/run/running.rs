//! The second state of an exchange: cargo runs, its output is passed on.
//!
//! Meanwhile a thread remembers what the agent holds now, for the next command.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use burst_protocol::Digest;
use burst_protocol::RelativePath;
use burst_protocol::budget::Budget;
use burst_protocol::limit::OUTPUT_WINDOW_BYTES;
use burst_protocol::message::{ControllingTerminal, FromAgent, FromShim};
use burst_protocol::tree::{Change, Directory};
use burst_sync::flow_control::ReceivedCredit;
use burst_sync::wire::{Incoming, Outgoing};

use super::exchange::{Exchange, Outcome, Timing, out_of_turn};
use super::passed_output::PassedOutput;
use super::returning::Ended;
use super::time_limit::ended_by_limit;
use super::undownloaded;
use super::waiting;
use crate::agent::remote;
use crate::error::Error;
use crate::terminal::stdin::Forwarding;
use crate::terminal::{Terminal, bytes, unwritable};
use crate::transfer::error::{Phase, agent_failed, lost};
use crate::transfer::upload;
use crate::workspace::error::unreadable;
use crate::workspace::state::{Contents, WorkspaceState};

/// What the agent did not hold before.
pub(super) struct News {
    /// What was sent, if the agent's state was known.
    pub(super) changes: Option<Vec<Change>>,
    /// The store of small contents, unless another command uses it.
    pub(super) contents: Option<Contents>,
}

/// An exchange whose agent has the tree that cargo is to see.
pub(super) struct Synced<'a> {
    exchange: Exchange<'a>,
    incoming: Incoming,
    outgoing: Outgoing,
    begun: Begun,
}

/// What the sync has led to.
pub(super) struct Begun {
    /// What the agent did not hold before; none if it held everything.
    pub(super) news: Option<News>,
    /// The controlling terminal of the run.
    pub(super) control: Option<ControllingTerminal>,
    /// How long the sync took.
    pub(super) sync: Duration,
}

impl<'a> Synced<'a> {
    pub(super) const fn new(
        exchange: Exchange<'a>,
        incoming: Incoming,
        outgoing: Outgoing,
        begun: Begun,
    ) -> Self {
        Self { exchange, incoming, outgoing, begun }
    }

    /// Passes on output, input and signals until cargo has ended.
    pub(super) fn follow(self, state: &mut WorkspaceState) -> Result<Ended<'a>, Error> {
        let Self { exchange, mut incoming, outgoing, begun } = self;
        let Begun { news, control, sync } = begun;
        let began = Instant::now();
        exchange.signals.forward_to(outgoing.clone());
        let passed = PassedOutput::new(exchange.terminal, exchange.signals, &outgoing);
        let passed = passed.map_err(|error| unwritable(&error))?;
        let outcome = std::thread::scope(|scope| {
            let remembering = scope.spawn(|| remember(&exchange, state, news));
            let (ports, runtime) = (&exchange.prepared.ports, exchange.runtime);
            if !ports.is_empty() {
                scope.spawn(|| ports.carry_all(runtime, &exchange.reached.connection));
            }
            scope.spawn(|| passed.write_held());
            let (over, is_over) = mpsc::channel();
            let watching = scope.spawn(|| watch(&exchange, &outgoing, is_over));
            let outcome = follow(&exchange, &mut incoming, &outgoing, &passed, control);
            drop(over);
            let limit = watching.join().unwrap_or(None);
            let outcome = match (outcome, limit) {
                (Ok(outcome), limit) => Ok(Outcome { limit, ..outcome }),
                (Err(_), Some(reason)) => Err(ended_by_limit(reason)),
                (Err(error), None) => Err(error),
            };
            passed.close();
            if outcome.is_err() || exchange.signals.ends_by().is_some() {
                exchange.terminal.undo_modes();
            }
            ports.end();
            remembering.join().unwrap_or(Ok(())).and(outcome)
        })?;
        let timing = Timing { sync, run: began.elapsed(), cpu: outcome.cpu };
        tracing::debug!(
            changes = outcome.changes.len(),
            artifacts = outcome.artifacts.len(),
            "cargo has ended"
        );
        Ok(Ended::new(exchange, incoming, outgoing, outcome, timing))
    }
}

/// Watches how long the run takes, if it is on a server. Returns the limit that has ended it.
fn watch(exchange: &Exchange<'_>, outgoing: &Outgoing, over: Receiver<()>) -> Option<String> {
    let (ready, at) = exchange.reached.ready()?;
    let server = remote::by_our_clock(&ready, at);
    exchange.prepared.limits.watch(&server, outgoing, exchange.terminal, &over)
}

/// Follows the run to its end.
fn follow(
    exchange: &Exchange<'_>,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
    passed: &PassedOutput<'_>,
    control: Option<ControllingTerminal>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let mut listed = Budget::default();
    let mut input: Option<Forwarding> = None;
    let mut credit = ReceivedCredit::of(OUTPUT_WINDOW_BYTES);
    loop {
        let message = incoming.message();
        match message.map_err(|error| lost(&error, Phase::Run))? {
            FromAgent::Started { notice, clock } => {
                outcome.began = Some(clock);
                if let Some(notice) = notice {
                    notify_once(exchange, &notice);
                }
                input = start_input(exchange, outgoing, control);
            }
            FromAgent::Output { stream, bytes } => {
                if let Some(input) = &input {
                    input.answered(&bytes);
                }
                outcome.output.add(&bytes);
                if exchange.prepared.plan.opens_docs {
                    outcome.opening.push(&bytes);
                }
                let size = bytes.len();
                passed.push(stream, bytes.into_vec())?;
                if let Some(cost) = credit.add(size) {
                    // If the connection is lost, the next read reports it.
                    drop(outgoing.message(&FromShim::OutputCredit(cost)));
                }
            }
            FromAgent::OutputEnd => drop(outgoing.message(&FromShim::OutputCredit(credit.rest()))),
            FromAgent::Waiting { holder } => waiting::wait_for_results(exchange, &holder),
            told @ (FromAgent::TerminalModes(_)
            | FromAgent::TerminalRead(_)
            | FromAgent::InputCredit(_)) => {
                if let Some(input) = &input {
                    input.note(&told);
                }
            }
            told @ (FromAgent::Changed(_)
            | FromAgent::Artifacts(_)
            | FromAgent::NamedFiles(_)
            | FromAgent::NamedLinks(_)
            | FromAgent::Missing(_)
            | FromAgent::TargetFiles(_)
            | FromAgent::TargetGone(_)
            | FromAgent::TargetListed(_)
            | FromAgent::Used { .. }) => outcome.note(told, &mut listed)?,
            told @ (FromAgent::Withheld { .. } | FromAgent::LargeTestFiles { .. }) => {
                warn_not_fetched(exchange, told);
            }
            FromAgent::Unreadable { errors, others } => {
                warn_unreadable(exchange.terminal, &errors, others)
            }
            FromAgent::Finished(ending) => {
                if let Some(input) = &input {
                    input.ended(ending);
                }
                outcome.ending = ending;
                passed.end(ending)?;
                exchange.terminal.quiet();
                hint_at_downloads(exchange, &outcome);
                return Ok(outcome);
            }
            FromAgent::Stopped => exchange.signals.run_stopped(),
            FromAgent::Listening { port } => tell_port(exchange, port),
            FromAgent::Working => {}
            FromAgent::Failed(failure) => return Err(agent_failed(failure, Phase::Run)),
            other => return Err(out_of_turn(&other)),
        }
    }
}

/// Starts to forward standard input and the terminal, if the run has either.
fn start_input(
    exchange: &Exchange<'_>,
    outgoing: &Outgoing,
    control: Option<ControllingTerminal>,
) -> Option<Forwarding> {
    let reads = exchange.prepared.plan.sends_input;
    let start = || Forwarding::start(outgoing.clone(), exchange.signals, reads, control);
    (reads || control.is_some()).then(start)
}

/// Says what to do where cargo on a server could not download a package.
fn hint_at_downloads(exchange: &Exchange<'_>, outcome: &Outcome) {
    let hint = undownloaded::hint(&outcome.output, outcome.ending);
    if let Some(hint) = hint.filter(|_| !exchange.is_local()) {
        exchange.terminal.say(hint);
    }
}

/// Says on which port of the server a program listens, unless it is forwarded.
fn tell_port(exchange: &Exchange<'_>, port: u16) {
    if !exchange.prepared.ports.leads_to(port) {
        exchange.terminal.say(&format!(
            "the program listens on port {port} of the server, not of this machine: `--forward \
             {port}` forwards it"
        ));
    }
}

/// Names what is too large to be fetched.
fn warn_not_fetched(exchange: &Exchange<'_>, told: FromAgent) {
    let named = &exchange.prepared.plan.returns.paths;
    let is_named = |path: &RelativePath| named.iter().any(|named| path.is_within(named));
    exchange.terminal.warn(&match told {
        FromAgent::Withheld { path, .. } if is_named(&path) => return,
        FromAgent::Withheld { path, size } => format!(
            "`{}` was changed by the run and is not fetched ({}): results of a run have at most 64 \
             MiB each and 256 MiB in all; it stays in the agent's copy, and `--fetch` with its path \
             brings it",
            path.absolute().display(),
            bytes(size)
        ),
        FromAgent::LargeTestFiles { bytes: size } => format!(
            "the files that tests have left in `{}` are not fetched ({}): `--fetch` with that path \
             brings them",
            exchange.prepared.workspace.target_directory.join("tmp").display(),
            bytes(size)
        ),
        _ => return,
    });
}

/// Names what a run has left and the agent cannot read.
fn warn_unreadable(terminal: &Terminal, errors: &[String], others: u64) {
    for error in errors {
        terminal.warn(&format!("the agent passes over what a run has left: {error}"));
    }
    if others > 0 {
        terminal.warn(&format!("the agent passes over {others} more"));
    }
}

/// Shows a notice unless it was shown before on this machine.
fn notify_once(exchange: &Exchange<'_>, notice: &str) {
    let marker = format!("noticed-{}", &Digest::of(notice.as_bytes()).to_hex()[..16]);
    let marker = exchange.state.join(marker);
    if !marker.exists() {
        exchange.terminal.warn(notice);
        // Without the marker it is shown once more.
        drop(std::fs::File::create(marker));
    }
}

/// Remembers the tree that the agent holds now, and small contents as bases of later
/// patches. Afterwards another command can use the contents.
fn remember(
    exchange: &Exchange<'_>,
    state: &mut WorkspaceState,
    news: Option<News>,
) -> Result<(), Error> {
    if let Some(News { changes, contents }) = news {
        let sources = exchange.sources;
        state.save_sent(&sources.tree)?;
        if let Some(mut contents) = contents {
            let changes = changes.unwrap_or_else(|| Directory::new().changes_to(&sources.tree));
            upload::remember(sources, &changes, &mut contents.blobs).map_err(unreadable)?;
        }
    }
    state.save()
}
