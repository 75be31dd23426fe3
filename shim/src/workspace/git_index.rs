//! Files that git tracks although an ignore pattern matches them. To git they are not
//! ignored, and a build may need them. `git ls-files` lists them while the tree is scanned;
//! without git, or outside of a repository, there are none.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use burst_protocol::RelativePath;

/// A running `git ls-files`.
#[derive(Debug)]
pub(crate) struct TrackedIgnored(Option<Child>);

impl TrackedIgnored {
    /// Starts git for all files below `root`.
    pub(crate) fn ask(root: &Path) -> Self {
        if !root.ancestors().any(|ancestor| ancestor.join(".git").exists()) {
            return Self(None);
        }
        let child = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"])
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
