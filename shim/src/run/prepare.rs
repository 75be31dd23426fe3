//! What one command needs to know before anything is reached or scanned.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use burst_protocol::ByteBuf;

use super::compiler;
use super::fetched_paths::named_paths;
use super::forwarding::{Forwarded, Variables, forwarded, of_terminal, variables};
use super::opened_page;
use super::plan::{self, Plan};
use super::port_forwarding::ForwardedPorts;
use super::request::{CargoVerb, RunArguments};
use super::result_directories::result_directories;
use super::time_limit::TimeLimits;
use super::trusted::load_settings;
use super::unsent::unsent;
use crate::agent::keep_alive::KeepAlive;
use crate::agent::provider::Provider;
use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::settings::{Fetch, Settings};
use crate::terminal::Terminal;
use crate::transfer::error::no_place;
use crate::transfer::target::TargetDirectory;
use crate::workspace::Workspace;

/// Checks what can be known before a command starts in the background: the compiler that
/// variables name, the workspace, the settings and the trust in them. Returns the root of the
/// workspace.
pub(crate) fn check(
    run: &RunArguments,
    directory: &Path,
    directories: &Directories,
    terminal: &Terminal,
) -> Result<PathBuf, Error> {
    let here = variables(environment::all());
    Ok(found(run, &here, directory, directories, terminal)?.0.root)
}

/// The workspace, and the settings that hold in it.
fn found(
    run: &RunArguments,
    here: &Variables,
    directory: &Path,
    directories: &Directories,
    terminal: &Terminal,
) -> Result<(Workspace, Settings), Error> {
    compiler::check(run.verb, here)?;
    let workspace = Workspace::find(directory, run.options())?;
    let settings = load_settings(directories, &workspace.root, terminal)?;
    Ok((workspace, settings))
}

/// Workspace, settings and plan of one command. None of it changes while it runs.
pub(super) struct Prepared {
    pub(super) workspace: Workspace,
    pub(super) settings: Settings,
    pub(super) plan: Plan,
    /// The variables that cargo is to see beside the agent's own.
    pub(super) environment: Vec<(ByteBuf, ByteBuf)>,
    /// The variables that matter, are set here and are not sent; `None` if no cargo runs.
    pub(super) unsent: Option<BTreeSet<String>>,
    pub(super) keep_alive: KeepAlive,
    /// How long the run may take.
    pub(super) limits: TimeLimits,
    /// The target directory, as found before the run.
    pub(super) target: TargetDirectory,
    /// The ports here that lead to programs of the run.
    pub(super) ports: ForwardedPorts,
    /// The browser that opens documentation, and what the compiler here says of itself: both are
    /// asked for before the run, which can change what they depend on.
    pub(super) browser: Option<Vec<OsString>>,
    pub(super) compiler: String,
}

impl Prepared {
    /// Asks cargo about the workspace, resolves the settings and plans the cargo calls. Fails
    /// if the results could not be written.
    pub(super) fn new(
        run: &RunArguments,
        directory: &Path,
        directories: &Directories,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        let here = variables(environment::all());
        let (mut workspace, settings) = found(run, &here, directory, directories, terminal)?;
        workspace.leave_out(directories.own());
        if settings.hetzner_token.is_some() {
            workspace.send_to_server();
        }
        for directory in workspace.include(&settings.include_paths) {
            terminal.warn(&format!(
                "`include_paths` names `{}`, which contains the workspace: it is not sent",
                directory.display()
            ));
        }
        let target = &workspace.target_directory;
        let named = named_paths(&run.flags.fetched_paths, directory, &workspace.root, target)?;
        let fetch = match named.whole_target {
            true => Some(Fetch::All),
            false => run.flags.fetch,
        };
        let has_library = workspace.has_library(run.options());
        let is_test = run.verb == CargoVerb::Test && !run.flags.cargo_test;
        let own_harness = is_test.then(|| workspace.own_harness(run.options())).flatten();
        let own_harness = own_harness.as_deref();
        let mut plan = plan::plan(run, has_library, own_harness, fetch, settings.fetch);
        if plan.opens_docs {
            plan.documented = workspace.crate_names(run.options());
        }
        plan.returns.paths = named.paths;
        if let Some(note) = &plan.note {
            terminal.say(note);
        }
        let target = TargetDirectory::find(&workspace.target_directory).map_err(no_place)?;
        target.check(&result_directories(run, &plan.returns)).map_err(no_place)?;
        let bytes = |text: &str| ByteBuf::from(text.as_bytes());
        let mut environment = of_terminal(&here);
        environment
            .extend(plan.environment.iter().map(|(name, value)| (bytes(name), bytes(value))));
        // What the user names comes last and wins.
        let forwarded = forwarded(&here, &settings.forward_env, &run.flags.env);
        let Forwarded { variables, warnings } = forwarded;
        environment.extend(variables);
        for warning in &warnings {
            terminal.warn(warning);
        }
        let sent: Vec<&[u8]> = environment.iter().map(|(name, _)| name.as_slice()).collect();
        let unsent =
            (run.verb != CargoVerb::Sync).then(|| unsent(&here, &sent, &settings.report_env));
        let keep_alive = match run.flags.no_reap {
            true => KeepAlive::UntilDown,
            false => KeepAlive::Seconds(run.flags.keep_alive.unwrap_or(settings.keep_alive_secs)),
        };
        let limits = TimeLimits::of(directories, &settings)?;
        let ports = ForwardedPorts::take(run, &settings, terminal)?;
        let browser = plan.opens_docs.then(|| opened_page::browser(directory)).flatten();
        let compiler = match plan.returns.whole {
            Some(_) => compiler::here(directory),
            None => String::new(),
        };
        Ok(Self {
            workspace,
            settings,
            plan,
            environment,
            unsent,
            keep_alive,
            limits,
            target,
            ports,
            browser,
            compiler,
        })
    }

    /// Seconds for which a run goes on when its connection breaks. The setting has a bound that
    /// fits.
    pub(super) fn grace_secs(&self) -> u32 {
        u32::try_from(self.settings.reconnect_secs).unwrap_or(u32::MAX)
    }

    /// Where the agent comes from: a server if there is a token, else this machine.
    pub(super) fn provider(&self, directories: &Directories) -> Provider {
        Provider::of(directories, &self.settings, self.keep_alive)
    }
}
