//! One `cargo burst VERB`, from the workspace to the exit code.
//!
//! The agent is reached while the workspace is scanned. One flight carries the
//! request and, if it is known what the agent holds, all that differs. Then the
//! agent has the word: it asks for what it lacks, passes on what cargo writes, and
//! in the end names what came of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burst_protocol::message::{Ending, FailureKind};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use tokio::runtime::Handle;

use crate::arguments::RunArguments;
use crate::environment;
use crate::exchange::{Exchange, Prepared, Timing};
use crate::failure::Failure;
use crate::hetzner::account::ServerSummary;
use crate::hetzner::audit::{self, AuditLog, Entry};
use crate::hetzner::report::server_cost;
use crate::hetzner::trouble::{Kind, Trouble};
use crate::hetzner::wishes::Wishes;
use crate::plan;
use crate::provider::Reached;
use crate::provider::hetzner::{self, HetznerProvider};
use crate::provider::local::{self, LocalProvider};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::sources::Sources;
use crate::state::{Directories, WorkspaceState};
use crate::suggestion;
use crate::terminal::{Terminal, bytes, can_ask, seconds};
use crate::workspace::Workspace;

/// How often a sync begins again because files change under its hands.
const ATTEMPTS_MAX: usize = 4;

/// What one command works with.
pub struct Session<'a> {
    /// Where cargo is called.
    pub directory: PathBuf,
    /// Who prints.
    pub terminal: &'a Arc<Terminal>,
    /// The network's runtime.
    pub runtime: Handle,
    /// Ours.
    pub directories: Directories,
    /// What is asked for.
    pub run: &'a RunArguments,
    /// Where the time went.
    pub(crate) timing: Mutex<Timing>,
}

