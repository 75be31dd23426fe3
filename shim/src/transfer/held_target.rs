//! What is here of a target directory, compared with what is brought.
//!
//! Nothing is changed by this.

use std::collections::BTreeSet;

use burst_protocol::RelativePath;
use burst_protocol::message::TargetFile;
use burst_protocol::tree::File;
use burst_sync::clock::Moment;
use burst_sync::fingerprint::{Unit, is_fingerprint, unit_of};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::hash_file;
use burst_sync::stat_cache::{Signature, StatCache};

use super::held_units::HeldUnits;
use super::whole_target::Wanted;

/// What was found here of a whole target directory.
#[derive(Debug)]
pub(super) struct Found {
    /// At the path of each wanted file.
    pub(super) here: Vec<Here>,
    /// The units that lose their fingerprints: of which something is replaced or removed, and those
    /// that are not brought and depend on one of which something is replaced, removed or dated.
    pub(super) unsealed: BTreeSet<Unit>,
}

impl Found {
    /// Looks at what is here. Also returns the profiles of all units that are concerned.
    pub(super) fn look(
        target: &RootDirectory,
        held_units: &mut HeldUnits,
        wanted: &Wanted,
        cache: &mut StatCache,
    ) -> (Self, BTreeSet<Vec<u8>>) {
        let look =
            |(file, modified): &(TargetFile, Moment)| Here::look(target, file, *modified, cache);
        let here: Vec<Here> = wanted.files.iter().map(look).collect();
        let AtStake { touched, unsealed } = AtStake::find(target, held_units, wanted, &here);
        let profiles = touched.iter().chain(&unsealed).map(|unit| unit.profile.clone()).collect();
        (Self { here, unsealed }, profiles)
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
#[derive(Debug)]
pub(super) struct Here {
    pub(super) file: Option<File>,
    /// Whether it has the wanted time.
    pub(super) is_dated: bool,
}

impl Here {
    pub(super) fn look(
        target: &RootDirectory,
        TargetFile { path, .. }: &TargetFile,
        modified: Moment,
        cache: &mut StatCache,
    ) -> Self {
        let file = held_artifact(target, path, cache);
        // The cache holds the status by which the file was judged.
        let dated = cache.get(path.as_bytes()).map(|cached| cached.signature.modified());
        Self { is_dated: file.is_some() && dated == Some(modified), file }
    }

    /// Whether it is the wanted file.
    pub(super) fn is(&self, wanted: &File) -> bool {
        self.file.as_ref() == Some(wanted)
    }
}

/// The current file at a path of the target directory, by the cache if possible.
pub(super) fn held_artifact(
    target: &RootDirectory,
    path: &RelativePath,
    cache: &mut StatCache,
) -> Option<File> {
    let status = target.status(path).ok()?;
    let signature = Signature::of(&status);
    if let Some(digest) = cache.lookup(path.as_bytes(), &signature) {
        let (size, mode) = (signature.size(), signature.mode());
        return Some(File { size, digest, mode });
    }
    let cached = hash_file(target, path, Moment::coarse_now()).ok()??;
    cache.insert(path.as_bytes(), cached);
    Some(burst_sync::scan::file_of(&cached))
}
