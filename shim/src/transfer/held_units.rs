//! The fingerprints in the target directory here, by unit, so that those of a unit can be removed
//! before something is replaced that they vouch for.
//!
//! Invariant: all of a unit's fingerprints go together, first those without which cargo compiles
//! what depends on the unit in the same build: if only its hash file was missing, cargo 1.95 would
//! not. cargo then compiles the unit again, and what depends on it.

use std::collections::{BTreeMap, BTreeSet};

use burst_protocol::RelativePath;
use burst_sync::fingerprint::{
    Unit, hash_of, is_dep_info, is_fingerprint, is_hash, is_script_output, unit_of,
};
use burst_sync::root_directory::RootDirectory;

use super::dependents::{Compiled, dependents};

/// The fingerprints of profiles.
#[derive(Debug, Default)]
pub(super) struct HeldUnits {
    profiles: BTreeMap<Vec<u8>, Fingerprints>,
    /// The units that have documented a crate, by the directory above those of the profiles and the
    /// name of the crate: thousands of pages have the same ones.
    documented: BTreeMap<(Vec<u8>, Vec<u8>), Vec<Unit>>,
}

/// The fingerprints of each unit.
type Fingerprints = BTreeMap<Unit, Vec<RelativePath>>;

impl HeldUnits {
    /// The fingerprints of the units of a profile, as they are when it is named first.
    fn profile(&mut self, target: &RootDirectory, profile: &[u8]) -> &Fingerprints {
        let entry = self.profiles.entry(profile.to_vec());
        entry.or_insert_with(|| fingerprints(target, profile))
    }

    /// The units here of which a file is an output or a fingerprint. The name of a library without
    /// a hash and that of a page of the documentation tell their crate alone.
    pub(super) fn units_of(&mut self, target: &RootDirectory, path: &RelativePath) -> Vec<Unit> {
        if let Some(unit) = unit_of(path) {
            return vec![unit];
        }
        let names: Vec<&[u8]> = path.names().collect();
        match names.as_slice() {
            [b"doc", b"src", name, _, ..] | [b"doc", name, _, ..] => {
                return self.documented(target, b"", name);
            }
            [triple, b"doc", b"src", name, _, ..] | [triple, b"doc", name, _, ..] => {
                return self.documented(target, triple, name);
            }
            _ => {}
        }
        let [profile @ .., b"deps", name] = names.as_slice() else { return Vec::new() };
        let name = crate_name(name.split(|byte| *byte == b'.').next().unwrap_or_default());
        let names = [name.strip_prefix(b"lib"), Some(&name)].into_iter().flatten();
        let ends: Vec<Vec<u8>> = names.map(|name| [b"_", name].concat()).collect();
        let is_of_crate = |path: &RelativePath| {
            let fingerprint = crate_name(path.file_name());
            ends.iter().any(|end| fingerprint.ends_with(end))
        };
        let units = self.profile(target, &profile.join(b"/".as_slice())).iter();
        let found = units.filter(|(_, paths)| paths.iter().any(is_of_crate));
        found.map(|(unit, _)| unit.clone()).collect()
    }

    /// The units of a documented crate, in all profiles below a directory: they share its pages.
    fn documented(&mut self, target: &RootDirectory, parent: &[u8], name: &[u8]) -> Vec<Unit> {
        let key = (parent.to_vec(), name.to_vec());
        if let Some(known) = self.documented.get(&key) {
            return known.clone();
        }
        let end = [b"_", crate_name(name).as_slice()].concat();
        let documents = |path: &RelativePath| {
            let fingerprint = path.file_name();
            fingerprint.starts_with(b"doc-") && crate_name(fingerprint).ends_with(&end)
        };
        let mut found = Vec::new();
        for (profile, _) in directories(target, parent) {
            let units = self.profile(target, &profile).iter();
            let units = units.filter(|(_, paths)| paths.iter().any(documents));
            found.extend(units.map(|(unit, _)| unit.clone()));
        }
        self.documented.insert(key, found.clone());
        found
    }

