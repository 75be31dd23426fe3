//! Outputs of build scripts that name inputs which are here and were not sent, such as files that
//! git ignores: what the script has made there without them must not count as fresh here.

use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;

/// The name of the file in which cargo keeps what a build script has printed.
const NAME: &[u8] = b"output";

/// The entries of a directory that are looked at; with more, it counts as one with unsent files.
const ENTRIES_MAX: usize = 10_000;

/// Whether a path of a target directory is the output of a build script.
pub(super) fn is_output(path: &RelativePath) -> bool {
    path.file_name() == NAME && path.names().any(|name| name == b"build")
}

/// Whether a script's output names an input that is here and for which `is_sent` does not hold.
/// Its paths go out from the directory of its package, which is one of `packages`.
pub(super) fn names_unsent(
    output: &str,
    packages: &[&Path],
    is_sent: &dyn Fn(&Path) -> bool,
) -> bool {
    let paths = output.lines().filter_map(|line| {
        let directive = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:"))?;
        directive.strip_prefix("rerun-if-changed=")
    });
    let places = paths.flat_map(|path| packages.iter().map(move |package| package.join(path)));
    places.into_iter().any(|place| has_unsent(place, is_sent))
}

/// Whether a file is here and was not sent, or one in a directory.
fn has_unsent(place: PathBuf, is_sent: &dyn Fn(&Path) -> bool) -> bool {
    let mut open = vec![place];
    let mut entries = 0;
    while let Some(path) = open.pop() {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        entries += 1;
        if entries > ENTRIES_MAX || !found.is_dir() && !is_sent(&path) {
            return true;
        }
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_build_scripts() {
        let is_output = |path: &str| is_output(&RelativePath::new(path.as_bytes()).unwrap());
        assert!(is_output("debug/build/app-1/output") && is_output("debug/build/app/1/run/output"));
        assert!(!is_output("debug/build/app-1/out/x") && !is_output("debug/output"));
    }

    #[test]
    fn an_input_that_is_here_and_was_not_sent_is_found_by_name_or_in_a_directory() {
        let disk = tempfile::tempdir().unwrap();
        let at = |path: &str| disk.path().join(path);
        std::fs::create_dir_all(at("assets/deep")).unwrap();
        for file in ["local.cfg", "sent.cfg", "assets/deep/ignored"] {
            std::fs::write(at(file), "").unwrap();
        }
        let is_sent = |path: &Path| path.ends_with("sent.cfg");
        let names = |output: &str| names_unsent(output, &[disk.path()], &is_sent);
        assert!(names("cargo:rustc-env=A=b\ncargo:rerun-if-changed=local.cfg\n"));
        assert!(names("cargo::rerun-if-changed=assets\n"));
        assert!(names(&format!("cargo:rerun-if-changed={}\n", at("local.cfg").display())));
        assert!(!names("cargo:rerun-if-changed=sent.cfg\ncargo:rerun-if-changed=none\n"));
        assert!(!names("local.cfg\n"));
    }
}
