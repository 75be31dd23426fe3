//! The last state of an exchange: cargo has ended, its results are fetched and written.

use std::cell::LazyCell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;
use burst_protocol::message::Ending;
use burst_protocol::tree::{Change, Entry};
use burst_sync::clock::Moment;
use burst_sync::ignore_rules::cargo_reads;
use burst_sync::wire::{Incoming, Outgoing};

use super::cleaning::clean_here;
use super::compiler;
use super::exchange::{Exchange, Exchanged, Outcome, Timing, finish};
use super::fetched_paths::missing;
use super::foreign_program;
use crate::error::Error;
use crate::transfer::Downloaded;
use crate::transfer::download::{Caches, Download, Receiving, answer, base_after};
use crate::transfer::error::{confused, not_returned};
use crate::transfer::leftovers::{Writing, clear_leftovers};
use crate::transfer::whole_target::{Offered, Wanted, note_run};
use crate::workspace::conflicts::Conflicts;
use crate::workspace::credentials::is_credentials;
use crate::workspace::error::unreadable;
use crate::workspace::runs_code::runs_code;
use crate::workspace::sources::{below_root, rules};
use crate::workspace::state::WorkspaceState;

/// An exchange whose run is over.
pub(super) struct Ended<'a> {
    exchange: Exchange<'a>,
    incoming: Incoming,
    outgoing: Outgoing,
    outcome: Outcome,
    timing: Timing,
}

impl<'a> Ended<'a> {
    pub(super) const fn new(
        exchange: Exchange<'a>,
        incoming: Incoming,
        outgoing: Outgoing,
        outcome: Outcome,
        timing: Timing,
    ) -> Self {
        Self { exchange, incoming, outgoing, outcome, timing }
    }

    /// Fetches the results and remembers the state that both ends hold then.
    pub(super) fn fetch(mut self, state: &mut WorkspaceState) -> Result<Exchanged, Error> {
        // The run is over: a signal ends this command, and what is missing comes with the next one.
        self.exchange.signals.stop_forwarding();
        if let Some(began) = self.outcome.began {
            let scanned = self.exchange.sources.scanned;
            note_run(state.directory(), began, scanned, Moment::now).map_err(unreadable)?;
        }
        let mut downloaded = self.download(state)?;
        let answered = self.settle(state, &downloaded).and_then(|()| {
            // The agent admits no other command beside a clean until it has the answer.
            let cleaned = self.clean();
            let target = &self.exchange.prepared.workspace.target_directory;
            state.note_target(target, target.is_dir())?;
            answer(&downloaded, &self.outgoing).map(|()| cleaned)
        });
        // Not before: other runs wait for the answer, and this may wait for a reader.
        let prepared = self.exchange.prepared;
        let (target, profile) =
            (&prepared.workspace.target_directory, prepared.plan.profile.as_bytes());
        let foreign = foreign_program::warning(target, &downloaded.artifacts, profile);
        for warning in downloaded.notes.iter().chain(&foreign) {
            self.exchange.terminal.warn(warning);
        }
        let cleaned = answered?;
        let traffic = self.outgoing.traffic();
        self.exchange.terminal.detail(&format!(
            "stream: {} bytes sent, {} bytes received",
            traffic.sent(),
            traffic.received()
        ));
        let page = self.page();
        let project = &self.exchange.sources.project;
        let mut changed = changes_at(&self.outcome.changes, &downloaded.adopted);
        let changes_code = changed
            .any(|change| change.path().below(project).is_some_and(|path| runs_code(&path, false)));
        let Outcome { ending, output, limit, .. } = self.outcome;
        let timing = self.timing;
        let exchanged = Exchanged { ending, output, timing, page, changes_code, limit };
        if finish(self.incoming, self.outgoing)
            && let Some(taken) = downloaded.taken.take()
        {
            taken.confirm();
        }
        cleaned?;
        if let Some(warning) = missing(&self.outcome.missing, self.outcome.ending)? {
            self.exchange.terminal.warn(&warning);
        }
        Ok(exchanged)
    }