impl Session<'_> {
    /// Runs it.
    pub fn run(&self) -> Result<Ending, Failure> {
        let began = Instant::now();
        let signals = Signals::listen(&self.runtime);
        let (prepared, provider) = self.prepare()?;
        // The agent is reached while the workspace is scanned.
        let (reached, scanned) = std::thread::scope(|scope| {
            let reaching = scope.spawn(|| self.reach(&provider, false));
            let scanned = self.scan(&prepared, provider.name());
            (reaching.join().unwrap_or(Err(Failure::AgentEnding)), scanned)
        });
        let (mut state, mut sources) = scanned?;
        let mut reached = reached?;
        if !reached.is_remote() {
            self.terminal.quiet();
        }
        if reached.started {
            self.terminal.say(
                "no Hetzner token, so cargo runs through an agent on this machine; with \
                 HCLOUD_TOKEN set it runs on a server",
            );
        }
        let mut exchange = |reached: &Reached, sources| {
            self.exchange(&prepared, &mut state, sources, reached, &signals)
        };
        let mut exchanged = exchange(&reached, sources);
        let silent = matches!(exchanged, Err(Failure::Silent { .. })) && reached.is_remote();
        if silent || matches!(exchanged, Err(Failure::AgentEnding)) {
            // It was about to end when we came, or the warm connection led nowhere any
            // more: the next one will be there for us.
            provider.wait_until_ended()?;
            reached = self.reach(&provider, true)?;
            sources = self.scan(&prepared, provider.name())?.1;
            exchanged = exchange(&reached, sources);
        }
        self.terminal.quiet();
        signals.stop_forwarding();
        if let Some(signal) = signals.insisted() {
            reached.connection.abandon();
            return Ok(Ending::Signaled(signal));
        }
        let traffic = reached.connection.bytes();
        match exchanged {
            Ok(ending) => {
                self.terminal.detail(&format!(
                    "in all: {} bytes sent, {} bytes received",
                    traffic.0, traffic.1
                ));
                let ready = reached.ready();
                let server = ready.as_ref().map(|(ready, at)| hetzner::by_our_clock(ready, *at));
                let place = place_of(server.as_ref());
                if let Some((ready, at)) = ready {
                    let reach = at.saturating_duration_since(began);
                    self.record(began, reach, ready.fresh_server);
                }
                self.runtime.block_on(reached.connection.close());
                self.terminal.say(&format!(
                    "{place}, {}, {} sent, {} received",
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

    /// What is wanted, and of whom.
    fn prepare(&self) -> Result<(Prepared, Provider), Failure> {
        self.terminal.begin("looking at the workspace");
        let mut workspace = Workspace::find(&self.directory, &self.run.arguments)?;
        let (config_home, root) = (&self.directories.config_home, &workspace.root);
        let settings = Settings::load(config_home, Some(root), std::env::vars_os())?;
        let environment =
            environment::forwarded(self.terminal, &settings.forward_env, &self.run.flags.env);
        let has_library = workspace.has_library(&self.run.arguments);
        let plan = plan::plan(self.run, has_library);
        let keep_alive_secs = match self.run.flags.no_reap {
            true => u64::MAX >> 1,
            false => self.run.flags.keep_alive.unwrap_or(settings.keep_alive_secs),
        };
        let provider = match HetznerProvider::of(&self.directories, &settings) {
            Some(provider) => {
                workspace.add_configuration_of_home();
                let limit = self.spend_at_most(&settings)?;
                let wishes = hetzner::wishes(&settings, &self.run.flags, limit, &workspace.root);
                Provider::Hetzner { provider, wishes: Box::new(wishes) }
            }
            None => Provider::Local(LocalProvider::new(&self.directories, keep_alive_secs)),
        };
        let prepared = Prepared { workspace, settings, plan, environment, keep_alive_secs };
        Ok((prepared, provider))
    }

    /// Where the time of an exchange went.
    pub(crate) fn took(&self, timing: Timing) {
        *self.timing.lock().unwrap_or_else(PoisonError::into_inner) = timing;
    }

    /// Writes down what it took.
    fn record(&self, began: Instant, reach: Duration, cold: bool) {
        let total = began.elapsed();
        let Timing { sync, run } = *self.timing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = burst_hcloud::Timestamp::now().as_second();
        let command = audit::Command {
            verb: self.run.verb.name().unwrap_or("other").to_owned(),
            began: now - i64::try_from(total.as_secs()).unwrap_or(0),
            reach_secs: reach.as_secs_f64(),
            sync_secs: sync.as_secs_f64(),
            run_secs: run.as_secs_f64(),
            total_secs: total.as_secs_f64(),
            cold,
        };
        let state = self.directories.state.join("hetzner");
        AuditLog::new(&state).append(&Entry::Command(Box::new(command)));
    }

    /// What a new server may cost, by the flag and by what is left of the budget.
    fn spend_at_most(&self, settings: &Settings) -> Result<Option<f64>, Failure> {
        let state = self.directories.state.join("hetzner");
        let left = match settings.monthly_budget {
            None => None,
            Some(budget) => {
                let entries = AuditLog::new(&state).read().map_err(|source| {
                    Failure::Directory { path: state.join("audit.jsonl"), source }
                })?;
                let now = burst_hcloud::Timestamp::now();
                let spent = audit::spent_since(&entries, audit::month_of(now), now.as_second());
                Some(budget - spent)
            }
        };
        if let Some(left) = left.filter(|left| *left <= 0.0) {
            let words = format!("the monthly budget is used up, by EUR {:.2}", left.abs());
            if !can_ask() || !self.terminal.ask(&format!("{words}. Go on?")) {
                return Err(Failure::Server(Trouble::new(Kind::TooExpensive, words)));
            }
            return Ok(self.run.flags.max_cost);
        }
        let limits = self.run.flags.max_cost.into_iter().chain(left);
        Ok(limits.min_by(f64::total_cmp))
    }

    fn reach(&self, provider: &Provider, anew: bool) -> Result<Reached, Failure> {
        match provider {
            Provider::Local(provider) => provider.reach(&self.runtime),
            Provider::Hetzner { provider, wishes } => {
                let reached = provider.reach(&self.runtime, wishes, anew, self.terminal);
                match reached {
                    Err(Failure::Server(trouble))
                        if trouble.kind == Kind::TooExpensive
                            && can_ask()
                            && self
                                .terminal
                                .ask(&format!("{}. Go on?", trouble.messages.join(": "))) =>
                    {
                        let wishes = Wishes { spend_at_most: None, ..Wishes::clone(wishes) };
                        provider.reach(&self.runtime, &wishes, anew, self.terminal)
                    }
                    reached => reached,
                }
            }
        }
    }

    fn scan(
        &self,
        prepared: &Prepared,
        provider: &str,
    ) -> Result<(WorkspaceState, Sources), Failure> {
        let root = &prepared.workspace.root;
        let mut state = WorkspaceState::load(&self.directories.cache, provider, root)?;
        let mut sources = self.scan_once(prepared, &mut state)?;
        for warning in &sources.warnings {
            self.terminal.warn(&warning.0);
        }
        if state.base_root().is_none()
            && suggestion::suggest(self.terminal, &sources, root, self.run.flags.yes)?
        {
            // The settings have changed under us: read them again.
            let config_home = &self.directories.config_home;
            let settings = Settings::load(config_home, Some(root), std::env::vars_os())?;
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
        reached: &Reached,
        signals: &Signals,
    ) -> Result<Ending, Failure> {
        let mut sources = first;
        for attempt in 1.. {
            let stream = self.runtime.block_on(reached.connection.stream())?;
            let exchange =
                Exchange { session: self, prepared, reached, signals, sources: &sources };
            match exchange.perform(state, stream) {
                Err(Failure::Restless(_)) if attempt < ATTEMPTS_MAX => {
                    self.terminal.detail("a file changed while it was sent: again");
                    sources = self.scan_once(prepared, state)?;
                }
                Err(Failure::Agent(failure))
                    if attempt < ATTEMPTS_MAX && failure.kind == FailureKind::Corrupt =>
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

/// Where the agent comes from.
enum Provider {
    Local(LocalProvider),
    Hetzner { provider: HetznerProvider, wishes: Box<Wishes> },
}

impl Provider {
    const fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => local::NAME,
            Self::Hetzner { .. } => hetzner::NAME,
        }
    }

    /// Waits until an agent that is ending has ended. A server's is called anew by the
    /// keeper.
    fn wait_until_ended(&self) -> Result<(), Failure> {
        match self {
            Self::Local(provider) => provider.wait_until_ended(),
            Self::Hetzner { .. } => Ok(()),
        }
    }
}

/// Where cargo ran, and what that costs.
fn place_of(server: Option<&ServerSummary>) -> String {
    let Some(server) = server else { return "on this machine".to_owned() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(0);
    let cost = server_cost(server.created, now.max(server.created), server.hourly);
    format!(
        "on {} in {} (EUR {cost:.2} so far, {:.2} a started hour)",
        server.server_type, server.location, server.hourly
    )
}
