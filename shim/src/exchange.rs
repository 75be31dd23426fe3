//! One stream's worth of talking: the request and what differs, the agent's wants,
//! cargo's words, the results.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use burst_protocol::hello::Preface;
use burst_protocol::limit::OUTPUT_WINDOW_BYTES;
use burst_protocol::message::{
    Artifact, Ending, FromAgent, FromShim, Invocation, RunRequest, Terminal as TerminalInfo,
};
use burst_protocol::tree::{Change, Directory};
use burst_protocol::{ByteBuf, Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::flow_control::ReceivedCredit;
use burst_sync::ignore_rules::IgnoreRules;
use burst_sync::pack::PackStore;
use burst_sync::stat_cache::StatCache;
use burst_sync::wire::{Incoming, Outgoing};
use rustix::termios::isatty;

use crate::connection::{Stream, VERSION};
use crate::environment;
use crate::failure::Failure;
use crate::input;
use crate::offer::{self, Sending};
use crate::plan::Plan;
use crate::provider::Reached;
use crate::returns::{Returned, Returns, base_after};
use crate::session::Session;
use crate::settings::{Compression, Settings};
use crate::signals::{Signals, window_size};
use crate::sources::{Sources, below_root};
use crate::state::WorkspaceState;
use crate::terminal::{bytes, seconds};
use crate::workspace::{self, Workspace};

/// What a run has told at its end.
#[derive(Debug, Default)]
struct Outcome {
    changes: Vec<Change>,
    artifacts: Vec<Artifact>,
    ending: Option<Ending>,
}

/// All that stays the same if a sync has to begin again.
pub(crate) struct Prepared {
    pub(crate) workspace: Workspace,
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) environment: Vec<(ByteBuf, ByteBuf)>,
    pub(crate) keep_alive_secs: u64,
}

/// One stream's worth of talking.
pub(crate) struct Exchange<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) prepared: &'a Prepared,
    pub(crate) reached: &'a Reached,
    pub(crate) signals: &'a Signals,
    pub(crate) sources: &'a Sources,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Of the sync.
    pub(crate) sync: Duration,
    /// Of cargo.
    pub(crate) run: Duration,
}

