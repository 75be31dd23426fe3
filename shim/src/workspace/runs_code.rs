//! Which files of a workspace run code here without being called a program: when cargo
//! builds, an editor opens the directory, a shell enters it, git commits, or CI gets a push.
//! They are named when a run changed or created them. Pure.
//!
//! The list is short so that it is read. Sources are not in it: they run as the program that
//! they are. Nor is `.git`, from which nothing is ever returned.

use burst_protocol::RelativePath;

/// Names of files, in any directory.
const NAMES: [&str; 18] = [
    // A build script, and the manifest, which may name another one or other dependencies.
    "build.rs",
    "Cargo.toml",
    // The toolchain that rustup runs for cargo; it may be a path.
    "rust-toolchain",
    "rust-toolchain.toml",
    // What a shell runs on entering the directory.
    ".envrc",
    "mise.toml",
    ".mise.toml",
    "flake.nix",
    // Scripts of packages, which their installation runs.
    "package.json",
    // What an editor runs when it opens the directory.
    ".nvim.lua",
    // Commands that are called by a short name, unread.
    "Makefile",
    "GNUmakefile",
    "justfile",
    ".justfile",
    // Commands that an editor runs in place of cargo.
    "rust-analyzer.toml",
    // A configuration that the repository's may include, with the programs that git runs.
    ".gitconfig",
    // Hooks that run when git commits.
    ".pre-commit-config.yaml",
    // Jobs of CI, with its secrets.
    ".gitlab-ci.yml",
];

/// Files at these places, in any directory: cargo's runners, wrappers, linkers and aliases;
/// setup scripts of nextest.
const PLACES: [&str; 3] = [".cargo/config.toml", ".cargo/config", ".config/nextest.toml"];

/// Everything below directories of these names: workflows of CI, tasks that editors run,
/// hooks of git.
pub(super) const DIRECTORIES: [&str; 9] = [
    ".github",
    ".forgejo",
    ".gitea",
    ".vscode",
    ".idea",
    ".zed",
    ".devcontainer",
    ".githooks",
    ".husky",
];

/// The suffix of scripts.
const SCRIPT: &[u8] = b".sh";

/// Whether a file or link of this path, relative to the workspace root, runs code on this machine or
/// in CI without being called as a program. Letters count in both cases, since some file
/// systems do not tell them apart.
pub(crate) fn runs_code(path: &RelativePath, is_link: bool) -> bool {
    let is = |name: &[u8], known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let name = path.file_name();
    let is_script = name.len() >= SCRIPT.len()
        && name[name.len() - SCRIPT.len()..].eq_ignore_ascii_case(SCRIPT);
    let depth = path.names().count();
    let is_at = |place: &str| {
        depth > place.matches('/').count()
            && path.names().rev().zip(place.rsplit('/')).all(|(name, known)| is(name, known))
    };
    let above = || path.names().rev().skip(1);
    // Behind a link of such a name anything can be.
    let parts = PLACES.iter().flat_map(|place| place.split('/')).chain(DIRECTORIES);
    let stands_for_one = is_link && parts.into_iter().any(|part| is(name, part));
    is_script
        || stands_for_one
        || NAMES.iter().any(|known| is(name, known))
        || PLACES.iter().any(|place| is_at(place))
        || above().any(|name| DIRECTORIES.iter().any(|known| is(name, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(path: &str) -> bool {
        runs_code(&RelativePath::new(path.as_bytes()).unwrap(), false)
    }

    #[test]
    fn a_link_in_place_of_a_directory_counts() {
        for name in [".cargo", ".config", ".github", "a/.vscode", ".husky"] {
            assert!(runs_code(&RelativePath::new(name.as_bytes()).unwrap(), true), "{name}");
        }
        assert!(!runs_code(&RelativePath::new(b"docs").unwrap(), true));
    }

    #[test]
    fn files_that_run_code_by_themselves_are_known() {
        for path in [
            "build.rs",
            "crates/a/build.rs",
            "Cargo.toml",
            "a/Cargo.toml",
            "rust-toolchain",
            "rust-toolchain.toml",
            ".cargo/config.toml",
            ".cargo/config",
            "a/.cargo/config.toml",
            ".config/nextest.toml",
            ".envrc",
            "a/.envrc",
            "Makefile",
            "makefile",
            "justfile",
            "Justfile",
            ".github/workflows/ci.yml",
            ".github/actions/x/action.yml",
            ".gitlab-ci.yml",
            ".gitconfig",
            ".pre-commit-config.yaml",
            "rust-analyzer.toml",
            ".vscode/tasks.json",
            ".idea/workspace.xml",
            ".githooks/pre-commit",
            ".husky/_/h",
            "scripts/release.sh",
            "a.SH",
            "BUILD.RS",
        ] {
            assert!(runs(path), "{path}");
        }
    }

    #[test]
    fn other_files_are_not() {
        for path in [
            "src/main.rs",
            "src/build.rs.snap",
            "rebuild.rs",
            "build.rs/x",
            "Cargo.lock",
            "cargo/config.toml",
            "config.toml",
            ".cargo/config.toml.orig",
            ".cargo/registry.toml",
            ".config/cargo-burst.toml",
            "nextest.toml",
            "github/workflows/ci.yml",
            ".github",
            "a.github/x",
            "sh",
            "a.sh.txt",
            "target.sha",
            "tests/snapshots/a.snap.new",
        ] {
            assert!(!runs(path), "{path}");
        }
    }
}
