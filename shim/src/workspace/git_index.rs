//! Files that git tracks, by `git ls-files`. Without git, or outside of a repository, there are
//! none.
//!
//! To git, a tracked file that an ignore pattern matches is not ignored, and a build may need
//! it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use burst_protocol::RelativePath;

/// A running `git ls-files`.
#[derive(Debug)]
pub(crate) struct Listing(Option<Child>);

impl Listing {
    /// Starts git for the tracked files below `root` that an ignore pattern matches.
    pub(crate) fn of_tracked_ignored(root: &Path) -> Self {
        if !root.ancestors().any(|ancestor| ancestor.join(".git").exists()) {
            return Self(None);
        }
        Self::start(root, &["--ignored", "--exclude-standard"])
    }

    /// Starts git for all tracked files below `root`.
    pub(crate) fn of_tracked(root: &Path) -> Self {
        Self::start(root, &[])
    }

    fn start(root: &Path, filters: &[&str]) -> Self {
        let child = Command::new("git")
            .args(["ls-files", "-z", "--cached"])
            .args(filters)
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.ok())
    }

    /// Waits for git. Returns paths relative to the root; none if git fails.
    pub(crate) fn answer(self) -> Vec<RelativePath> {
        let output = self.0.and_then(|child| child.wait_with_output().ok());
        let listed = output.map(|output| output.stdout).unwrap_or_default();
        listed.split(|byte| *byte == 0).filter_map(|path| RelativePath::new(path).ok()).collect()
    }
}
