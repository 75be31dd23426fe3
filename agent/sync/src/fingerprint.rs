//! The files by which cargo knows what is fresh, and the units that they vouch for. Pure.
//!
//! cargo works by unit: one crate in one configuration, known by a hash of 16 hexadecimal
//! digits. Where the parts of a unit are depends on the layout:
//!
//! ```text
//! classic                                     since cargo 1.100
//! PROFILE/.fingerprint/PACKAGE-HASH/          PROFILE/build/PACKAGE/HASH/fingerprint/
//! PROFILE/deps/[lib]CRATE-HASH.*              PROFILE/build/PACKAGE/HASH/out/
//! PROFILE/examples/EXAMPLE-HASH*              PROFILE/build/PACKAGE/HASH/out/
//! PROFILE/build/PACKAGE-HASH/{output,out/}    PROFILE/build/PACKAGE/HASH/{run/,out/}
//! ```
//!
//! PROFILE is at any depth: below a triple, or in a target directory that a test has made
//! for itself.

use burst_protocol::RelativePath;

/// Digits of a unit's hash.
const HASH_DIGITS: usize = 16;

/// A unit of a target directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// The directory of the profile, below the target directory; empty if it is that one.
    pub profile: Vec<u8>,
    /// The hash.
    pub hash: Vec<u8>,
}

/// The unit that a path of a target directory belongs to; none if it belongs to several, or if
/// its name does not tell, as that of a `cdylib` does not.
pub fn unit_of(path: &RelativePath) -> Option<Unit> {
    let names: Vec<&[u8]> = path.names().collect();
    (0..names.len()).find_map(|at| {
        let name = |further: usize| names.get(at + further).copied();
        let hash = match names[at] {
            b".fingerprint" | b"deps" | b"examples" => hash_of(name(1)?)?,
            b"build" => hash_of(name(1)?).or_else(|| name(2).filter(|hash| is_hash(hash)))?,
            _ => return None,
        };
        Some(Unit { profile: names[..at].join(b"/".as_slice()), hash: hash.to_vec() })
    })
}

/// The hash in the name of a part of a unit: `serde-0123456789abcdef`,
/// `libserde-0123456789abcdef.rmeta`.
pub fn hash_of(name: &[u8]) -> Option<&[u8]> {
    let stem = name.split(|byte| *byte == b'.').next()?;
    let at = stem.iter().rposition(|byte| *byte == b'-')?;
    Some(&stem[at + 1..]).filter(|hash| is_hash(hash))
}