    fn download(&mut self, state: &WorkspaceState) -> Result<Downloaded, Error> {
        let Exchange { terminal, prepared, sources, .. } = self.exchange;
        let workspace = &prepared.workspace;
        // Most runs change no source file, and need no rules.
        let rules = LazyCell::new(|| rules(&workspace.root, workspace, &prepared.settings).0);
        let is_sent = |path: &RelativePath| {
            let place = sources.project.join_path(path);
            place.is_ok_and(|place| sources.tree.get(&place).is_some())
        };
        let excluded = |path: &RelativePath| rules.is_default_excluded(path) && !is_sent(path);
        let left_out = |path: &RelativePath| {
            let is_left_out = || match sources.is_in_whole(path) {
                true => rules.excludes_made(path),
                false => rules.leaves_out(path),
            };
            is_credentials(path) || !cargo_reads().any(|read| read == *path) && is_left_out()
        };
        let mut caches = Caches::load(state);
        // Read once and if it is needed: the agent gives other commands no results meanwhile.
        let base = LazyCell::new(|| state.base());
        let target = below_root(&workspace.target_directory).map_err(not_returned)?;
        let named = &prepared.plan.returns.paths;
        let is_named = |path: &RelativePath| {
            let place = target.join_path(path);
            place.is_ok_and(|place| named.iter().any(|named| place.is_within(named)))
        };
        let receiving = Receiving {
            sources,
            workspace: &workspace.root,
            target: &prepared.target,
            without_sources: workspace.without_sources().collect(),
            records: state.directory(),
            conflicts: Conflicts::read(state.directory()),
            base: &|| base.as_ref(),
            excluded: &excluded,
            left_out: &left_out,
            is_named: &is_named,
            packages: workspace.inputs.packages.iter().map(PathBuf::as_path).collect(),
        };
        let Outcome { changes, artifacts, links, whole, .. } = &self.outcome;
        let whole = wanted_of(whole, state, &workspace.target_directory)?;
        let has_links = links.iter().any(|link| link.path.below(&target).is_some());
        let has_results = !artifacts.is_empty() || whole.is_some() || has_links;
        let mut download = Download::new(receiving, changes, has_results).map_err(not_returned)?;
        let waits = |profile: &str| {
            let cargo = format!("a cargo that builds in `{profile}`");
            terminal.wait_for(&cargo, format!("waiting for {cargo}"));
        };
        download.lock_cargo(artifacts, whole.as_ref(), &mut caches.returned, &waits);
        // No step that begins now ends the wait.
        terminal.quiet();
        if prepared.plan.returns.tests {
            download.create_directory_of_tests().map_err(not_returned)?;
        }
        match &whole {
            // Artifacts are among its files.
            Some(whole) => download.whole(whole, &mut caches.returned),
            None => download.artifacts(artifacts, &mut caches.returned),
        }
        .map_err(not_returned)?;
        // Most commands find everything here.
        let writing = match download.writes_target() || !changes.is_empty() || self.has_named() {
            true => Some(self.begin_writing(state, whole.as_ref())?),
            false => None,
        };
        self.take_sources(&mut download, &target, &mut caches)?;
        let streams = (&mut self.incoming, &self.outgoing);
        let downloaded = receive(self.exchange, streams, state, (download, writing), &mut caches)?;
        if let Some(whole) = whole.filter(|_| downloaded.is_complete) {
            whole.remember().map_err(unreadable)?;
            self.tell_what_compiles_again();
        }
        terminal.quiet();
        terminal.detail(&format!("{} files fetched", downloaded.written));
        caches.save(state)?;
        Ok(downloaded)
    }

    /// Whether there is something of the workspace, or a link, that the user has named.
    const fn has_named(&self) -> bool {
        !self.outcome.named.is_empty() || !self.outcome.links.is_empty()
    }

    /// Records where is written, for the case that this command is killed.
    fn begin_writing(
        &self,
        state: &WorkspaceState,
        whole: Option<&Wanted>,
    ) -> Result<Writing, Error> {
        let Exchange { prepared, sources, .. } = self.exchange;
        let Outcome { changes, artifacts, named, links, .. } = &self.outcome;
        let of_whole = whole.into_iter().flat_map(|whole| &whole.files);
        let below_target = artifacts.iter().map(|artifact| &artifact.path);
        let below_target = below_target.chain(of_whole.map(|(file, _)| &file.path));
        let target = prepared.workspace.target_directory.as_path();
        let named = named.iter().filter_map(|file| sources.project.join_path(&file.path).ok());
        let others = changes.iter().map(|change| change.path().absolute());
        let others = others.chain(links.iter().map(|link| link.path.absolute()));
        let others = others.chain(named.map(|path| path.absolute()));
        let paths = below_target.map(|path| path.in_directory(target)).chain(others);
        Writing::begin(state.directory(), paths).map_err(unreadable)
    }

    /// Decides about what is no artifact, and about pages that are gone. `target` is the target
    /// directory below `/`.
    fn take_sources(
        &self,
        download: &mut Download<'_>,
        target: &RelativePath,
        caches: &mut Caches,
    ) -> Result<(), Error> {
        let Outcome { artifacts, named, links, ending, .. } = &self.outcome;
        let returns = &self.exchange.prepared.plan.returns;
        download.changes().map_err(not_returned)?;
        let whole = returns.whole.is_some().then_some(target);
        let linked: Vec<&RelativePath> = returns.paths.iter().chain(whole).collect();
        download.links(links, &linked, target).map_err(not_returned)?;
        download.named(named, &caches.named).map_err(not_returned)?;
        if returns.docs && *ending == Ending::Exited(0) {
            download.remove_stale_pages(artifacts, &mut caches.returned).map_err(not_returned)?;
        }
        Ok(())
    }

