//! Which units depend on others, as cargo's fingerprints tell.
//!
//! cargo looks at times to see that a unit was compiled before what it depends on. Files that are
//! brought have times of before, so a unit that only a cargo here has compiled would count as
//! fresh, though it was compiled with another version of what is replaced. Its fingerprints go,
//! too.
//!
//! Source of the format: `cargo::core::compiler::fingerprint`. A unit's hash file holds the hash of
//! its fingerprint, a number of 64 bits, as 16 hexadecimal digits with the low byte first; the file
//! of the same name and `.json` has `deps`, in which the fourth value of each entry is the hash of
//! what the unit was compiled with.

use std::collections::{BTreeMap, BTreeSet};

use burst_protocol::RelativePath;
use burst_sync::fingerprint::{Unit, is_script_output, is_seal};
use burst_sync::root_directory::RootDirectory;
use serde::Deserialize;

/// The longest fingerprint that is read, in bytes. A longer one counts as unreadable.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// The hash of a fingerprint.
type Hash = u64;

/// What the fingerprints of a unit tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The hashes of the unit.
    hashes: BTreeSet<Hash>,
    /// Those of what it was compiled with; none if that is unknown.
    with: Option<BTreeSet<Hash>>,
}

/// The part of a fingerprint that is read.
#[derive(Deserialize)]
struct Fingerprint {
    /// A package, the name of its library, whether it is public, and the hash.
    deps: Vec<(serde_json::Number, String, bool, Hash)>,
}

impl Compiled {
    /// Reads the fingerprints of a unit. What cannot be read tells nothing.
    pub(super) fn read(target: &RootDirectory, fingerprints: &[RelativePath]) -> Self {
        let mut compiled = Self { hashes: BTreeSet::new(), with: Some(BTreeSet::new()) };
        // Since cargo 1.100 the output of a script lies among the fingerprints.
        for path in fingerprints.iter().filter(|path| is_seal(path) && !is_script_output(path)) {
            let hash = target.read(path, JSON_BYTES_MAX).ok().and_then(|text| hash_of(&text));
            compiled.hashes.extend(hash);
            let with = RelativePath::new(&[path.as_bytes(), b".json"].concat()).ok();
            let with = with.and_then(|path| target.read(&path, JSON_BYTES_MAX).ok());
            let with = with.and_then(|text| serde_json::from_slice::<Fingerprint>(&text).ok());
            match (&mut compiled.with, with) {
                (Some(known), Some(found)) => {
                    known.extend(found.deps.into_iter().map(|(_, _, _, hash)| hash));
                }
                _ => compiled.with = None,
            }
        }
        compiled
    }
}

/// The hash in a hash file.
fn hash_of(text: &[u8]) -> Option<Hash> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 16)?;
    Hash::from_str_radix(text, 16).ok().map(Hash::swap_bytes)
}

/// The units that depend, however far, on a replaced one, or on what is not here, so that it may
/// have been replaced before. Pure.
pub(super) fn dependents(
    compiled: &BTreeMap<Unit, Compiled>,
    replaced: &BTreeSet<Unit>,
) -> BTreeSet<Unit> {
    let mut kept: Vec<(&Unit, &Compiled)> =
        compiled.iter().filter(|(unit, _)| !replaced.contains(*unit)).collect();
    let mut dependents = BTreeSet::new();
    loop {
        let hashes: BTreeSet<Hash> =
            kept.iter().flat_map(|(_, compiled)| compiled.hashes.iter().copied()).collect();
        let (fresh, stale): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, compiled)| {
            compiled.with.as_ref().is_some_and(|with| with.is_subset(&hashes))
        });
        if stale.is_empty() {
            return dependents;
        }
        dependents.extend(stale.into_iter().map(|(unit, _)| unit.clone()));
        kept = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(hash: &str) -> Unit {
        Unit { profile: b"debug".to_vec(), hash: hash.into() }
    }

    fn units(hashes: &[&str]) -> BTreeSet<Unit> {
        hashes.iter().map(|hash| unit(hash)).collect()
    }

    #[test]
    fn what_depends_on_a_replaced_unit_is_found_however_far() {
        let compiled = |hash: Hash, with: Option<&[Hash]>| Compiled {
            hashes: [hash].into(),
            with: with.map(|with| with.iter().copied().collect()),
        };
        let all: BTreeMap<Unit, Compiled> = [
            ("a", compiled(1, Some(&[]))),
            ("b", compiled(2, Some(&[1]))),
            ("c", compiled(3, Some(&[2]))),
            ("d", compiled(4, Some(&[]))),
            ("e", compiled(5, Some(&[4]))),
            ("f", compiled(6, None)),
            // What it was compiled with is not here any more.
            ("g", compiled(7, Some(&[99]))),
        ]
        .map(|(name, compiled)| (unit(name), compiled))
        .into();
        let found = |replaced: &[&str]| dependents(&all, &units(replaced));
        assert_eq!(found(&["a"]), units(&["b", "c", "f", "g"]));
        assert_eq!(found(&["b"]), units(&["c", "f", "g"]));
        assert_eq!(found(&["a", "d", "g"]), units(&["b", "c", "e", "f"]));
    }

    #[test]
    fn fingerprints_are_read_as_cargo_writes_them() {
        let disk = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(disk.path().join(name), text).unwrap();
        std::fs::create_dir_all(disk.path().join(".fingerprint/a-0123456789abcdef")).unwrap();
        let at = |name: &str| format!(".fingerprint/a-0123456789abcdef/{name}");
        write(&at("lib-a"), "e68371de76cd72c7");
        write(
            &at("lib-a.json"),
            r#"{"rustc":1,"deps":[[5532778797167691009,"itoa",false,1395068642938174434]],"local":[]}"#,
        );
        let target = RootDirectory::open(disk.path()).unwrap();
        let path = |name: &str| RelativePath::new(at(name).as_bytes()).unwrap();
        let paths = [path("dep-lib-a"), path("lib-a"), path("lib-a.json")];
        let expected = Compiled {
            hashes: [0xc772_cd76_de71_83e6].into(),
            with: Some([1_395_068_642_938_174_434].into()),
        };
        assert_eq!(Compiled::read(&target, &paths), expected);
        write(&at("lib-a.json"), "{}");
        assert_eq!(Compiled::read(&target, &paths), Compiled { with: None, ..expected });
        write(&at("lib-a"), "");
        assert_eq!(Compiled::read(&target, &paths), Compiled::default());
    }
}
