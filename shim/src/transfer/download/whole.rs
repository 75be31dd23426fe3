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
use burst_sync::fingerprint::{is_dep_info, is_fingerprint, is_script_output};
use burst_sync::root_directory;
use burst_sync::stat_cache::StatCache;
use std::collections::BTreeSet;

use super::{Download, held_artifact};
use crate::transfer::receiving::{BASE_BYTES_MAX, Destination, Place};
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
        let Some(target) = &self.results.target else { return Ok(()) };
        let held =
            |(file, _): &(TargetFile, Moment)| held_artifact(target.root(), &file.path, cache);
        let here: Vec<Option<File>> = wanted.files.iter().map(held).collect();
        self.unseal(&replaced(wanted, &here))?;
        let Some(target) = &self.results.target else { return Ok(()) };
        for TargetFile { path, file, .. } in &wanted.gone {
            if held_artifact(target.root(), path, cache).is_some_and(|here| here == *file) {
                remove(target.root(), path);
            }
            cache.remove(path.as_bytes());
        }
        self.remove_other_fingerprints(wanted);
        for ((TargetFile { path, file, .. }, modified), here) in wanted.files.iter().zip(here) {
            if is_script_output(path) || is_dep_info(path) {
                self.input_lists.push(path.clone());
            }
            let Some(target) = &self.results.target else { return Ok(()) };
            // It may have gone with its unit.
            let here = match is_fingerprint(path) {
                true => held_artifact(target.root(), path, cache),
                false => here,
            };
            if here.is_some_and(|here| here == *file) {
                let status = target.root().status(path);
                if !status.is_ok_and(|status| root_directory::modified(&status) == *modified) {
                    self.redated.push((path.clone(), file.digest, *modified));
                }
                continue;
            }
            let base = here.filter(|here| here.size <= BASE_BYTES_MAX).map(|here| here.digest);
            let place = Place::Artifact { base, modified: Some(*modified) };
            self.results.want(file, Destination { path: path.clone(), file: *file, place });
        }
        Ok(())
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

/// The paths at which something is to be replaced, written or removed. `here` is what is there of
/// each wanted file.
fn replaced(wanted: &Wanted, here: &[Option<File>]) -> Vec<RelativePath> {
    let differs = |((wanted, _), here): &(&(TargetFile, Moment), &Option<File>)| {
        here.as_ref() != Some(&wanted.file)
    };
    let files = wanted.files.iter().zip(here).filter(differs).map(|((file, _), _)| file);
    files.chain(&wanted.gone).map(|file| file.path.clone()).collect()
}
