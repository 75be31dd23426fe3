//! The whole target directory in a download: what is fetched, what is here already and gets the
//! run's time, and what is removed.
//!
//! Invariants: a file that was changed here since it was brought is never removed. No file gets
//! its time while something is missing that a fingerprint vouches for. Which files belong to the
//! list, and what its digest is, is not decided here (`whole_target`), nor which fingerprints may
//! stay (`freshness`).

use burst_protocol::RelativePath;
use burst_protocol::message::TargetFile;
use burst_sync::SyncError;
use burst_sync::fingerprint::{is_dep_info, is_fingerprint, is_script_output, unit_of};
use burst_sync::stat_cache::StatCache;
use std::collections::BTreeSet;

use super::Download;
use crate::transfer::destination::{Destination, Place};
use crate::transfer::held_target::{Found, Here, held_artifact};
use crate::transfer::receiving::BASE_BYTES_MAX;
use crate::transfer::stale_pages::remove;
use crate::transfer::whole_target::Wanted;

impl Download<'_> {
    /// Decides about the whole target directory, as [`Self::find_whole`] has found it under the
    /// locks of cargo. What was brought before and is gone is removed, unless it was changed here.
    pub(crate) fn whole(
        &mut self,
        wanted: &Wanted,
        cache: &mut StatCache,
    ) -> Result<(), SyncError> {
        let Some(Found { here, unsealed }) = self.found.take() else { return Ok(()) };
        let Some(target) = &self.results.target else { return Ok(()) };
        self.held_units.remove(target.root(), &unsealed)?;
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
            if is_fingerprint(path) && unit_of(path).is_some_and(|unit| unsealed.contains(&unit)) {
                // It has gone with its unit.
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

    /// Finds what is here of a whole target directory, for [`Self::whole`]. Returns the profiles of
    /// the units of which something is replaced, removed or dated, and of those that lose their
    /// fingerprints.
    pub(super) fn find_whole(
        &mut self,
        wanted: &Wanted,
        cache: &mut StatCache,
    ) -> BTreeSet<Vec<u8>> {
        let Some(target) = &self.results.target else { return BTreeSet::new() };
        let (found, profiles) = Found::look(target.root(), &mut self.held_units, wanted, cache);
        self.found = Some(found);
        profiles
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
