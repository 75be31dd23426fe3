//! Which subcommands cargo finds in a run: the programs `cargo-NAME` in the `bin` directory of
//! its home and on its PATH, as the run sees them.
//!
//! The agent is outside of the run's namespace, so it looks at the places of its own disk that
//! are mounted there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::run::spec::{self, RunSpec};

/// The permission bits by which cargo tells programs from other files.
const EXECUTABLE_BY_SOMEBODY: u32 = 0o111;

/// Whether cargo finds the program `cargo-NAME` in a run.
pub(crate) fn is_installed(spec: &RunSpec, name: &str) -> bool {
    let program = format!("cargo-{name}");
    searched(spec).iter().any(|directory| is_program(&spec.on_disk(&directory.join(&program))))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| {
        found.is_file() && found.permissions().mode() & EXECUTABLE_BY_SOMEBODY != 0
    })
}

/// The directories in which cargo searches, as the run sees them.
fn searched(spec: &RunSpec) -> Vec<PathBuf> {
    let home = spec
        .variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(spec.variable("HOME")?).join(".cargo")));
    let path = spec.variable("PATH");
    let of_path = path.iter().flat_map(|path| std::env::split_paths(path));
    let directory = spec::path(&spec.working_directory);
    let of_home = home.map(|home| home.join("bin"));
    of_home.into_iter().chain(of_path).map(|searched| directory.join(searched)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_own_variables_say_where_cargo_searches() {
        for (environment, expected) in [
            (
                [("CARGO_HOME", "/c"), ("HOME", "/h"), ("PATH", "/a:tools:")].as_slice(),
                ["/c/bin", "/a", "/work/tools", "/work/"].as_slice(),
            ),
            (&[("HOME", "/h"), ("CARGO_HOME", "")], &["/h/.cargo/bin"]),
            (&[("PATH", "/a"), ("PATH", "/b")], &["/b"]),
            (&[], &[]),
        ] {
            let found = searched(&RunSpec::example(environment, &[], &[]));
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_a_file_that_can_be_executed_is_a_program() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir_all(bin.join("cargo-directory")).unwrap();
        for (name, mode) in [("cargo-script", 0o755), ("cargo-text", 0o644)] {
            std::fs::write(bin.join(name), "").unwrap();
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(bin.join(name), permissions).unwrap();
        }
        let home = home.path().to_str().unwrap();
        let spec = RunSpec::example(&[("CARGO_HOME", home)], &[], &[]);
        let found = ["script", "text", "directory", "absent"].map(|name| is_installed(&spec, name));
        assert_eq!(found, [true, false, false, false]);
    }
}
