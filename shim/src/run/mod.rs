//! One `cargo burst VERB`, from the workspace to the exit code.
//!
//! 1. Workspace, settings and plan are [prepared](prepare).
//! 2. The agent is reached while the workspace is scanned.
//! 3. The [exchange] sends the request and what differs ([syncing]),
//! 4. waits until the agent's tree is as needed,
//! 5. passes on cargo's output and the user's input ([running]),
//! 6. and fetches the results ([returning]).
//! 7. One line [sums up](summary) where cargo ran and what that cost.
//!
//! A file that changes while it is sent, results of another command that come before this one
//! has its turn, an agent that is shutting down and a stale memory of the agent's state are
//! handled by trying again, a bounded number of times.

mod base;
mod cleaning;
mod compiler;
mod cost_limit;
mod exchange;
mod fetched_paths;
mod foreign_program;
mod forwarding;
mod missing_inputs;
mod nextest;
mod opened_page;
mod output_tail;
mod passed_output;
mod plan;
mod port_forwarding;
mod prepare;
pub(crate) mod request;
mod result_directories;
mod returning;
mod running;
mod scanning;
#[cfg(test)]
mod simulation;
mod stream;
mod summary;
mod syncing;
mod time_limit;
mod trusted;
mod undownloaded;
mod unsent;
mod waiting;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use burst_protocol::message::Ending;
use burst_protocol::path::display;
use tokio::runtime::Handle;

use self::cost_limit::CostLimits;
use self::exchange::{Exchange, Exchanged};
use self::missing_inputs::FailedRun;
use self::prepare::Prepared;
pub(crate) use self::prepare::check;
use self::request::RunArguments;
use self::scanning::{READING, Scanned, Scanner};
use self::summary::Summary;
use self::syncing::Syncing;
use self::time_limit::ended_by_limit;
use crate::agent::provider::Provider;
use crate::agent::reached::ReachedAgent;
use crate::agent::remote::server_request;
use crate::cargo_options::value_of;
use crate::connection::ConnectionError;
use crate::detached::runs::Runs;
use crate::directories::Directories;
use crate::error::{Error, ErrorKind};
use crate::hetzner::request::ServerRequest;
use crate::settings::Settings;
use crate::terminal::color::{self, When};
use crate::terminal::signals::Signals;
use crate::terminal::{Terminal, browser};
use crate::workspace::collection;

/// How often the exchange is tried before its error ends the command.
const ATTEMPTS_MAX: usize = 4;

/// How often cargo runs again with files that it lacked: each error can hide another one.
const RERUNS_MAX: usize = 3;

/// What one command works with.
pub(crate) struct Session<'a> {
    /// The working directory.
    pub(crate) directory: PathBuf,
    /// Prints messages, progress and results.
    pub(crate) terminal: &'a Arc<Terminal>,
    /// Runs the network.
    pub(crate) runtime: Handle,
    /// Cache, state and configuration.
    pub(crate) directories: Directories,
    /// The verb, its arguments and flags.
    pub(crate) run: &'a RunArguments,
    /// The number of the run, if it is detached.
    pub(crate) detached: Option<u32>,
}

