//! One `cargo burst VERB`, from the workspace to the exit code.
//!
//! The agent is reached while the workspace is scanned. One flight carries the
//! request and, if it is known what the agent holds, all that differs. Then the
//! agent has the word: it asks for what it lacks, passes on what cargo writes, and
//! in the end names what came of it.

use std::path::PathBuf;
use std::time::Instant;

use burst_protocol::hello::Preface;
use burst_protocol::message::{
    Artifact, Ending, FromAgent, FromShim, RunRequest, Step, Terminal as TerminalInfo,
};
use burst_protocol::tree::{Change, Directory};
use burst_protocol::{ByteBuf, Digest};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::IgnoreRules;
use burst_sync::stat_cache::StatCache;
use rustix::termios::isatty;
use tokio::runtime::Handle;

use crate::arguments::RunArguments;
use crate::connection::{Connection, Stream, VERSION};
use crate::environment;
use crate::failure::Failure;
use crate::input;
use crate::offer::{self, Sending};
use crate::plan::{self, Plan};
use crate::provider::local::{LocalProvider, NAME};
use crate::returns::{Returned, Returns, base_after};
use crate::settings::{Compression, Settings};
use crate::signals::{Signals, window_size};
use crate::sources::{Sources, below_root};
use crate::state::{Directories, WorkspaceState};
use crate::suggestion;
use crate::terminal::{Terminal, bytes, seconds};
use crate::workspace::Workspace;

/// How often a sync begins again because files change under its hands.
const ATTEMPTS_MAX: usize = 4;

/// What one command works with.
pub struct Session<'a> {
    /// Where cargo is called.
    pub directory: PathBuf,
    /// Who prints.
    pub terminal: &'a Terminal,
    /// The network's runtime.
    pub runtime: Handle,
    /// Ours.
    pub directories: Directories,
    /// What is asked for.
    pub run: &'a RunArguments,
}

/// What a run has told at its end.
#[derive(Debug, Default)]
struct Outcome {
    changes: Vec<Change>,
    artifacts: Vec<Artifact>,
    ending: Option<Ending>,
}

/// All that stays the same if a sync has to begin again.
struct Prepared {
    workspace: Workspace,
    settings: Settings,
    plan: Plan,
    environment: Vec<(ByteBuf, ByteBuf)>,
}

