//! The first state of an exchange: the request is sent, and the agent's tree is brought
//! to the state that cargo is to see.
//!
//! While a thread sends the request and what differs, the agent is already listened to:
//! it may have to wait for another run, or may refuse.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use burst_protocol::RelativePath;
use burst_protocol::hello::Preface;
use burst_protocol::limit::CHANGES_PER_MESSAGE_MAX;
use burst_protocol::message::{ClientProcess, FromAgent, FromShim, RunRequest, Want};
use burst_protocol::tree::{Change, Directory};
use burst_sync::SyncError;
use burst_sync::pack::PackStore;
use burst_sync::tally::Tally;
use burst_sync::wire::{Incoming, Outgoing};

use super::base::Base;
use super::exchange::{Exchange, out_of_turn};
use super::forwarding;
use super::prepare::Prepared;
use super::running::{Begun, News, Synced};
use super::waiting;
use super::waiting::title;
use crate::connection::{Peer, Stream, VERSION};
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::settings::Compression;
use crate::terminal::{bytes, seconds, signals, streams};
use crate::transfer::error::{Phase, agent_failed, lost, not_sent};
use crate::transfer::upload::Upload;
use crate::transfer::whole_target;
use crate::workspace::conflicts::Conflicts;
use crate::workspace::error::unreadable;
use crate::workspace::identity::identity;
use crate::workspace::sources::below_root;
use crate::workspace::state::{Contents, ResultCount, WorkspaceState};

/// The step of the sync, as progress names it.
const SYNCING: &str = "syncing";

/// An exchange whose request is still to be sent.
pub(super) struct Syncing<'a> {
    exchange: Exchange<'a>,
    incoming: Incoming,
    outgoing: Outgoing,
    peer: Peer,
    base: Base,
    changes: Option<Vec<Change>>,
    contents: Option<Contents>,
    request: RunRequest,
    /// The directory of the workspace's records, and the paths in them that are free now.
    freed: (PathBuf, Vec<RelativePath>),
    /// The results that the scan has seen, if the workspace may be scanned again.
    seen: Option<ResultCount>,
}

/// Why a sync ended early.
enum Stop {
    /// The connection is at fault, or of no further use.
    Connection(Error),
    /// Only this request has failed.
    Request(Error),
}

impl<'a> Syncing<'a> {
    /// Decides what to send. Of a server that was never talked to it is assumed that it
    /// holds nothing: then everything can be sent, and compressed, before it is there.
    pub(super) fn new(
        exchange: Exchange<'a>,
        state: &WorkspaceState,
        stream: Stream,
        may_scan_again: bool,
    ) -> Result<Self, Error> {
        let tree = &exchange.sources.tree;
        let is_new_server = exchange.reached.is_remote();
        let base = Base::decide(tree.digest(), state.base_root(), || state.base(), is_new_server);
        let seen = may_scan_again.then(|| state.results().clone());
        // After the base was read: one that results have made of another is never compared
        // with a scan from before them.
        is_current(seen.as_ref())?;
        let changes = base.tree().map(|base| base.changes_to(tree));
        tracing::debug!(
            base = ?base.digest(),
            root = ?tree.digest(),
            changes = changes.as_ref().map(Vec::len),
            "request"
        );
        // Only a difference needs the contents of last time, or changes them.
        let contents = if base.is_current() { None } else { state.contents()? };
        let target = &exchange.prepared.workspace.target_directory;
        // In this order: another command notes a directory after it has created it.
        let fresh_target = state.had_target(target) && !target.exists();
        let root = &exchange.prepared.workspace.root;
        let mut freed = Conflicts::read(state.directory()).freed(root);
        freed.truncate(CHANGES_PER_MESSAGE_MAX);
        let mut request = request(&exchange, &base, changes.is_some(), fresh_target, &freed)?;
        if let Some(whole) = &mut request.returns.whole {
            whole.base = whole_target::held_digest(state.directory(), target);
        }
        let freed = (state.directory().to_owned(), freed);
        let Stream { incoming, outgoing, peer, .. } = stream;
        Ok(Self {
            exchange,
            incoming,
            outgoing,
            peer,
            base,
            changes,
            contents,
            request,
            freed,
            seen,
        })
    }

