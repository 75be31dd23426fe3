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
    let directory = git(&["rev-parse", "--absolute-git-dir"])?;
    let common = git(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
    // Only a new commit or another branch changes the answer.
    println!("cargo::rerun-if-changed={}", Path::new(&directory).join("HEAD").display());
    if let Some(branch) = git(&["symbolic-ref", "-q", "HEAD"]) {
        println!("cargo::rerun-if-changed={}", Path::new(&common).join(branch).display());
    }
    git(&["log", "-1", "--format=%h %cs", "--abbrev=9"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
