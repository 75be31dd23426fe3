//! Finds the commit that the program is built from, for `--version`: from git, or in a
//! packaged crate from cargo's record of it. Without either the version says no commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = from_package().or_else(from_git).unwrap_or_default();
    println!("cargo::rustc-env=BURST_COMMIT={commit}");
}

/// cargo writes this file into a package.
fn from_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\": \"")?;
    rest.get(..9).map(str::to_owned)
}

/// Commit and day, as `rustc --version` shows them.
fn from_git() -> Option<String> {
    // The log of HEAD changes with each commit and each checkout. A path that does not exist
    // would have cargo run this each time.
    for name in ["logs/HEAD", "HEAD"] {
        let path = git(&["rev-parse", "--path-format=absolute", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // Not the commit of a repository in which an unpacked crate happens to lie.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["log", "-1", "--format=%h %cs", "--abbrev=9"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
