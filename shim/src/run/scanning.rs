//! Scanning the workspace of a command and, for a server, what it needs of cargo's home.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burst_protocol::RelativePath;
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::tally::Tally;

use super::prepare::Prepared;
use super::request::RunArguments;
use super::trusted::load_settings;
use super::unsent;
use crate::agent::provider::Provider;
use crate::directories::Directories;
use crate::error::Error;
use crate::settings::{Settings, TrustStore};
use crate::terminal::{Terminal, seconds};
use crate::transfer::is_beside;
use crate::transfer::leftovers::clear_leftovers;
use crate::transfer::taken::Unconfirmed;
use crate::workspace::cargo_home;
use crate::workspace::conflicts::Conflicts;
use crate::workspace::error::unreadable;
use crate::workspace::large_files;
use crate::workspace::sources::Sources;
use crate::workspace::state::WorkspaceState;

/// The first step, as progress names it.
pub(super) const READING: &str = "reading the workspace";

/// How often a scan is tried while files are replaced.
const SCANS_MAX: usize = 4;

/// A workspace that was scanned.
pub(super) struct Scanned {
    pub(super) state: WorkspaceState,
    pub(super) sources: Sources,
    /// What stopped commands have taken, read before the scan.
    pub(super) taken: Unconfirmed,
}

/// Scans the workspace of one command.
pub(super) struct Scanner<'a> {
    /// The working directory.
    pub(super) directory: &'a Path,
    /// Prints messages and progress.
    pub(super) terminal: &'a Arc<Terminal>,
    /// Cache, state and configuration.
    pub(super) directories: &'a Directories,
    /// The verb, its arguments and flags.
    pub(super) run: &'a RunArguments,
    /// Workspace and settings.
    pub(super) prepared: &'a Prepared,
}

impl Scanner<'_> {
    /// Scans the workspace; on the first command of a project large files are asked
    /// about.
    pub(super) fn scan(&self, provider: &Provider) -> Result<Scanned, Error> {
        let root = &self.prepared.workspace.root;
        let mut state = WorkspaceState::load(&self.directories.cache, provider.name(), root)?;
        if let Some(unsent) = &self.prepared.unsent {
            unsent::tell(self.terminal, &state, unsent)?;
        }
        for note in clear_leftovers(state.directory(), root)? {
            self.terminal.warn(&note);
        }
        let accepted = Conflicts::read(state.directory()).accepted(root);
        if !accepted.is_empty() {
            state.generated_files.extend(accepted.iter().cloned());
            state.save()?;
            Conflicts::forget(state.directory(), &accepted)?;
        }
        let taken = Unconfirmed::read(state.directory());
        let mut sources = self.scan_with(&self.prepared.settings, &mut state)?;
        if remember_taken(&mut state, &sources, &taken)? {
            sources = self.scan_with(&self.prepared.settings, &mut state)?;
        }
        for warning in &sources.warnings {
            self.terminal.warn(&warning.0);
        }
        let trust = TrustStore::of(self.directories);
        if state.base_root().is_none()
            && large_files::suggest(self.terminal, &sources, root, &trust, self.run.flags.yes)?
        {
            let settings = load_settings(self.directories, root, self.terminal)?;
            sources = self.scan_with(&settings, &mut state)?;
        }
        Ok(Scanned { state, sources, taken })
    }

    /// Scans the workspace and, for a server, what it needs of cargo's home. If cargo has to be
    /// asked for that, it may change `Cargo.lock`, so the workspace is scanned again.
    pub(super) fn scan_with(
        &self,
        settings: &Settings,
        state: &mut WorkspaceState,
    ) -> Result<Sources, Error> {
        let workspace = &self.prepared.workspace;
        let options = self.run.options();
        let now = Moment::coarse_now();
        let mut sources = self.scan_once(settings, state, now)?;
        if settings.hetzner_token.is_none()
            || cargo_home::add_remembered(workspace, &mut sources, state, options, now)?
        {
            return Ok(sources);
        }
        let found = cargo_home::ask(workspace, options, self.terminal)?;
        let now = Moment::coarse_now();
        let mut sources = self.scan_once(settings, state, now)?;
        cargo_home::add(workspace, &mut sources, state, options, found, now)?;
        Ok(sources)
    }

    fn scan_once(
        &self,
        settings: &Settings,
        state: &mut WorkspaceState,
        now: Moment,
    ) -> Result<Sources, Error> {
        let began = Instant::now();
        let workspace = &self.prepared.workspace;
        let mut attempt = 1;
        let sources = loop {
            state.begin_scan();
            let tally = Arc::new(Tally::default());
            self.terminal.begin_tallied(READING, &tally);
            match Sources::scan(workspace, settings, state, self.directory, now, &tally) {
                // Something else is in the place of a file than in its directory.
                Err(SyncError::Changed(_)) if attempt < SCANS_MAX => attempt += 1,
                scanned => break scanned.map_err(unreadable)?,
            }
        };
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
}

/// Adds the files that stopped commands have taken, and that the scan left out, to the generated
/// files; returns whether there are any. The agent is told that they are here: it would delete
/// an ignored file that is not sent.
fn remember_taken(
    state: &mut WorkspaceState,
    sources: &Sources,
    taken: &Unconfirmed,
) -> Result<bool, Error> {
    let is_left_out = |path: &RelativePath| {
        let place = sources.project.join_path(path);
        !is_beside(path) && place.is_ok_and(|place| sources.tree.get(&place).is_none())
    };
    let left_out: Vec<RelativePath> =
        taken.written_below(&sources.project).filter(is_left_out).collect();
    if left_out.is_empty() {
        return Ok(false);
    }
    state.generated_files.extend(left_out);
    state.save()?;
    Ok(true)
}