/// Whether a name is the hash of a unit.
pub fn is_hash(name: &[u8]) -> bool {
    name.len() == HASH_DIGITS && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a file of a target directory tells cargo that others are complete: a fingerprint, or
/// the output of a build script. Such files are read before the others and written after them, so
/// that none vouches for a file of another build.
pub fn is_fingerprint(path: &RelativePath) -> bool {
    let names: Vec<&[u8]> = path.names().collect();
    // `build/PACKAGE/HASH/fingerprint/` in the layout by unit.
    let is_of_unit =
        |at: usize| at >= 3 && names[at] == b"fingerprint" && names[at - 3] == b"build";
    is_script_output(path)
        || (0..names.len()).any(|at| names[at] == b".fingerprint" || is_of_unit(at))
}

/// Whether a fingerprint is by what cargo decides first that a unit is fresh: it is written last.
/// The others are what it was computed from.
pub fn is_seal(path: &RelativePath) -> bool {
    let name = path.file_name();
    let is_companion = [b"dep-".as_slice(), b"output", b"invoked.timestamp"]
        .iter()
        .any(|beginning| name.starts_with(beginning));
    is_fingerprint(path) && !is_companion && !name.ends_with(b".json")
}

/// Whether a path of a target directory is the output of a build script, in cargo's own file.
pub fn is_script_output(path: &RelativePath) -> bool {
    path.file_name() == b"output" && path.names().any(|name| name == b"build")
}

/// Whether a path of a target directory is cargo's list of what the compiler has read for a unit.
pub fn is_dep_info(path: &RelativePath) -> bool {
    is_fingerprint(path) && path.file_name().starts_with(b"dep-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn paths_are_told_by_their_unit_in_both_layouts() {
        let hash = "0123456789abcdef";
        for (beginning, rest) in [
            ("debug", "/.fingerprint/a-HASH/lib-a"),
            ("debug", "/deps/liba-HASH.rlib"),
            ("debug", "/deps/a-HASH.a.1-cgu.0.rcgu.dwo"),
            ("x86/release", "/examples/show-HASH"),
            ("debug", "/build/a-HASH/out/deps/b-fedcba9876543210.o"),
            ("debug", "/build/a-HASH/output"),
            ("debug", "/build/a/HASH/out/a"),
            ("debug", "/build/a/HASH/fingerprint/lib-a"),
            ("build", "/deps/a-HASH"),
            ("tests/build", "/build/a/HASH/out/a"),
        ] {
            let found = unit_of(&path(&format!("{beginning}{rest}").replace("HASH", hash)));
            let expected = Unit { profile: beginning.into(), hash: hash.into() };
            assert_eq!(found, Some(expected), "{beginning}{rest}");
        }
        let bare = unit_of(&path("deps/a-0123456789abcdef")).unwrap();
        assert_eq!(bare.profile, b"");
        for other in
            ["debug/a", "debug/deps/liba.so", "debug/build/a/out", "debug/a-0123456789abcdef"]
        {
            assert_eq!(unit_of(&path(other)), None, "{other}");
        }
    }

    #[test]
    fn parts_of_units_are_known_by_their_hash() {
        let hash = b"0123456789abcdef".as_slice();
        for name in [
            "serde-json-0123456789abcdef",
            "libserde_json-0123456789abcdef.rmeta",
            "app-0123456789abcdef.app.d51-cgu.0.rcgu.o",
            "app-0123456789abcdef.d",
        ] {
            assert_eq!(hash_of(name.as_bytes()), Some(hash), "{name}");
        }
        for name in [
            "",
            "libkit.so",
            "0123456789abcdef",
            "app-0123456789abcde",
            "app-0123456789ABCDEF",
            ".x-0123456789abcdef",
            "build-script-build",
        ] {
            assert_eq!(hash_of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn kinds_of_fingerprints_are_told_by_their_names() {
        let kinds = |name: &str| {
            let path = path(&format!("debug/{name}"));
            (is_seal(&path), is_dep_info(&path), is_script_output(&path))
        };
        for name in ["lib-a", "run-build-script-build-script-build", "bin-dep-a"] {
            assert_eq!(kinds(&format!(".fingerprint/a-1/{name}")), (true, false, false), "{name}");
        }
        for name in ["output-lib-a", "invoked.timestamp", "lib-a.json"] {
            assert_eq!(kinds(&format!(".fingerprint/a-1/{name}")), (false, false, false), "{name}");
        }
        assert_eq!(kinds(".fingerprint/a-1/dep-lib-a"), (false, true, false));
        assert_eq!(kinds("build/app-1/output"), (false, false, true));
        assert_eq!(kinds("build/app/1/run/output"), (false, false, true));
        for name in ["build/app-1/out/x", "output", "deps/dep-a", "deps/a"] {
            assert_eq!(kinds(name), (false, false, false), "{name}");
        }
    }

    #[test]
    fn fingerprints_are_known_in_both_layouts() {
        let is = |path: &str| is_fingerprint(&RelativePath::new(path.as_bytes()).unwrap());
        for path in [
            "debug/.fingerprint/a-0123456789abcdef/dep-lib-a",
            "x86/debug/.fingerprint/a-0123456789abcdef/invoked.timestamp",
            "debug/build/a/0123456789abcdef/fingerprint/lib-a",
            "debug/build/a-0123456789abcdef/output",
            "debug/build/a/0123456789abcdef/run/output",
        ] {
            assert!(is(path), "{path}");
        }
        for path in ["debug/fingerprint", "debug/deps/output", "debug/build/a/0/out/fingerprint"] {
            assert!(!is(path), "{path}");
        }
    }
}
