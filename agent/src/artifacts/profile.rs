//! What cargo puts in place for its user in the directory of a profile.
//!
//! cargo links programs and libraries from its own directories (`deps/`, `build/`) to
//! `PROFILE/NAME` and `PROFILE/examples/NAME`, with their `.d` files, and for a platform that was
//! named to `PLATFORM/PROFILE/NAME`. With `split-debuginfo = "unpacked"` debuggers open `.dwo`
//! files where rustc has written them, among cargo's own.

use burst_protocol::{FileName, RelativePath};
use burst_sync::root_directory::RootDirectory;

/// By one of these files cargo marks the directory of a profile.
const LOCKS: [&[u8]; 2] = [b".cargo-lock", b".cargo-artifact-lock"];

/// Hexadecimal digits of the hash in a file name of cargo's own.
const HASH_DIGITS: usize = 16;

/// The files of a profile, below the target directory. A directory that cannot be read has
/// none.
pub(super) fn files(target: &RootDirectory, profile: &FileName) -> Vec<RelativePath> {
    let Ok(name) = RelativePath::new(profile.as_bytes()) else { return Vec::new() };
    let platforms = target.directories().unwrap_or_default();
    let places = platforms.iter().filter_map(|platform| platform.join_path(&name).ok());
    let mut found = Vec::new();
    for place in std::iter::once(name.clone()).chain(places) {
        if !is_profile(target, &place) {
            continue;
        }
        found.extend(names(target, &place, is_put_in_place));
        if let Some(examples) = below(&place, "examples") {
            found.extend(names(target, &examples, is_put_in_place));
        }
        for directory in debug_directories(target, &place) {
            found.extend(names(target, &directory, |name| name.ends_with(b".dwo")));
        }
    }
    found
}

fn is_profile(target: &RootDirectory, place: &RelativePath) -> bool {
    let has = |lock: &[u8]| {
        let lock = RelativePath::new(lock).and_then(|lock| place.join_path(&lock));
        lock.is_ok_and(|lock| target.status(&lock).is_ok())
    };
    LOCKS.into_iter().any(has)
}

/// Where rustc writes: `deps/`, or `build/PACKAGE/HASH/out/` in the layout by unit.
fn debug_directories(target: &RootDirectory, place: &RelativePath) -> Vec<RelativePath> {
    let mut directories: Vec<RelativePath> = below(place, "deps").into_iter().collect();
    let inner = |place: &RelativePath| {
        let names = target.subdirectory(place).and_then(|directory| directory.directories());
        let names = names.unwrap_or_default().into_iter();
        names.filter_map(|name| place.join_path(&name).ok()).collect::<Vec<_>>()
    };
    for package in below(place, "build").iter().flat_map(inner) {
        directories.extend(inner(&package).iter().filter_map(|unit| below(unit, "out")));
    }
    directories
}

/// The files of a directory whose names fit.
fn names(
    target: &RootDirectory,
    place: &RelativePath,
    fits: impl Fn(&[u8]) -> bool,
) -> Vec<RelativePath> {
    let names = target.subdirectory(place).and_then(|directory| directory.files());
    let names = names.unwrap_or_default().into_iter().filter(|name| fits(name.as_bytes()));
    names.filter_map(|name| place.join_path(&name).ok()).collect()
}

fn below(place: &RelativePath, name: &str) -> Option<RelativePath> {
    place.join_path(&RelativePath::new(name.as_bytes()).ok()?).ok()
}

/// Whether a name is one for users: locks are cargo's, and so are names with a hash, under
/// which it keeps examples.
fn is_put_in_place(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let hash = stem.rsplit(|byte| *byte == b'-').next().unwrap_or_default();
    let has_hash = hash.len() == HASH_DIGITS
        && hash.len() < stem.len()
        && hash.iter().all(u8::is_ascii_hexdigit);
    !name.starts_with(b".") && !has_hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash_are_cargos_own() {
        for name in ["app", "app.d", "libx.so", "a-b", "0123456789abcdef", "x-0123456789abcdeg"] {
            assert!(is_put_in_place(name.as_bytes()), "{name}");
        }
        for name in [".cargo-lock", "show-0123456789abcdef", "show-0123456789abcdef.d"] {
            assert!(!is_put_in_place(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_files_of_every_platform_are_found_and_no_other_profile() {
        let disk = tempfile::tempdir().unwrap();
        for file in [
            "debug/.cargo-lock",
            "debug/app",
            "debug/deps/app-0123456789abcdef",
            "debug/deps/app-0123456789abcdef.1.dwo",
            "debug/build/p/0123456789abcdef/out/p.dwo",
            "debug/examples/show.d",
            "debug/sub/other",
            "x86/debug/.cargo-lock",
            "x86/debug/app",
            "doc/debug/index.html",
            "release/.cargo-lock",
            "release/app",
        ] {
            let path = disk.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let target = RootDirectory::open(disk.path()).unwrap();
        let mut found: Vec<_> = files(&target, &FileName::new(b"debug").unwrap())
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        found.sort();
        let expected = [
            "debug/app",
            "debug/build/p/0123456789abcdef/out/p.dwo",
            "debug/deps/app-0123456789abcdef.1.dwo",
            "debug/examples/show.d",
            "x86/debug/app",
        ];
        assert_eq!(found, expected);
    }
}
