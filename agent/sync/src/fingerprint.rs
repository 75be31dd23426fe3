//! The files by which cargo knows what is fresh. Pure.

use burst_protocol::RelativePath;

/// Whether a file of a target directory tells cargo that others are complete: a fingerprint, or
/// the output of a build script. Such files are read before the others and written after them, so
/// that none vouches for a file of another build.
pub fn is_fingerprint(path: &RelativePath) -> bool {
    let names: Vec<&[u8]> = path.names().collect();
    // `build/PACKAGE/HASH/fingerprint/` in the layout by unit.
    let is_of_unit =
        |at: usize| at >= 3 && names[at] == b"fingerprint" && names[at - 3] == b"build";
    let is_of_script = path.file_name() == b"output" && names.contains(&b"build".as_slice());
    is_of_script || (0..names.len()).any(|at| names[at] == b".fingerprint" || is_of_unit(at))
}

#[cfg(test)]
mod tests {
    use super::*;

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