impl Exchange<'_> {
    pub(crate) fn perform(
        &self,
        state: &mut WorkspaceState,
        stream: Stream,
    ) -> Result<Ending, Failure> {
        let Stream { mut incoming, outgoing, .. } = stream;
        let lost = |started| move |source| Failure::Lost { started, source };
        let terminal = self.session.terminal;
        let root = self.sources.tree.digest();
        // Of a server that we have never spoken to we assume that it holds nothing: then
        // all of it can be said at once, and compressed before the server is there.
        let nothing = Directory::new();
        let is_first = state.base_root().is_none() && self.reached.is_remote();
        let base_root = state.base_root().or_else(|| is_first.then(|| nothing.digest()));
        let base = match base_root {
            Some(_) if is_first => Some(nothing),
            Some(base_root) if base_root != root => state.base(),
            _ => None,
        };
        let changes = base.as_ref().map(|base| base.changes_to(&self.sources.tree));
        let mut began = Instant::now();
        if !self.reached.is_remote() || self.reached.ready().is_some() {
            terminal.begin("syncing");
        }
        let request = self.request(base_root, root, changes.is_some())?;
        // Only what differs needs the contents of last time, or changes them.
        let is_new = base_root != Some(root);
        let mut blobs = if is_new { Some(state.blobs()?) } else { None };
        let sending = Sending::new(self.sources, &outgoing, request.compress_large);
        let differs = changes.as_deref().zip(base.as_ref());
        // The agent is heard while we speak: it may have to say that it waits for
        // another run, or that it gives up.
        std::thread::scope(|scope| {
            let blobs = blobs.as_mut();
            let speaking = scope.spawn(|| speak(request, differs, blobs, &outgoing, sending));
            let heard = self
                .until_there(&mut began)
                .and_then(|()| self.reached.connection.welcome(&mut incoming))
                .and_then(|()| self.serve_wants(Speaking::Still(speaking), &mut incoming));
            if let Err(failure) = &heard
                && !failure.leaves_connection()
            {
                // Whatever is still being said, nobody will hear it.
                self.reached.connection.abandon();
            }
            heard
        })?;
        terminal.detail(&format!(
            "synced in {}, {} sent",
            seconds(began.elapsed()),
            bytes(outgoing.traffic().sent())
        ));
        let synced = began.elapsed();
        let running = Instant::now();
        self.signals.forward_to(outgoing.clone());
        // What the agent holds is remembered while cargo runs.
        let outcome = std::thread::scope(|scope| {
            let remembering = scope.spawn(|| self.remember(state, base.as_ref(), blobs.as_mut()));
            let outcome = self.follow(&mut incoming, &outgoing);
            remembering.join().unwrap_or(Ok(())).and(outcome)
        })?;
        self.session.took(Timing { sync: synced, run: running.elapsed() });
        let returned = self.take_back(state, &outcome, &mut incoming, &outgoing)?;
        self.settle(state, &outcome, &returned)?;
        self.signals.stop_forwarding();
        let traffic = outgoing.traffic();
        terminal.detail(&format!(
            "stream: {} bytes sent, {} bytes received",
            traffic.sent(),
            traffic.received()
        ));
        drop(outgoing);
        // The agent has heard everything when it answers; how the stream ends
        // does not matter.
        drop(incoming.message::<FromAgent>());
        outcome.ending.ok_or_else(|| lost(true)(SyncError::Gone))
    }

    /// Waits for a server that is still to come; the sync begins when it is there.
    fn until_there(&self, began: &mut Instant) -> Result<(), Failure> {
        match self.reached.connection.route() {
            Some(route) if route.ready().is_none() => {
                route.wait()?;
                *began = Instant::now();
                self.session.terminal.begin("syncing");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the agent is on this machine.
    fn is_local(&self) -> bool {
        !self.reached.is_remote() && self.reached.connection.is_local()
    }

    /// Gives the agent what it wants until its tree is as ours.
    fn serve_wants(
        &self,
        mut speaking: Speaking<'_, '_>,
        incoming: &mut Incoming,
    ) -> Result<(), Failure> {
        let terminal = self.session.terminal;
        let lost = |source| Failure::Lost { started: false, source };
        loop {
            match incoming.message().map_err(lost)? {
                FromAgent::Waiting { holder } => {
                    terminal.begin(format!("waiting for `{holder}` in this project"));
                    terminal.say(&format!("waiting for `{holder}`, which runs in this project"));
                }
                FromAgent::Want(want) => {
                    // It wants something only when it has heard the offer to its end.
                    let mut sending = speaking.done()?;
                    let answered = sending.answer(&want);
                    speaking = Speaking::Done(sending);
                    match answered {
                        Ok(()) | Err(SyncError::Gone) => {}
                        Err(error) => return Err(local(error)),
                    }
                }
                FromAgent::Synced { written, removed } => {
                    speaking.done()?;
                    terminal.quiet();
                    terminal.detail(&format!("synced: {written} written, {removed} removed"));
                    return Ok(());
                }
                FromAgent::Failed(failure) => {
                    // If it failed because we broke off, our reason is the reason.
                    speaking.done()?;
                    return Err(Failure::Agent(failure));
                }
                other => return Err(lost(SyncError::out_of_turn(&other))),
            }
        }
    }

    fn request(
        &self,
        base: Option<Digest>,
        root: Digest,
        offers_changes: bool,
    ) -> Result<RunRequest, Failure> {
        let Prepared { workspace, settings, plan, environment: named, .. } = self.prepared;
        let tty = |stream: rustix::fd::BorrowedFd<'_>| isatty(stream);
        let terminal = TerminalInfo {
            input: tty(rustix::stdio::stdin()),
            output: tty(rustix::stdio::stdout()),
            error: tty(rustix::stdio::stderr()),
            name: std::env::var("TERM").ok(),
            size: window_size(),
        };
        let mut variables = Vec::new();
        if self.is_local() {
            variables = environment::of_this_shell();
        }
        variables.extend(named.iter().cloned());
        let compress_large = match settings.compression {
            Compression::Auto => !self.is_local(),
            Compression::Always => true,
            Compression::Never => false,
        };
        Ok(RunRequest {
            project: self.sources.project.clone(),
            device: self.reached.device.clone(),
            cargo_home: workspace::cargo_home().and_then(|home| below_root(&home).ok()),
            mounts: self.sources.mounts.clone(),
            target_directory: below_root(&workspace.target_directory)
                .map_err(Failure::Workspace)?,
            names_target_directory: workspace.target_by_variable,
            working_directory: below_root(&self.session.directory).map_err(Failure::Workspace)?,
            base,
            root,
            offers_changes,
            invocations: plan.invocations.clone(),
            environment: variables,
            toolchain: std::env::var("RUSTUP_TOOLCHAIN").ok(),
            terminal,
            sends_input: plan.sends_input,
            returns: plan.returns,
            compress_large,
            keep_alive_secs: Some(self.prepared.keep_alive_secs),
            title: title(&plan.invocations),
        })
    }

    /// Follows the run to its end.
    fn follow(&self, incoming: &mut Incoming, outgoing: &Outgoing) -> Result<Outcome, Failure> {
        let terminal = self.session.terminal;
        let mut outcome = Outcome::default();
        let mut window = None;
        let mut taken = ReceivedCredit::of(OUTPUT_WINDOW_BYTES);
        loop {
            let lost = |source| Failure::Lost { started: true, source };
            match incoming.message().map_err(lost)? {
                FromAgent::Started { notice } => {
                    if let Some(notice) = notice {
                        self.notify_once(&notice);
                    }
                    if self.prepared.plan.sends_input {
                        window = Some(input::forward(outgoing.clone()));
                    }
                }
                FromAgent::Output { stream, bytes } => {
                    if let Err(error) = terminal.pass_on(stream, &bytes) {
                        // Nobody reads any more: cargo would be ended by that, too.
                        drop(outgoing.message(&FromShim::Kill));
                        return Err(Failure::Output(error));
                    }
                    if let Some(cost) = taken.add(bytes.len()) {
                        // A connection that is lost is noticed by what comes next.
                        drop(outgoing.message(&FromShim::OutputCredit(cost)));
                    }
                }
                FromAgent::InputCredit(cost) => {
                    if let Some(window) = &window {
                        window.credit(cost);
                    }
                }
                FromAgent::Changed(changes) => outcome.changes.extend(changes),
                FromAgent::Artifacts(artifacts) => outcome.artifacts.extend(artifacts),
                FromAgent::Withheld { path, size } => terminal.warn(&format!(
                    "the run made `{}` ({}): too large to bring back",
                    burst_protocol::path::display(&path.absolute()),
                    bytes(size)
                )),
                FromAgent::Finished(ending) => {
                    outcome.ending = Some(ending);
                    return Ok(outcome);
                }
                FromAgent::Failed(failure) => return Err(Failure::Agent(failure)),
                other => return Err(lost(SyncError::out_of_turn(&other))),
            }
        }
    }

    /// Shows a notice if it was not shown before.
    fn notify_once(&self, notice: &str) {
        let marker = self.session.directories.state.join("noticed-plain");
        if !marker.exists() {
            self.session.terminal.warn(notice);
            // Without the marker it is merely shown again.
            drop(std::fs::write(marker, b""));
        }
    }

    /// Remembers what the agent holds now; `contents` are given if that is new.
    fn remember(
        &self,
        state: &mut WorkspaceState,
        base: Option<&Directory>,
        blobs: Option<&mut PackStore>,
    ) -> Result<(), Failure> {
        if let Some(blobs) = blobs {
            state.save_base(&self.sources.tree)?;
            let empty = Directory::new();
            let changes = base.unwrap_or(&empty).changes_to(&self.sources.tree);
            offer::remember(self.sources, &changes, blobs).map_err(Failure::Workspace)?;
        }
        state.save()
    }

    /// Brings the results here.
    fn take_back(
        &self,
        state: &WorkspaceState,
        outcome: &Outcome,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> Result<Returned, Failure> {
        let workspace = &self.prepared.workspace;
        let unexclude = &self.prepared.settings.unexclude;
        // Most runs change no source file, and need no rules.
        let rules =
            LazyCell::new(|| IgnoreRules::new(&workspace.root, unexclude, &[], HashSet::new()).0);
        let excluded = |path: &RelativePath| rules.is_default_excluded(path);
        let mut cache = StatCache::load(&state.returned_path());
        let mut returns =
            Returns::new(self.sources, &workspace.root, &excluded).map_err(Failure::Results)?;
        returns.changes(&outcome.changes).map_err(Failure::Results)?;
        returns
            .artifacts(&workspace.target_directory, &outcome.artifacts, &mut cache)
            .map_err(Failure::Results)?;
        let wanted = returns.wanted_bytes();
        if wanted > 0 {
            self.session.terminal.begin(format!("bringing back {}", bytes(wanted)));
        }
        let returned = returns.fetch(incoming, outgoing).map_err(Failure::Results)?;
        self.session.terminal.quiet();
        for note in &returned.notes {
            self.session.terminal.warn(note);
        }
        self.session.terminal.detail(&format!("{} files brought back", returned.written));
        if cache.is_changed() {
            cache.save(&state.returned_path()).map_err(Failure::Workspace)?;
        }
        if self.prepared.plan.opens_docs && outcome.ending == Some(Ending::Exited(0)) {
            crate::open_docs::open(&workspace.target_directory.join("doc"), &outcome.artifacts);
        }
        Ok(returned)
    }

    /// Remembers what the return has changed on both ends.
    fn settle(
        &self,
        state: &mut WorkspaceState,
        outcome: &Outcome,
        returned: &Returned,
    ) -> Result<(), Failure> {
        if outcome.changes.is_empty() {
            return Ok(());
        }
        state.companions.extend(returned.made.iter().cloned());
        match base_after(&self.sources.tree, &outcome.changes, &returned.adopted) {
            Some(base) => state.save_base(&base)?,
            None => state.forget_base(),
        }
        state.save()
    }
}

/// Our side of the sync: the offer under way on its thread, or behind us.
enum Speaking<'scope, 'a> {
    Still(ScopedJoinHandle<'scope, (Sending<'a>, Result<(), SyncError>)>),
    Done(Sending<'a>),
}

impl<'a> Speaking<'_, 'a> {
    /// Waits for the end of the offer.
    fn done(self) -> Result<Sending<'a>, Failure> {
        let speaking = match self {
            Self::Done(sending) => return Ok(sending),
            Self::Still(speaking) => speaking,
        };
        let gone = Failure::Lost { started: false, source: SyncError::Gone };
        match speaking.join().map_err(|_| gone)? {
            // An agent that does not read any more says why.
            (sending, Ok(()) | Err(SyncError::Gone)) => Ok(sending),
            (_, Err(error)) => Err(local(error)),
        }
    }
}

/// Sends the first flight: who we are, what is wanted, and what differs, if the
/// agent's state is known.
fn speak<'a>(
    request: RunRequest,
    differs: Option<(&[Change], &Directory)>,
    blobs: Option<&mut PackStore>,
    outgoing: &Outgoing,
    mut sending: Sending<'a>,
) -> (Sending<'a>, Result<(), SyncError>) {
    let speak = || {
        outgoing.preface(&Preface::hello(VERSION))?;
        outgoing.message(&FromShim::Run(Box::new(request)))?;
        match differs {
            Some((changes, base)) => sending.offer(changes, base, blobs),
            None => Ok(()),
        }
    };
    let spoken = speak();
    if !matches!(spoken, Ok(()) | Err(SyncError::Gone)) {
        // A message that has no place here: the agent gives up and answers.
        drop(outgoing.message(&FromShim::Done));
    }
    (sending, spoken)
}

/// What stands in other users' "waiting for" lines.
fn title(invocations: &[Invocation]) -> String {
    const CHARACTERS_MAX: usize = 80;
    let Some(call) = invocations.first().and_then(|invocation| invocation.alternatives.first())
    else {
        return "cargo burst sync".to_owned();
    };
    let words: Vec<String> = call
        .arguments
        .iter()
        .filter(|word| !word.starts_with(b"--message-format=json-render"))
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    format!("cargo {}", words.join(" ")).chars().take(CHARACTERS_MAX).collect()
}

/// An error of reading or sending the workspace.
fn local(error: SyncError) -> Failure {
    match error {
        SyncError::Changed(_) => Failure::Restless(error),
        SyncError::Stream(_) | SyncError::Gone | SyncError::MissingBlob(_) => {
            Failure::Lost { started: false, source: error }
        }
        error => Failure::Workspace(error),
    }
}