    /// The units here that depend on replaced ones, also in other profiles of the same target
    /// directory: those of a target depend on the macros and scripts of the host.
    pub(super) fn dependents_of(
        &mut self,
        target: &RootDirectory,
        replaced: &BTreeSet<Unit>,
    ) -> BTreeSet<Unit> {
        for profile in profiles(target, replaced.iter().map(|unit| unit.profile.as_slice())) {
            self.profile(target, &profile);
        }
        let held = self.profiles.values().flatten();
        let compiled: BTreeMap<Unit, Compiled> =
            held.map(|(unit, paths)| (unit.clone(), Compiled::read(target, paths))).collect();
        dependents(&compiled, replaced)
    }

    /// Removes the fingerprints of units.
    pub(super) fn remove(
        &mut self,
        target: &RootDirectory,
        units: &BTreeSet<Unit>,
    ) -> Result<(), burst_sync::SyncError> {
        for unit in units {
            self.profile(target, &unit.profile);
            let held = self.profiles.get_mut(&unit.profile).and_then(|held| held.remove(unit));
            let mut held = held.unwrap_or_default();
            held.sort_by_key(|path| !is_dep_info(path) && !is_script_output(path));
            for path in held {
                match target.remove_file(&path) {
                    // A cargo here has removed it.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    removed => removed.map_err(|error| target.unwritable(&path, error))?,
                }
            }
        }
        Ok(())
    }
}

/// A name as the compiler has it.
fn crate_name(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if *byte == b'-' { b'_' } else { *byte }).collect()
}

/// The directories of profiles in the target directories of these, at most two levels below: a
/// triple can be in between. Which directory above a profile is its target directory, its path does
/// not tell.
fn profiles<'p>(
    target: &RootDirectory,
    known: impl Iterator<Item = &'p [u8]>,
) -> BTreeSet<Vec<u8>> {
    let above = |path: &[u8]| {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
        path[..end].to_vec()
    };
    let tops: BTreeSet<Vec<u8>> = known
        .flat_map(|profile| {
            let parent = above(profile);
            [above(&parent), parent]
        })
        .collect();
    let below = |top: &Vec<u8>| directories(target, top).into_iter().map(|(path, _)| path);
    let has_units = |profile: &Vec<u8>| {
        [b".fingerprint".as_slice(), b"build"]
            .iter()
            .any(|parent| open(target, &join(profile, parent)).is_some())
    };
    let first: BTreeSet<Vec<u8>> = tops.iter().flat_map(below).collect();
    let second = first.iter().flat_map(below).collect::<Vec<_>>();
    first.into_iter().chain(second).filter(has_units).collect()
}

/// Finds the fingerprints of a profile.
fn fingerprints(target: &RootDirectory, profile: &[u8]) -> Fingerprints {
    let mut found = Fingerprints::new();
    for parent in [".fingerprint", "build"].map(|name| join(profile, name.as_bytes())) {
        for (directory, name) in directories(target, &parent) {
            if hash_of(&name).is_some() {
                add_files(target, &directory, &mut found);
                continue;
            }
            let units = directories(target, &directory).into_iter();
            for (unit, _) in units.filter(|(_, name)| is_hash(name)) {
                for part in [b"fingerprint".as_slice(), b"run"] {
                    add_files(target, &join(&unit, part), &mut found);
                }
            }
        }
    }
    found
}

/// Adds the fingerprints among the files of a directory.
fn add_files(target: &RootDirectory, directory: &[u8], found: &mut Fingerprints) {
    let Some(opened) = open(target, directory) else { return };
    for name in opened.files().unwrap_or_default() {
        let path = RelativePath::new(&join(directory, name.as_bytes()));
        if let Ok(path) = path
            && let (true, Some(unit)) = (is_fingerprint(&path), unit_of(&path))
        {
            found.entry(unit).or_default().push(path);
        }
    }
}