impl Session<'_> {
    /// Runs it.
    pub fn run(&self) -> Result<Ending, Failure> {
        let began = Instant::now();
        let signals = Signals::listen(&self.runtime);
        self.terminal.begin("looking at the workspace");
        let workspace = Workspace::find(&self.directory, &self.run.arguments)?;
        let variable = |name: &str| std::env::var(name).ok();
        let settings =
            Settings::load(&self.directories.config_home, Some(&workspace.root), variable)?;
        if settings.hetzner_token.is_some() {
            self.terminal.warn(
                "a Hetzner token is set, but this version has no Hetzner provider yet: \
                 running on this machine",
            );
        }
        let environment =
            environment::forwarded(self.terminal, &settings.forward_env, &self.run.flags.env);
        let has_library = workspace.has_library(&self.run.arguments);
        let plan = plan::plan(self.run, has_library);
        let provider = LocalProvider::new(&self.directories, settings.keep_alive_secs);
        let prepared = Prepared { workspace, settings, plan, environment };
        // The agent is reached while the workspace is scanned.
        let (reached, scanned) = std::thread::scope(|scope| {
            let reaching = scope.spawn(|| provider.reach(&self.runtime));
            let scanned = self.scan(&prepared);
            (reaching.join().unwrap_or(Err(Failure::AgentEnding)), scanned)
        });
        let (mut state, sources) = scanned?;
        let reached = reached?;
        if reached.started {
            self.terminal.say(
                "no Hetzner token, so cargo runs through an agent on this machine; with \
                 HCLOUD_TOKEN set it runs on a server",
            );
        }
        let exchanged =
            self.exchange(&prepared, &mut state, sources, &reached.connection, &signals);
        self.terminal.quiet();
        signals.stop_forwarding();
        if let Some(signal) = signals.insisted() {
            reached.connection.abandon();
            return Ok(Ending::Signaled(signal));
        }
        let traffic = reached.connection.datagram_bytes();
        match exchanged {
            Ok(ending) => {
                self.runtime.block_on(reached.connection.close());
                self.terminal.say(&format!(
                    "on this machine, {}, {} sent, {} received",
                    seconds(began.elapsed()),
                    bytes(traffic.0),
                    bytes(traffic.1)
                ));
                Ok(ending)
            }
            Err(failure) => {
                reached.connection.abandon();
                Err(failure)
            }
        }
    }

    fn scan(&self, prepared: &Prepared) -> Result<(WorkspaceState, Sources), Failure> {
        let root = &prepared.workspace.root;
        let mut state = WorkspaceState::load(&self.directories.cache, NAME, root)?;
        let mut sources = self.scan_once(prepared, &mut state)?;
        for warning in &sources.warnings {
            self.terminal.warn(&warning.0);
        }
        if state.base_root().is_none()
            && suggestion::suggest(self.terminal, &sources, root, self.run.flags.yes)?
        {
            // The settings have changed under us: read them again.
            let variable = |name: &str| std::env::var(name).ok();
            let settings = Settings::load(&self.directories.config_home, Some(root), variable)?;
            sources = self.scan_with(prepared, &settings, &mut state)?;
        }
        Ok((state, sources))
    }

    fn scan_once(
        &self,
        prepared: &Prepared,
        state: &mut WorkspaceState,
    ) -> Result<Sources, Failure> {
        self.scan_with(prepared, &prepared.settings, state)
    }

    fn scan_with(
        &self,
        prepared: &Prepared,
        settings: &Settings,
        state: &mut WorkspaceState,
    ) -> Result<Sources, Failure> {
        let began = Instant::now();
        let now = Moment::coarse_now();
        let sources = Sources::scan(&prepared.workspace, settings, state, &self.directory, now)
            .map_err(|error| match error {
                SyncError::Changed(_) => Failure::Restless(error),
                error => Failure::Workspace(error),
            })?;
        self.terminal.detail(&format!(
            "scanned {} files in {}",
            state.scanned.len(),
            seconds(began.elapsed())
        ));
        if sources.special > 0 {
            let count = sources.special;
            self.terminal.detail(&format!("{count} sockets, pipes and devices are not sent"));
        }
        Ok(sources)
    }

    /// Syncs and runs; if files change while they are sent, from the scan on
    /// anew; if what we believe about the agent is wrong, without belief.
    fn exchange(
        &self,
        prepared: &Prepared,
        state: &mut WorkspaceState,
        first: Sources,
        connection: &Connection,
        signals: &Signals,
    ) -> Result<Ending, Failure> {
        let mut sources = first;
        for attempt in 1.. {
            let stream = self.runtime.block_on(connection.stream())?;
            let exchange =
                Exchange { session: self, prepared, connection, signals, sources: &sources };
            match exchange.perform(state, stream) {
                Err(Failure::Restless(_)) if attempt < ATTEMPTS_MAX => {
                    self.terminal.detail("a file changed while it was sent: again");
                    sources = self.scan_once(prepared, state)?;
                }
                Err(Failure::Agent(failure))
                    if attempt < ATTEMPTS_MAX
                        && failure.kind == burst_protocol::message::FailureKind::Corrupt =>
                {
                    self.terminal.detail(&failure.messages.join(": "));
                    state.forget_base();
                }
                other => return other,
            }
        }
        Err(Failure::AgentEnding)
    }
}

/// One stream's worth of talking.
struct Exchange<'a> {
    session: &'a Session<'a>,
    prepared: &'a Prepared,
    connection: &'a Connection,
    signals: &'a Signals,
    sources: &'a Sources,
}

