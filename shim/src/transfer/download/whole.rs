//! The whole target directory in a download: what is fetched, what is here already and gets the
//! run's time, and what is removed.
//!
//! Invariants: a file that was changed here since it was brought is never removed. No file gets
//! its time while something is missing that a fingerprint vouches for. Which files belong to the
//! list, and what its digest is, is not decided here (`whole_target`), nor which fingerprints may
//! stay (`freshness`).

use burst_protocol::RelativePath;
use burst_protocol::message::TargetFile;
use burst_protocol::tree::File;
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::fingerprint::{Unit, is_dep_info, is_fingerprint, is_script_output, unit_of};
use burst_sync::root_directory::{self, RootDirectory};
use burst_sync::stat_cache::StatCache;
use std::collections::BTreeSet;

use super::{Download, held_artifact};
use crate::transfer::destination::{Destination, Place};
use crate::transfer::held_units::HeldUnits;
use crate::transfer::receiving::BASE_BYTES_MAX;
use crate::transfer::stale_pages::remove;
use crate::transfer::whole_target::Wanted;

impl Download<'_> {
    /// Decides about the whole target directory. What was brought before and is gone is removed,
    /// unless it was changed here.
    pub(crate) fn whole(
        &mut self,
        wanted: &Wanted,
        cache: &mut StatCache,
    ) -> Result<(), SyncError> {
        let here = self.look(wanted, cache);
        let Some(target) = &self.results.target else { return Ok(()) };
        let AtStake { unsealed, .. } =
            AtStake::find(target.root(), &mut self.held_units, wanted, &here);
        self.held_units.remove(target.root(), &unsealed)?;
        let Some(target) = &self.results.target else { return Ok(()) };
        for TargetFile { path, file, .. } in &wanted.gone {
            if held_artifact(target.root(), path, cache).is_some_and(|here| here == *file) {
                remove(target.root(), path);
            }
            cache.remove(path.as_bytes());
        }
        self.remove_other_fingerprints(wanted);
        for ((file, modified), mut here) in wanted.files.iter().zip(here) {
            let TargetFile { path, file: wanted, .. } = file;
            if is_script_output(path) || is_dep_info(path) {
                self.input_lists.push(path.clone());
            }
            let Some(target) = &self.results.target else { return Ok(()) };
            if is_fingerprint(path) {
                // It may have gone with its unit.
                here = Here::look(target.root(), file, *modified, cache);
            }
            if here.is(wanted) {
                if !here.is_dated {
                    self.redated.push((path.clone(), wanted.digest, *modified));
                }
                continue;
            }
            self.make_way(path)?;
            let base = here.file.filter(|here| here.size <= BASE_BYTES_MAX);
            let base = base.map(|here| here.digest);
            let place = Place::Artifact { base, modified: Some(*modified) };
            self.results.want(wanted, Destination { path: path.clone(), file: *wanted, place });
        }
        Ok(())
    }

    /// The profiles of the units of which a whole target directory replaces, removes or dates
    /// something, and of those that lose their fingerprints.
    pub(super) fn profiles_at_stake(
        &mut self,
        wanted: &Wanted,
        cache: &mut StatCache,
    ) -> BTreeSet<Vec<u8>> {
        let here = self.look(wanted, cache);
        let Some(target) = &self.results.target else { return BTreeSet::new() };
        let AtStake { touched, unsealed } =
            AtStake::find(target.root(), &mut self.held_units, wanted, &here);
        touched.into_iter().chain(unsealed).map(|unit| unit.profile).collect()
    }

    /// Looks at what is here of the wanted files.
    fn look(&self, wanted: &Wanted, cache: &mut StatCache) -> Vec<Here> {
        let Some(target) = &self.results.target else { return Vec::new() };
        let look = |(file, modified): &(TargetFile, Moment)| {
            Here::look(target.root(), file, *modified, cache)
        };
        wanted.files.iter().map(look).collect()
    }

    /// Removes what cargo here has kept beside the fingerprints of units that are brought: it
    /// belongs to another build of the unit, such as its messages.
    fn remove_other_fingerprints(&self, wanted: &Wanted) {
        let Some(target) = &self.results.target else { return };
        let files: BTreeSet<&RelativePath> =
            wanted.files.iter().map(|(file, _)| &file.path).collect();
        let of_units = files.iter().filter(|path| is_fingerprint(path) && !is_script_output(path));
        let units: BTreeSet<RelativePath> = of_units.filter_map(|path| path.parent()).collect();
        for unit in units {
            let Ok(directory) = target.root().subdirectory(&unit) else { continue };
            for name in directory.files().unwrap_or_default() {
                let Ok(path) = unit.join_path(&name) else { continue };
                if !files.contains(&path) {
                    remove(target.root(), &path);
                }
            }
        }
    }

    /// Gives the files that are here already their times: only once nothing is missing that
    /// fingerprints among them vouch for.
    pub(super) fn redate(&mut self) -> Result<(), SyncError> {
        let Some(target) = &self.results.target else { return Ok(()) };
        if self.results.is_incomplete {
            return Ok(());
        }
        for (path, digest, modified) in std::mem::take(&mut self.redated) {
            let set = target.root().set_modified(&path, modified);
            set.map_err(|error| target.unwritable(&path, error))?;
            self.results.fetched.push((path, digest));
        }
        Ok(())
    }
}

/// The units here that a whole target directory concerns.
struct AtStake {
    /// Those of which something is replaced or removed, or gets another time.
    touched: BTreeSet<Unit>,
    /// Those that lose their fingerprints: of which something is replaced or removed, and those
    /// that are not brought and depend on one that is touched.
    unsealed: BTreeSet<Unit>,
}

impl AtStake {
    fn find(
        target: &RootDirectory,
        held_units: &mut HeldUnits,
        wanted: &Wanted,
        here: &[Here],
    ) -> Self {
        let mut units_of = |paths: &mut dyn Iterator<Item = &RelativePath>| -> BTreeSet<Unit> {
            paths.flat_map(|path| held_units.units_of(target, path)).collect()
        };
        let files = || wanted.files.iter().map(|(file, _)| file).zip(here);
        let differ = files().filter(|(file, here)| !here.is(&file.file)).map(|(file, _)| file);
        let mut unsealed = units_of(&mut differ.chain(&wanted.gone).map(|file| &file.path));
        let redated = files().filter(|(file, here)| here.is(&file.file) && !here.is_dated);
        let mut touched = units_of(&mut redated.map(|(file, _)| &file.path));
        touched.extend(unsealed.iter().cloned());
        if touched.is_empty() {
            return Self { touched, unsealed };
        }
        let brought = wanted.files.iter().filter(|(file, _)| is_fingerprint(&file.path));
        let brought: BTreeSet<Unit> = brought.filter_map(|(file, _)| unit_of(&file.path)).collect();
        let dependents = held_units.dependents_of(target, &touched);
        unsealed.extend(dependents.difference(&brought).cloned());
        Self { touched, unsealed }
    }
}

/// What is here at the path of a wanted file.
struct Here {
    file: Option<File>,
    /// Whether it has the wanted time.
    is_dated: bool,
}

impl Here {
    fn look(
        target: &RootDirectory,
        TargetFile { path, .. }: &TargetFile,
        modified: Moment,
        cache: &mut StatCache,
    ) -> Self {
        let file = held_artifact(target, path, cache);
        let status = target.status(path);
        Self {
            file,
            is_dated: status.is_ok_and(|status| root_directory::modified(&status) == modified),
        }
    }

    /// Whether it is the wanted file.
    fn is(&self, wanted: &File) -> bool {
        self.file.as_ref() == Some(wanted)
    }
}