/// The directories in one, with their names.
fn directories(target: &RootDirectory, directory: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let names = open(target, directory).and_then(|opened| opened.directories().ok());
    let names = names.unwrap_or_default().into_iter();
    names.map(|name| (join(directory, name.as_bytes()), name.as_bytes().to_vec())).collect()
}

fn open(target: &RootDirectory, directory: &[u8]) -> Option<RootDirectory> {
    if directory.is_empty() {
        return RootDirectory::share(target).ok();
    }
    target.subdirectory(&RelativePath::new(directory).ok()?).ok()
}

/// A name in a directory, which is empty for the target directory itself.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let parts = [directory, name].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(b"/".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_found_by_unit_and_removed_together() {
        let disk = tempfile::tempdir().unwrap();
        let hashes =
            ["0123456789abcdea", "0123456789abcdeb", "0123456789abcdec", "0123456789abcded"];
        let [a, b, c, d] = hashes;
        let files = [
            format!("debug/.fingerprint/kit-{a}/lib-my-kit"),
            format!("debug/.fingerprint/kit-{a}/dep-lib-my-kit"),
            format!("debug/.fingerprint/kit-{b}/run-build-script-build-script-build"),
            format!("debug/build/kit-{b}/output"),
            format!("debug/build/kit-{b}/out/output.rs"),
            format!("x/debug/build/kit/{c}/fingerprint/lib-kit"),
            format!("x/debug/build/kit/{c}/run/output"),
            format!("x/debug/build/kit/{c}/out/kit"),
            format!("debug/.fingerprint/my-book-{d}/doc-lib-my-book"),
        ];
        for file in &files {
            let path = disk.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let target = RootDirectory::open(disk.path()).unwrap();
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let unit = |profile: &str, hash: &str| Unit { profile: profile.into(), hash: hash.into() };
        let mut held = HeldUnits::default();
        let mut units = |name: &str| held.units_of(&target, &path(name));
        let first = unit("debug", a);
        assert_eq!(units(&format!("debug/deps/libmy_kit-{a}.rlib")), std::slice::from_ref(&first));
        assert_eq!(units("debug/deps/libmy_kit.so"), std::slice::from_ref(&first));
        assert_eq!(units("debug/deps/libother.so"), []);
        assert_eq!(units("debug/libmy_kit.so"), []);
        let documented = unit("debug", d);
        for page in ["doc/my_book/fn.f.html", "doc/src/my_book/lib.rs.html"] {
            assert_eq!(units(page), std::slice::from_ref(&documented), "{page}");
        }
        for page in ["doc/crates.js", "doc/my_kit/index.html", "x/doc/my_book/index.html"] {
            assert_eq!(units(page), [], "{page}");
        }
        let all = [first, unit("debug", b), unit("x/debug", c)].into();
        held.remove(&target, &all).unwrap();
        let left: Vec<&String> =
            files.iter().filter(|file| disk.path().join(file).exists()).collect();
        assert_eq!(left, [&files[4], &files[7], &files[8]]);
    }

    #[test]
    fn profiles_are_found_beside_known_ones() {
        let disk = tempfile::tempdir().unwrap();
        for profile in ["debug", "x86/release", "t/u/debug", "t/u/x86/debug", "other/a/b/debug"] {
            std::fs::create_dir_all(disk.path().join(profile).join(".fingerprint")).unwrap();
        }
        let target = RootDirectory::open(disk.path()).unwrap();
        let found = |known: &str| -> Vec<String> {
            let profiles = profiles(&target, std::iter::once(known.as_bytes()));
            profiles.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(found("debug"), ["debug", "x86/release"]);
        assert_eq!(found("x86/release"), ["debug", "x86/release"]);
        assert_eq!(found("t/u/debug"), ["t/u/debug", "t/u/x86/debug"]);
        assert_eq!(found("t/u/x86/debug"), ["t/u/debug", "t/u/x86/debug"]);
    }
}