    /// Sends the request, and serves the agent until its tree is as needed.
    pub(super) fn sync(self) -> Result<Synced<'a>, Error> {
        let Self {
            exchange,
            mut incoming,
            outgoing,
            peer,
            base,
            changes,
            mut contents,
            request,
            freed: (records, freed),
            seen,
        } = self;
        let reached = exchange.reached;
        let control = request.terminal.control;
        let tally = Arc::new(Tally::default());
        if !reached.is_remote() || reached.ready().is_some() {
            exchange.terminal.begin_tallied(SYNCING, &tally);
        }
        let upload = Upload::new(exchange.sources, &outgoing, request.compress_large, &tally);
        let difference = changes.as_deref().zip(base.tree());
        let served = std::thread::scope(|scope| {
            let blobs = contents.as_mut().map(|contents| &mut contents.blobs);
            let sending = scope.spawn(|| send(request, difference, blobs, &outgoing, upload));
            let served = arrival(&exchange, &tally).and_then(|began| {
                let welcomed = peer.welcome(&mut incoming);
                welcomed.map_err(|error| Stop::Connection(error.into()))?;
                serve(&exchange, Sending::Running(sending), &mut incoming, seen.as_ref())?;
                Ok(began)
            });
            if let Err(Stop::Connection(_)) = &served {
                // Ends the sending thread, which may wait for room on the stream.
                reached.connection.abort();
            }
            served
        });
        let began = match served {
            Ok(began) => began,
            Err(Stop::Connection(error) | Stop::Request(error)) => return Err(error),
        };
        let took = began.elapsed();
        exchange.taken.confirm();
        // If this fails, the agent is told once more.
        drop(Conflicts::forget(&records, &freed));
        exchange.terminal.detail(&format!(
            "synced in {}, {} sent",
            seconds(took),
            bytes(outgoing.traffic().sent())
        ));
        let news = (!base.is_current()).then_some(News { changes, contents });
        Ok(Synced::new(exchange, incoming, outgoing, Begun { news, control, sync: took }))
    }
}

/// Fails if results of another command have come since the scan: cargo is to see them.
fn is_current(seen: Option<&ResultCount>) -> Result<(), Error> {
    match seen {
        Some(seen) if seen.is_outdated() => Err(Error::new(
            ErrorKind::WorkspaceChanged,
            "another command has brought results since the workspace was read",
            "run the command again",
        )),
        _ => Ok(()),
    }
}

/// Waits for a server that is still booting. Returns when the sync began: when the agent
/// was there.
fn arrival(exchange: &Exchange<'_>, tally: &Arc<Tally>) -> Result<Instant, Stop> {
    if let Some(route) = exchange.reached.connection.keeper()
        && route.ready().is_none()
    {
        route.wait().map_err(Stop::Connection)?;
        exchange.terminal.begin_tallied(SYNCING, tally);
    }
    Ok(Instant::now())
}

/// The upload: under way on its thread, or complete.
enum Sending<'scope, 'a> {
    Running(ScopedJoinHandle<'scope, (Upload<'a>, Result<(), SyncError>)>),
    Complete(Upload<'a>),
}

impl<'a> Sending<'_, 'a> {
    /// Waits until all of it is queued.
    fn complete(self) -> Result<Upload<'a>, Stop> {
        let sending = match self {
            Self::Complete(upload) => return Ok(upload),
            Self::Running(sending) => sending,
        };
        match sending.join() {
            // An agent that reads no more says why.
            Ok((upload, Ok(()) | Err(SyncError::Gone))) => Ok(upload),
            Ok((_, Err(error))) => Err(stop(error)),
            Err(_) => Err(Stop::Connection(lost(&SyncError::Gone, Phase::Sync))),
        }
    }
}

/// Only a file that changed leaves the connection usable: the request is repeated on it.
fn stop(error: SyncError) -> Stop {
    let repeatable = matches!(error, SyncError::Changed(_));
    let error = not_sent(error);
    if repeatable { Stop::Request(error) } else { Stop::Connection(error) }
}

/// Sends the first flight: hello, request, and the difference where the base is known.
fn send<'a>(
    request: RunRequest,
    difference: Option<(&[Change], &Directory)>,
    blobs: Option<&mut PackStore>,
    outgoing: &Outgoing,
    mut upload: Upload<'a>,
) -> (Upload<'a>, Result<(), SyncError>) {
    let send = || {
        outgoing.preface(&Preface::hello(VERSION))?;
        outgoing.message(&FromShim::Run(Box::new(request)))?;
        match difference {
            Some((changes, base)) => upload.offer(changes, base, blobs),
            None => Ok(()),
        }
    };
    let sent = send();
    if !matches!(sent, Ok(()) | Err(SyncError::Gone)) {
        // The protocol has no "never mind": a message out of turn makes the agent give up
        // this request and answer.
        drop(outgoing.message(&FromShim::Done));
    }
    (upload, sent)
}