impl Exchange<'_> {
    fn perform(&self, state: &mut WorkspaceState, stream: Stream) -> Result<Ending, Failure> {
        let Stream { mut incoming, outgoing, .. } = stream;
        let lost = |started| move |source| Failure::Lost { started, source };
        let terminal = self.session.terminal;
        let root = self.sources.tree.digest();
        let base_root = state.base_root();
        let base = match base_root {
            Some(base_root) if base_root != root => state.base(),
            _ => None,
        };
        let changes = base.as_ref().map(|base| base.changes_to(&self.sources.tree));
        terminal.begin("syncing");
        let began = Instant::now();
        let request = self.request(base_root, root, changes.is_some())?;
        let mut contents = state.contents()?;
        let mut sending = Sending::new(self.sources, &outgoing, request.compress_large);
        let offered = (|| {
            outgoing.preface(&Preface::hello(VERSION))?;
            outgoing.message(&FromShim::Run(Box::new(request)))?;
            match (&changes, &base) {
                (Some(changes), Some(base)) => sending.offer(changes, base, Some(&mut contents)),
                _ => Ok(()),
            }
        })();
        match offered {
            // Whoever does not read any more has said why.
            Ok(()) | Err(SyncError::Gone) => {}
            Err(error) => return Err(local(error)),
        }
        self.connection.welcome(&mut incoming)?;
        loop {
            match incoming.message().map_err(lost(false))? {
                FromAgent::Waiting { holder } => {
                    terminal.begin(format!("waiting for `{holder}` in this project"));
                    terminal.say(&format!("waiting for `{holder}`, which runs in this project"));
                }
                FromAgent::Want(want) => match sending.answer(&want) {
                    Ok(()) | Err(SyncError::Gone) => {}
                    Err(error) => return Err(local(error)),
                },
                FromAgent::Synced { written, removed } => {
                    terminal.quiet();
                    terminal.detail(&format!(
                        "synced in {}: {written} written, {removed} removed, {} sent",
                        seconds(began.elapsed()),
                        bytes(outgoing.traffic().sent())
                    ));
                    break;
                }
                FromAgent::Failed(failure) => return Err(Failure::Agent(failure)),
                other => return Err(lost(false)(out_of_turn(&other))),
            }
        }
        drop(sending);
        self.signals.forward_to(outgoing.clone());
        // What the agent holds is remembered while cargo runs.
        let outcome = std::thread::scope(|scope| {
            let remembering = scope.spawn(|| {
                self.remember(state, base_root != Some(root), base.as_ref(), &mut contents)
            });
            let outcome = self.follow(&mut incoming, &outgoing);
            remembering.join().unwrap_or(Ok(())).and(outcome)
        })?;
        let returned = self.take_back(state, &outcome, &mut incoming, &outgoing)?;
        self.settle(state, &outcome, &returned)?;
        self.signals.stop_forwarding();
        drop(outgoing);
        // The agent has heard everything when it answers; how the stream ends
        // does not matter.
        drop(incoming.message::<FromAgent>());
        outcome.ending.ok_or_else(|| lost(true)(SyncError::Gone))
    }

    fn request(
        &self,
        base: Option<Digest>,
        root: Digest,
        offers_changes: bool,
    ) -> Result<RunRequest, Failure> {
        let Prepared { workspace, settings, plan, environment } = self.prepared;
        let tty = |stream: rustix::fd::BorrowedFd<'_>| isatty(stream);
        let terminal = TerminalInfo {
            input: tty(rustix::stdio::stdin()),
            output: tty(rustix::stdio::stdout()),
            error: tty(rustix::stdio::stderr()),
            name: std::env::var("TERM").ok(),
            size: window_size(),
        };
        let compress_large = match settings.compression {
            Compression::Auto => !self.connection.is_local(),
            Compression::Always => true,
            Compression::Never => false,
        };
        Ok(RunRequest {
            project: self.sources.project.clone(),
            mounts: self.sources.mounts.clone(),
            target_directory: below_root(&workspace.target_directory)
                .map_err(Failure::Workspace)?,
            names_target_directory: workspace.target_by_variable,
            working_directory: below_root(&self.session.directory).map_err(Failure::Workspace)?,
            base,
            root,
            offers_changes,
            steps: plan.steps.clone(),
            environment: environment.clone(),
            toolchain: std::env::var("RUSTUP_TOOLCHAIN").ok(),
            terminal,
            sends_input: plan.sends_input,
            returns: plan.returns,
            compress_large,
            keep_alive_secs: Some(settings.keep_alive_secs),
            title: title(&plan.steps),
        })
    }

    /// Follows the run to its end.
    fn follow(
        &self,
        incoming: &mut burst_sync::wire::Incoming,
        outgoing: &burst_sync::wire::Outgoing,
    ) -> Result<Outcome, Failure> {
        let terminal = self.session.terminal;
        let mut outcome = Outcome::default();
        let mut window = None;
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
                }
                FromAgent::InputTaken(count) => {
                    if let Some(window) = &window {
                        window.taken(count);
                    }
                }
                FromAgent::Changed(changes) => outcome.changes.extend(changes),
                FromAgent::Artifacts(artifacts) => outcome.artifacts.extend(artifacts),
                FromAgent::Withheld { path, size } => terminal.warn(&format!(
                    "the run made `/{}` ({}): too large to bring back",
                    path.display(),
                    bytes(size)
                )),
                FromAgent::Finished(ending) => {
                    outcome.ending = Some(ending);
                    return Ok(outcome);
                }
                FromAgent::Failed(failure) => return Err(Failure::Agent(failure)),
                other => return Err(lost(out_of_turn(&other))),
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

    /// Remembers what the agent holds now.
    fn remember(
        &self,
        state: &mut WorkspaceState,
        is_new: bool,
        base: Option<&Directory>,
        contents: &mut burst_sync::pack::PackStore,
    ) -> Result<(), Failure> {
        if is_new {
            state.save_base(&self.sources.tree)?;
            let empty = Directory::new();
            let changes = base.unwrap_or(&empty).changes_to(&self.sources.tree);
            offer::remember(self.sources, &changes, contents).map_err(Failure::Workspace)?;
        }
        state.save()
    }

    /// Brings the results here.
    fn take_back(
        &self,
        state: &WorkspaceState,
        outcome: &Outcome,
        incoming: &mut burst_sync::wire::Incoming,
        outgoing: &burst_sync::wire::Outgoing,
    ) -> Result<Returned, Failure> {
        let workspace = &self.prepared.workspace;
        let (rules, _) = IgnoreRules::new(
            &workspace.root,
            &self.prepared.settings.unexclude,
            &[],
            std::collections::HashSet::new(),
        );
        let excluded = |path: &burst_protocol::RelativePath| rules.is_default_excluded(path);
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

/// What stands in other users' "waiting for" lines.
fn title(steps: &[Step]) -> String {
    const CHARACTERS_MAX: usize = 80;
    let call = steps.first().and_then(|step| step.alternatives.first());
    let words = call.map(|call| {
        call.arguments
            .iter()
            .filter(|word| !word.starts_with(b"--message-format=json-render"))
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    });
    format!("cargo {}", words.unwrap_or_default()).chars().take(CHARACTERS_MAX).collect()
}

/// An error of reading or sending the workspace.
fn local(error: SyncError) -> Failure {
    match error {
        SyncError::Changed(_) => Failure::Restless(error),
        SyncError::Stream(_) | SyncError::Gone | SyncError::MissingContent(_) => {
            Failure::Lost { started: false, source: error }
        }
        error => Failure::Workspace(error),
    }
}

fn out_of_turn(message: &FromAgent) -> SyncError {
    SyncError::OutOfTurn(format!("{message:?}").chars().take(60).collect())
}