impl Session<'_> {
    /// Runs the command. Blocks: not for async code.
    pub(crate) fn run(&self) -> Result<Ending, Error> {
        let began = Instant::now();
        if let Some(when) = color_option(self.run.options()) {
            color::choose(when);
        }
        let directory = self.directory.display();
        let _span = tracing::info_span!("run", verb = self.run.verb.name(), %directory).entered();
        let signals = Signals::listen(&self.runtime);
        self.terminal.begin(READING);
        let prepared = Prepared::new(self.run, &self.directory, &self.directories, self.terminal)?;
        let provider = prepared.provider(&self.directories);
        let request = self.server_request(&prepared)?;
        self.tell_on_signal(&signals, &provider);
        tracing::info!(
            root = %prepared.workspace.root.display(),
            target = %prepared.workspace.target_directory.display(),
            provider = provider.name(),
            "prepared"
        );
        let (mut reached, scanned) = self.reach_and_scan(&prepared, &provider, request.as_ref())?;
        self.close_on_signal(&signals, &reached);
        let exchanged = scanned.and_then(|scanned| {
            self.run_on(&prepared, &provider, request.as_ref(), scanned, &mut reached, &signals)
        });
        self.terminal.quiet();
        signals.stop_forwarding();
        let (ends_by, started) = (signals.ends_by(), reached.started);
        let summary = Summary::of(&reached);
        match &exchanged {
            Ok(exchanged) if ends_by.is_none() => {
                let root = &prepared.workspace.root;
                let timing = exchanged.timing;
                summary::record(&self.directories, self.run, root, &reached, timing, began);
                tracing::info!(ending = ?exchanged.ending, timing = ?exchanged.timing, "ended");
            }
            _ => reached.connection.abort(),
        }
        // On every way out: an agent that is not told waits for the end of the idle timeout,
        // and so does the next command.
        self.runtime.block_on(reached.connection.close());
        if let Some(signal) = ends_by {
            return Ok(Ending::Signaled(signal));
        }
        let exchanged = match exchanged {
            // The record of a detached run tells it.
            Err(error) if error.kind() == ErrorKind::RunEnded && self.is_down() => {
                return Ok(Ending::Exited(error.exit_code().into()));
            }
            exchanged => exchanged?,
        };
        if started {
            // About as often as the agent here collects its projects.
            collection::collect(&self.directories.cache, SystemTime::now());
        }
        summary.print(self.terminal, began.elapsed());
        if let Some(reason) = exchanged.limit {
            return Err(ended_by_limit(reason));
        }
        if let Some(page) = &exchanged.page
            && let Err(warning) = browser::open(page, prepared.browser.as_deref())
        {
            self.terminal.warn(&warning);
        }
        Ok(exchanged.ending)
    }

    /// Reaches the agent while the workspace is scanned. A failed scan is no reason to leave an
    /// agent that was reached without a word, so it comes back beside that.
    fn reach_and_scan(
        &self,
        prepared: &Prepared,
        provider: &Provider,
        request: Option<&ServerRequest>,
    ) -> Result<(ReachedAgent, Result<Scanned, Error>), Error> {
        let (reached, scanned) = std::thread::scope(|scope| {
            let reaching = scope.spawn(|| self.reach(prepared, provider, request, false));
            let scanned = self.scanner(prepared).scan(provider);
            let reached = reaching.join();
            (reached.unwrap_or_else(|_| Err(ConnectionError::Ending.into())), scanned)
        });
        match reached {
            Ok(reached) => Ok((reached, scanned)),
            Err(error) => Err(scanned.err().unwrap_or(error)),
        }
    }

    /// Exchanges with the agent that was reached, or with another one if that is shutting
    /// down.
    fn run_on(
        &self,
        prepared: &Prepared,
        provider: &Provider,
        request: Option<&ServerRequest>,
        mut scanned: Scanned,
        reached: &mut ReachedAgent,
        signals: &Signals,
    ) -> Result<Exchanged, Error> {
        tracing::info!(
            address = %reached.connection.address(),
            started = reached.started,
            files = scanned.state.scanned.len(),
            "reached and scanned"
        );
        if !reached.is_remote() {
            self.terminal.quiet();
        }
        if reached.started {
            self.terminal.say(
                "cargo runs through an agent on this machine, since no Hetzner token is set; \
                 `cargo burst init` sets one",
            );
        }
        let exchanged = self.exchange(prepared, &mut scanned, reached, signals);
        if !is_worth_reaching_again(&exchanged, reached) {
            return exchanged;
        }
        provider.wait_until_ended()?;
        let last = std::mem::replace(reached, self.reach(prepared, provider, request, true)?);
        self.runtime.block_on(last.connection.close());
        self.close_on_signal(signals, reached);
        scanned = self.scanner(prepared).scan(provider)?;
        self.exchange(prepared, &mut scanned, reached, signals)
    }

    /// Tells what stays and costs if a signal ends this process while a server is made for it.
    fn tell_on_signal(&self, signals: &Signals, provider: &Provider) {
        let Some(pays_for) = provider.pays_for() else { return };
        let terminal = self.terminal.clone();
        signals.before_death(move || {
            let text = pays_for.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(text) = text {
                terminal.warn(&text);
            }
        });
    }

    /// Whether this is a detached run that a `down` of this machine has ended.
    fn is_down(&self) -> bool {
        let runs = Runs::below(&self.directories.state);
        self.detached.is_some_and(|number| runs.directory(number).is_down())
    }

    /// Closes the connection before a signal ends this process.
    fn close_on_signal(&self, signals: &Signals, reached: &ReachedAgent) {
        if let Some(current) = reached.connection.current() {
            let runtime = self.runtime.clone();
            signals.before_death(move || runtime.block_on(current.say_farewell(b"signal")));
        }
    }

    /// What is asked of the keeper; `None` where no server is used.
    fn server_request(&self, prepared: &Prepared) -> Result<Option<ServerRequest>, Error> {
        let Prepared { settings, workspace, keep_alive, .. } = prepared;
        if settings.hetzner_token.is_none() {
            return Ok(None);
        }
        let limit = self.cost_limits(settings).per_hour();
        server_request(settings, *keep_alive, limit, &workspace.root).map(Some)
    }

    fn cost_limits(&self, settings: &Settings) -> CostLimits {
        CostLimits { max_cost: self.run.flags.max_cost, budget: settings.monthly_budget }
    }

    /// Reaches the agent; `anew` where the connection at hand does not work. A server
    /// that would cost more than the limit is asked about.
    fn reach(
        &self,
        prepared: &Prepared,
        provider: &Provider,
        request: Option<&ServerRequest>,
        anew: bool,
    ) -> Result<ReachedAgent, Error> {
        let reached = provider.reach(&self.runtime, request, anew, self.terminal);
        match (reached, request) {
            (Err(error), Some(request)) if error.kind() == ErrorKind::CostLimit => {
                let (limits, yes) = (self.cost_limits(&prepared.settings), self.run.flags.yes);
                limits.allow(&error, &self.directories, yes, self.terminal)?;
                let request = ServerRequest { spend_at_most: None, ..request.clone() };
                provider.reach(&self.runtime, Some(&request), anew, self.terminal)
            }
            (reached, _) => reached,
        }
    }

    /// Scans the workspace of this command.
    fn scanner<'s>(&'s self, prepared: &'s Prepared) -> Scanner<'s> {
        let Self { directory, terminal, directories, run, .. } = self;
        Scanner { directory, terminal, directories, run, prepared }
    }

    /// Exchanges with the agent, again if a failed run lacked files that are here.
    fn exchange(
        &self,
        prepared: &Prepared,
        scanned: &mut Scanned,
        reached: &ReachedAgent,
        signals: &Signals,
    ) -> Result<Exchanged, Error> {
        let mut reruns = 0;
        loop {
            let exchanged = self.exchange_once(prepared, scanned, reached, signals)?;
            let is_rerun = self.adds_inputs(prepared, scanned, &exchanged, reruns < RERUNS_MAX)?;
            if !is_rerun {
                return Ok(exchanged);
            }
            scanned.sources =
                self.scanner(prepared).scan_with(&prepared.settings, &mut scanned.state)?;
            reruns += 1;
        }
    }

    /// Looks for files that a failed run lacked. Returns whether cargo is to run once more, with
    /// them; without `may_rerun`, and where the program may have read its input, it is not.
    fn adds_inputs(
        &self,
        prepared: &Prepared,
        scanned: &mut Scanned,
        exchanged: &Exchanged,
        may_rerun: bool,
    ) -> Result<bool, Error> {
        if exchanged.ending == Ending::Exited(0) || exchanged.limit.is_some() {
            return Ok(false);
        }
        let Prepared { workspace, settings, .. } = prepared;
        let Scanned { sources, state, .. } = &*scanned;
        let (output, directory) = (&exchanged.output, self.directory.as_path());
        let missing = missing_inputs::find(FailedRun {
            output,
            workspace,
            settings,
            directory,
            sources,
            state,
        });
        for path in &missing.named {
            let path = display(path);
            self.terminal.say(&format!(
                "`{path}` is here and was not sent: `include_paths = [\"{path}\"]` in the \
                 settings sends it"
            ));
        }
        if missing.inputs.is_empty() {
            return Ok(false);
        }
        // cargo here reads manifests and configuration again for a rerun.
        let is_rerun = may_rerun && !prepared.plan.sends_input && !exchanged.changes_code;
        scanned.state.note_inputs(&missing.inputs)?;
        let shown = |path| missing_inputs::shown(path, &scanned.sources.project);
        let names = missing.inputs.iter().map(|path| format!("`{}`", display(&shown(path))));
        let names = names.collect::<Vec<_>>();
        let next = if is_rerun { "cargo runs again now" } else { "run the command again" };
        // A warning, so that `-q` does not leave an error without what becomes of it.
        self.terminal.warn(&format!(
            "the build above has failed without {}, which git ignores and which was not sent: it is \
             sent from now on; {next}",
            names.join(", ")
        ));
        Ok(is_rerun)
    }

    /// Exchanges with the agent. If a file changes while it is sent, or another command brings
    /// results before this one has its turn, the workspace is scanned again; if the remembered
    /// base is stale, everything is compared.
    fn exchange_once(
        &self,
        prepared: &Prepared,
        scanned: &mut Scanned,
        reached: &ReachedAgent,
        signals: &Signals,
    ) -> Result<Exchanged, Error> {
        let mut attempt = 1;
        loop {
            let grace_secs = prepared.grace_secs();
            let (stream, record) =
                stream::open(&self.runtime, reached, &scanned.state, grace_secs)?;
            let exchange = Exchange {
                terminal: self.terminal,
                signals,
                directory: &self.directory,
                state: &self.directories.state,
                detached: self.detached,
                prepared,
                reached,
                sources: &scanned.sources,
                taken: &scanned.taken,
                runtime: &self.runtime,
            };
            let state = &mut scanned.state;
            let may_scan_again = attempt < ATTEMPTS_MAX;
            let exchanged = Syncing::new(exchange, state, stream, may_scan_again)
                .and_then(Syncing::sync)
                .and_then(|synced| synced.follow(state))
                .and_then(|ended| ended.fetch(state));
            let error = match exchanged {
                Ok(exchanged) => {
                    if let Some(record) = record {
                        record.finish();
                    }
                    return Ok(exchanged);
                }
                Err(error) if attempt < ATTEMPTS_MAX => error,
                Err(error) => return Err(error),
            };
            attempt += 1;
            tracing::info!(attempt, error = error.one_line(), "trying again");
            match error.kind() {
                ErrorKind::WorkspaceChanged => {
                    self.terminal.detail("the workspace has changed: scanning again");
                    let settings = &prepared.settings;
                    scanned.sources =
                        self.scanner(prepared).scan_with(settings, &mut scanned.state)?;
                }
                ErrorKind::AgentCorrupt => {
                    self.terminal.detail(&error.one_line());
                    scanned.state.forget_base();
                }
                _ => return Err(error),
            }
        }
    }
}

/// What `--color` among cargo's options says.
fn color_option(options: &[OsString]) -> Option<When> {
    When::parse(value_of(options, "--color")?.to_str()?)
}

/// Whether the agent was shutting down, the keeper's connection had been lost without
/// notice, or the server had lost the project's volume: then another attempt does better.
fn is_worth_reaching_again(exchanged: &Result<Exchanged, Error>, reached: &ReachedAgent) -> bool {
    exchanged.as_ref().is_err_and(|error| match error.kind() {
        ErrorKind::AgentEnding | ErrorKind::NoVolume => true,
        // A server that never answered has had its time; one that did is reached anew.
        ErrorKind::AgentSilent => reached.ready().is_some(),
        _ => false,
    })
}
