//! Repair of the cargo home of a project on a server.

use std::io;

use super::directory::{Directory, Entry};
use super::suspects::Suspects;

/// Removes what has changed of what cargo has downloaded.
pub(super) fn repair(suspects: &mut Suspects, cargo_home: &Directory) -> io::Result<()> {
    for entry in cargo_home.entries()? {
        // The record of what was used when, and its journal.
        if entry.name().starts_with(b".global-cache") {
            suspects.remove_file(cargo_home, &entry)?;
        }
    }
    if let Some(registry) = cargo_home.named("registry")? {
        repair_registry(suspects, &registry)?;
    }
    if let Some(git) = cargo_home.named("git")? {
        // db/REPOSITORY, checkouts/REPOSITORY/COMMIT
        in_each(&git, "db", &mut |databases, entry| suspects.remove_whole(databases, entry))?;
        in_each(&git, "checkouts", &mut |checkouts, entry| {
            remove_wholes_below(suspects, checkouts, entry)
        })?;
    }
    Ok(())
}

fn repair_registry(suspects: &mut Suspects, registry: &Directory) -> io::Result<()> {
    // cache/REGISTRY/PACKAGE.crate
    if let Some(cache) = registry.named("cache")? {
        suspects.remove_files(&cache)?;
    }
    // src/REGISTRY/PACKAGE/
    in_each(registry, "src", &mut |sources, entry| remove_wholes_below(suspects, sources, entry))?;
    in_each(registry, "index", &mut |indices, entry| {
        let Some(index) = indices.below(entry)? else {
            return suspects.remove_file(indices, entry);
        };
        match index.named(".git")? {
            Some(_) => suspects.remove_whole(indices, entry),
            None => suspects.remove_files(&index),
        }
    })
}

/// Calls `repair` with each entry of the directory of this name.
fn in_each(
    parent: &Directory,
    name: &str,
    repair: &mut dyn FnMut(&Directory, &Entry) -> io::Result<()>,
) -> io::Result<()> {
    let Some(directory) = parent.named(name)? else { return Ok(()) };
    directory.entries()?.iter().try_for_each(|entry| repair(&directory, entry))
}

/// Removes the entries of a directory that have changed, each as a whole.
fn remove_wholes_below(
    suspects: &mut Suspects,
    parent: &Directory,
    entry: &Entry,
) -> io::Result<()> {
    let Some(directory) = parent.below(entry)? else {
        return suspects.remove_file(parent, entry);
    };
    for entry in directory.entries()? {
        suspects.remove_whole(&directory, &entry)?;
    }
    Ok(())
}
