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
    searched(spec).iter().any(|directory| is_program(&on_disk(spec, &directory.join(&program))))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| {
        found.is_file() && found.permissions().mode() & EXECUTABLE_BY_SOMEBODY != 0
    })
}

/// The directories in which cargo searches, as the run sees them.
fn searched(spec: &RunSpec) -> Vec<PathBuf> {
    let variable = |name: &str| {
        let found = spec.environment.iter().rev().find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| spec::os_string(value)).filter(|value| !value.is_empty())
    };
    let home = variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cargo")));
    let path = variable("PATH");
    let of_path = path.iter().flat_map(|path| std::env::split_paths(path));
    let directory = spec::path(&spec.working_directory);
    let of_home = home.map(|home| home.join("bin"));
    of_home.into_iter().chain(of_path).map(|searched| directory.join(searched)).collect()
}

/// The place on the agent's disk of a path that a run sees: in the last mount over it, unless a
/// directory that stays visible there contains it.
fn on_disk(spec: &RunSpec, seen: &Path) -> PathBuf {
    let mut place = seen.to_owned();
    for mount in &spec.mounts {
        let target = spec::path(&mount.target);
        let Ok(below) = seen.strip_prefix(&target) else { continue };
        let is_preserved = spec.preserve.iter().map(spec::path).any(|directory| {
            directory != target && directory.starts_with(&target) && seen.starts_with(&directory)
        });
        place = match is_preserved {
            true => seen.to_owned(),
            false => spec::path(&mount.root).join(spec::path(&mount.source)).join(below),
        };
    }
    place
}

#[cfg(test)]
mod tests {
    use burst_protocol::ByteBuf;

    use super::*;
    use crate::run::spec::Mount;

    fn bytes(text: &str) -> ByteBuf {
        ByteBuf::from(text.as_bytes())
    }

    fn spec(environment: &[(&str, &str)], mounts: &[[&str; 3]], preserve: &[&str]) -> RunSpec {
        RunSpec {
            mounts: mounts
                .iter()
                .map(|[root, source, target]| Mount {
                    root: bytes(root),
                    source: bytes(source),
                    target: bytes(target),
                })
                .collect(),
            preserve: preserve.iter().map(|path| bytes(path)).collect(),
            hide: Vec::new(),
            user: None,
            groups: Vec::new(),
            open_files: None,
            working_directory: bytes("/work"),
            command: Vec::new(),
            environment: environment
                .iter()
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect(),
            umask: 0o022,
        }
    }

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
            let found = searched(&spec(environment, &[], &[]));
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn places_on_the_disk_are_found_through_mounts() {
        let mounts = [
            ["/volume/cargo-home", "", "/home/me/.cargo"],
            ["/tree", "home/me", "/home/me"],
            ["/tree", "home/me/work", "/home/me/work"],
        ];
        let spec = spec(&[], &mounts, &["/home/me/.rustup", "/home/me/work"]);
        for (seen, place) in [
            ("/usr/bin/x", "/usr/bin/x"),
            ("/home/me/bin/x", "/tree/home/me/bin/x"),
            ("/home/me/.cargo/bin/x", "/tree/home/me/.cargo/bin/x"),
            ("/home/me/.rustup/x", "/home/me/.rustup/x"),
            ("/home/me/work/x", "/tree/home/me/work/x"),
        ] {
            assert_eq!(on_disk(&spec, Path::new(seen)), Path::new(place), "{seen}");
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
        let spec = spec(&[("CARGO_HOME", home.path().to_str().unwrap())], &[], &[]);
        let found = ["script", "text", "directory", "absent"].map(|name| is_installed(&spec, name));
        assert_eq!(found, [true, false, false, false]);
    }
}