/// Serves what the agent lacks until its tree is as needed.
fn serve(
    exchange: &Exchange<'_>,
    mut sending: Sending<'_, '_>,
    incoming: &mut Incoming,
    seen: Option<&ResultCount>,
) -> Result<(), Stop> {
    let terminal = exchange.terminal;
    loop {
        let message = incoming.message();
        match message.map_err(|error| Stop::Connection(lost(&error, Phase::Sync)))? {
            FromAgent::Waiting { holder } => waiting::wait_for(exchange, &holder),
            FromAgent::Working => {}
            FromAgent::Want(want) => {
                tracing::debug!(want = want_name(&want), "the agent lacks something");
                // The agent asks only when it has read the first flight to its end.
                let mut upload = sending.complete()?;
                // It asks if its tree is not the one that was remembered here.
                is_current(seen).map_err(Stop::Request)?;
                let answered = upload.answer(&want);
                sending = Sending::Complete(upload);
                match answered {
                    Ok(()) | Err(SyncError::Gone) => {}
                    Err(error) => return Err(stop(error)),
                }
            }
            FromAgent::Synced { written, removed } => {
                sending.complete()?;
                terminal.quiet();
                terminal.detail(&format!("synced: {written} written, {removed} removed"));
                return Ok(());
            }
            FromAgent::Failed(failure) => {
                // If it failed because we stopped sending, our reason is the reason.
                sending.complete()?;
                return Err(Stop::Request(agent_failed(failure, Phase::Sync)));
            }
            other => return Err(Stop::Connection(out_of_turn(&other))),
        }
    }
}

/// The kind of a request of the agent, for the log.
const fn want_name(want: &Want) -> &'static str {
    match want {
        Want::Everything => "everything",
        Want::DirectoryObjects(_) => "directory objects",
        Want::Blobs(_) => "blobs",
    }
}

fn request(
    exchange: &Exchange<'_>,
    base: &Base,
    offers_changes: bool,
    fresh_target: bool,
    freed: &[RelativePath],
) -> Result<RunRequest, Error> {
    let Prepared { workspace, settings, plan, environment: named, .. } = exchange.prepared;
    let sources = exchange.sources;
    let is_local = exchange.is_local();
    let mut variables = if is_local { forwarding::of_this_shell() } else { Vec::new() };
    variables.extend(named.iter().cloned());
    let compress_large = match settings.compression {
        Compression::Auto => !is_local,
        Compression::Always => true,
        Compression::Never => false,
    };
    Ok(RunRequest {
        project: sources.project.clone(),
        device: exchange.reached.device.clone(),
        cargo_home: environment::cargo_home().and_then(|home| below_root(&home).ok()),
        mounts: sources.mounts.clone(),
        target_directory: below_root(&workspace.target_directory).map_err(unreadable)?,
        names_target_directory: workspace.target_by_variable,
        build_directory: workspace
            .build_directory
            .as_deref()
            .map(below_root)
            .transpose()
            .map_err(unreadable)?,
        working_directory: working_directory(exchange.directory)?,
        base: base.digest(),
        root: sources.tree.digest(),
        offers_changes,
        invocations: plan.invocations.clone(),
        environment: variables,
        toolchain: environment::toolchain(),
        terminal: streams::describe(plan.sends_input, plan.has_programs),
        sends_input: plan.sends_input,
        returns: plan.returns.clone(),
        compress_large,
        keep_alive_secs: Some(exchange.prepared.keep_alive.as_secs()),
        title: title(&plan.invocations, exchange.detached),
        fresh_target,
        taken: exchange.taken.changes.clone(),
        freed: freed.iter().filter_map(|path| sources.project.join_path(path).ok()).collect(),
        workspace: identity(&workspace.root),
        umask: umask().unwrap_or(0o022),
        client: if is_local { this_process() } else { None },
        reports_ports: plan.reports_ports && !is_local,
        ignored_signals: signals::ignored().to_vec(),
    })
}

/// The working directory below `/`, unless it is that.
fn working_directory(directory: &Path) -> Result<Option<RelativePath>, Error> {
    let is_root = directory.parent().is_none();
    (!is_root).then(|| below_root(directory)).transpose().map_err(unreadable)
}

/// The umask of this process, which cannot be read without setting it but here.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// This process, so that the agent notices at once when it ends.
fn this_process() -> Option<ClientProcess> {
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some(ClientProcess { pid: std::process::id(), namespace })
}
