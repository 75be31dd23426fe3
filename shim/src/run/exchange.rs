//! What the states of an exchange share. An exchange is one stream's conversation with the
//! agent, as a sequence of states:
//!
//! ```text
//! Syncing --sync--> Synced --follow--> Ended --fetch--> Exchanged
//! ```
//!
//! Each state owns what the next one needs, so no step can be left out or repeated. None
//! of them decides when an exchange is tried again, or how it is summed up: that is the
//! session's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use burst_protocol::RelativePath;
use burst_protocol::budget::{Budget, TooMany};
use burst_protocol::message::{Artifact, Ending, FromAgent, NamedLink, Timestamp};
use burst_protocol::tree::Change;
use burst_sync::SyncError;
use burst_sync::wire::{Incoming, Outgoing};
use tokio::runtime::Handle;

use super::opened_page::OpeningLine;
use super::output_tail::OutputTail;
use super::prepare::Prepared;
use crate::agent::reached::ReachedAgent;
use crate::error::Error;
use crate::terminal::Terminal;
use crate::terminal::signals::Signals;
use crate::transfer::error::confused;
use crate::transfer::taken::Unconfirmed;
use crate::transfer::whole_target::Offered;
use crate::workspace::sources::Sources;

/// What an exchange works with. It stays the same while the states change.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    /// Prints messages, progress and results.
    pub(super) terminal: &'a Terminal,
    /// Receives signals while cargo runs.
    pub(super) signals: &'a Signals,
    /// The working directory of the command.
    pub(super) directory: &'a Path,
    /// The directory that remembers which notices were shown and which runs are detached.
    pub(super) state: &'a Path,
    /// The number of the run, if it is detached.
    pub(super) detached: Option<u32>,
    /// Workspace, settings and plan.
    pub(super) prepared: &'a Prepared,
    /// The way to the agent.
    pub(super) reached: &'a ReachedAgent,
    /// The state of the workspace that cargo is to see.
    pub(super) sources: &'a Sources,
    /// What stopped commands have taken.
    pub(super) taken: &'a Unconfirmed,
    /// Runs the network.
    pub(super) runtime: &'a Handle,
}

/// What came of an exchange.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// How cargo ended.
    pub(super) ending: Ending,
    /// The end of its output.
    pub(super) output: OutputTail,
    /// How long its parts took.
    pub(super) timing: Timing,
    /// The page of the documentation to open.
    pub(super) page: Option<PathBuf>,
    /// Whether the results have changed files that run code here.
    pub(super) changes_code: bool,
    /// The limit that has ended the run.
    pub(super) limit: Option<String>,
}

/// What a run left behind, as the agent tells it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Source files that the run changed, made or removed.
    pub(super) changes: Vec<Change>,
    /// Files of the target directory that can be fetched.
    pub(super) artifacts: Vec<Artifact>,
    /// Files of the workspace that were named to be fetched.
    pub(super) named: Vec<Artifact>,
    /// Symbolic links at and below what was named, below `/`.
    pub(super) links: Vec<NamedLink>,
    /// Paths that were named and do not exist there, below `/`.
    pub(super) missing: Vec<RelativePath>,
    /// The whole target directory, if it was requested.
    pub(super) whole: Offered,
    /// When the run began, by the agent's clock; none if no cargo ran.
    pub(super) began: Option<Timestamp>,
    /// What cargo says that it opens.
    pub(super) opening: OpeningLine,
    /// How cargo ended.
    pub(super) ending: Ending,
    /// The processor time of cargo and its programs, if it was told.
    pub(super) cpu: Option<Duration>,
    /// The end of its output.
    pub(super) output: OutputTail,
    /// The limit that has ended the run.
    pub(super) limit: Option<String>,
}

/// How long the parts of an exchange took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    /// From the agent's arrival until its tree was as needed.
    pub(super) sync: Duration,
    /// From then until cargo had ended.
    pub(super) run: Duration,
    /// The processor time of cargo and its programs; `None` if the agent has not told it.
    pub(super) cpu: Option<Duration>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
            artifacts: Vec::new(),
            named: Vec::new(),
            links: Vec::new(),
            missing: Vec::new(),
            whole: Offered::default(),
            began: None,
            opening: OpeningLine::default(),
            ending: Ending::Exited(0),
            output: OutputTail::default(),
            limit: None,
            cpu: None,
        }
    }
}

impl Outcome {
    /// Takes in a part of what the agent tells. Fails if that is more than an honest one would.
    pub(super) fn note(&mut self, told: FromAgent, budget: &mut Budget) -> Result<(), Error> {
        match told {
            FromAgent::Used { cpu_millis } => {
                let used = self.cpu.unwrap_or_default();
                self.cpu = Some(used.saturating_add(Duration::from_millis(cpu_millis)));
            }
            FromAgent::Changed(more) => {
                more.iter()
                    .try_for_each(|change| budget.change(change.path()))
                    .map_err(too_many)?;
                self.changes.extend(more);
            }
            FromAgent::Artifacts(more) => {
                count(more.iter().map(|file| &file.path), budget)?;
                self.artifacts.extend(more);
            }
            FromAgent::NamedFiles(more) => {
                count(more.iter().map(|file| &file.path), budget)?;
                self.named.extend(more);
            }
            FromAgent::TargetFiles(more) => {
                count(more.iter().map(|file| &file.path), budget)?;
                self.whole.changed.extend(more);
            }
            FromAgent::TargetGone(more) => {
                count(more.iter(), budget)?;
                self.whole.gone.extend(more);
            }
            FromAgent::NamedLinks(more) => {
                count(more.iter().map(|link| &link.path), budget)?;
                self.links.extend(more);
            }
            FromAgent::Missing(paths) => self.missing = paths,
            FromAgent::TargetListed(listed) => self.whole.listed = Some(listed),
            other => return Err(out_of_turn(&other)),
        }
        Ok(())
    }
}

impl Exchange<'_> {
    /// Whether the agent is on this machine, and no server.
    pub(super) fn is_local(&self) -> bool {
        !self.reached.is_remote() && self.reached.connection.is_local()
    }
}

/// Counts files that are listed.
fn count<'a>(
    mut paths: impl Iterator<Item = &'a RelativePath>,
    budget: &mut Budget,
) -> Result<(), Error> {
    paths.try_for_each(|path| budget.file(path)).map_err(too_many)
}

/// The error of an agent that lists more than an honest one would.
fn too_many(error: TooMany) -> Error {
    confused(&SyncError::violation(error.to_string()))
}

/// Ends the stream once the agent has everything. Returns whether its answer says so.
pub(super) fn finish(mut incoming: Incoming, outgoing: Outgoing) -> bool {
    drop(outgoing);
    matches!(incoming.message(), Ok(FromAgent::Done))
}

/// The error of a message that the protocol does not allow in this state.
pub(super) fn out_of_turn(message: &FromAgent) -> Error {
    confused(&SyncError::out_of_turn(message))
}