    /// The page of the documentation to open.
    fn page(&self) -> Option<PathBuf> {
        let Exchange { prepared, .. } = self.exchange;
        let Outcome { opening, ending, .. } = &self.outcome;
        if !prepared.plan.opens_docs || *ending != Ending::Exited(0) {
            return None;
        }
        let workspace = &prepared.workspace;
        let crates = &prepared.plan.documented;
        opening.page(&workspace.target_directory, crates, &|page| page.is_file())
    }

    /// Tells why a plain cargo compiles again, though the whole target directory is here.
    fn tell_what_compiles_again(&self) {
        let Exchange { terminal, prepared, .. } = self.exchange;
        let listed = self.outcome.whole.listed.as_ref();
        let there = listed.and_then(|listed| listed.compiler.as_deref());
        if let Some(why) = there.and_then(|there| compiler::other(there, &prepared.compiler)) {
            terminal.warn(&why);
        }
        if let Some(build) = &prepared.workspace.build_directory {
            terminal.warn(&format!(
                "`{}`, where cargo builds, is not fetched, so a plain cargo compiles again: \
                 `--fetch all` brings the target directory",
                build.display()
            ));
        }
    }

    /// Removes here what a successful `cargo clean` has removed on the agent.
    fn clean(&self) -> Result<(), Error> {
        match (&self.exchange.prepared.plan.cleans, self.outcome.ending) {
            (Some(arguments), Ending::Exited(0)) => clean_here(self.exchange.directory, arguments),
            _ => Ok(()),
        }
    }

    /// Remembers what the results have changed on both ends, before the agent is told: a file
    /// that git ignores is only sent if it is remembered.
    fn settle(&self, state: &mut WorkspaceState, downloaded: &Downloaded) -> Result<(), Error> {
        let changes = &self.outcome.changes;
        if changes.is_empty() {
            return Ok(());
        }
        let root = &self.exchange.prepared.workspace.root;
        downloaded.conflicts.write(state.directory(), root)?;
        state.generated_files.extend(downloaded.made.iter().cloned());
        let project = &self.exchange.sources.project;
        let adopted = changes_at(changes, &downloaded.adopted);
        let written = adopted.filter_map(|change| match change {
            Change::Put { path, entry: Entry::File(_) } => path.below(project),
            _ => None,
        });
        state.note_written(written.collect())?;
        // Another command may have fetched results since this one has sent its sources.
        let sent = &self.exchange.sources.tree;
        state.save_results(|held| {
            base_after(held.as_ref().unwrap_or(sent), changes, &downloaded.adopted)
        })
    }
}

/// Fetches what was decided for, and writes it. After an error nothing temporary is left.
fn receive(
    exchange: Exchange<'_>,
    (incoming, outgoing): (&mut Incoming, &Outgoing),
    state: &WorkspaceState,
    (download, writing): (Download<'_>, Option<Writing>),
    caches: &mut Caches,
) -> Result<Downloaded, Error> {
    let Exchange { terminal, prepared, .. } = exchange;
    let wanted = download.wanted_bytes();
    tracing::debug!(bytes = wanted, "fetching results");
    if wanted > 0 {
        terminal.begin_tallied("fetching results", &download.begin_tally());
    }
    let downloaded = download.fetch(incoming, outgoing, caches);
    let Ok(downloaded) = downloaded else {
        // As the next command would.
        let notes = clear_leftovers(state.directory(), &prepared.workspace.root)?;
        notes.iter().for_each(|note| terminal.warn(note));
        return downloaded;
    };
    if let Some(writing) = writing {
        writing.finish();
    }
    Ok(downloaded)
}

/// The changes of these indices.
fn changes_at<'c>(changes: &'c [Change], indices: &[u32]) -> impl Iterator<Item = &'c Change> {
    indices.iter().filter_map(|index| changes.get(usize::try_from(*index).ok()?))
}

/// What is to be here of a whole target directory; none if it was not requested.
fn wanted_of(
    offered: &Offered,
    state: &WorkspaceState,
    target: &Path,
) -> Result<Option<Wanted>, Error> {
    let Some(listed) = &offered.listed else { return Ok(None) };
    let wanted = Wanted::new(offered, listed, state.directory(), target);
    wanted.map(Some).map_err(|error| confused(&error))
}
