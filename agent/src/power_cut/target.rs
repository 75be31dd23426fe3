//! Repair of a target or build directory.
//!
//! cargo works by unit, whose parts `burst_sync::fingerprint` describes. In both layouts final
//! artifacts are links beside these directories, and `PROFILE/incremental/CRATE-*/` has the
//! compiler's sessions. A layout that is not known here loses the files that have changed, and
//! cargo notices that outputs are missing.

use std::collections::BTreeMap;
use std::io;

use burst_sync::fingerprint::hash_of;

use super::directory::{Directory, Entry};
use super::suspects::Suspects;

/// Removes from a directory what has changed.
pub(super) fn repair(suspects: &mut Suspects, directory: &Directory) -> io::Result<()> {
    let mut units = Units::default();
    for entry in directory.entries()? {
        let Some(below) = directory.below(&entry)? else {
            suspects.remove_file(directory, &entry)?;
            continue;
        };
        match entry.name() {
            b".fingerprint" | b"deps" | b"examples" => {
                units.take_parts(suspects, below, repair_other)?;
            }
            b"build" => units.take_parts(suspects, below, repair_package)?,
            b"incremental" => {
                for sessions in below.entries()? {
                    suspects.remove_whole(&below, &sessions)?;
                }
            }
            b"doc" => suspects.remove_whole(directory, &entry)?,
            _ => repair(suspects, &below)?,
        }
    }
    units.remove_changed(suspects)
}

/// Repairs an entry that is no part of a unit.
fn repair_other(suspects: &mut Suspects, parent: &Directory, entry: &Entry) -> io::Result<()> {
    match parent.below(entry)? {
        Some(below) => repair(suspects, &below),
        None => suspects.remove_file(parent, entry),
    }
}

/// Repairs an entry `PACKAGE` of `build/`, in which each directory is a unit.
fn repair_package(suspects: &mut Suspects, parent: &Directory, entry: &Entry) -> io::Result<()> {
    let Some(package) = parent.below(entry)? else { return suspects.remove_file(parent, entry) };
    for unit in package.entries()? {
        match unit.is_directory() {
            true => suspects.remove_whole(&package, &unit)?,
            false => suspects.remove_file(&package, &unit)?,
        }
    }
    Ok(())
}

/// The units of a profile in the classic layout, whose parts are in several directories.
#[derive(Default)]
struct Units {
    directories: Vec<Directory>,
    units: BTreeMap<Vec<u8>, Unit>,
}

#[derive(Default)]
struct Unit {
    /// The index of the directory, and the entry in it.
    parts: Vec<(usize, Entry)>,
    has_changed: bool,
}

impl Units {
    /// Takes a directory and those of its entries that are parts of units. Calls `repair`
    /// with the others.
    fn take_parts(
        &mut self,
        suspects: &mut Suspects,
        directory: Directory,
        repair: fn(&mut Suspects, &Directory, &Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        for entry in directory.entries()? {
            let Some(hash) = hash_of(entry.name()) else {
                repair(suspects, &directory, &entry)?;
                continue;
            };
            let unit = self.units.entry(hash.to_vec()).or_default();
            unit.has_changed |= suspects.has_changed(&directory, &entry)?;
            unit.parts.push((self.directories.len(), entry));
        }
        self.directories.push(directory);
        Ok(())
    }

    /// Removes all parts of the units of which a part has changed.
    fn remove_changed(self, suspects: &mut Suspects) -> io::Result<()> {
        for unit in self.units.values().filter(|unit| unit.has_changed) {
            let parts = unit.parts.iter();
            suspects
                .remove_parts(parts.map(|(index, entry)| (&self.directories[*index], entry)))?;
        }
        Ok(())
    }
}
