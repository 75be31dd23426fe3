//! Files that git tracks although a pattern ignores them: to git they are not
//! ignored, and a build may need them. Only git knows its index, so it is asked,
//! while the tree is scanned. Without git, or outside of a repository, there are
//! none.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use burst_protocol::RelativePath;

/// A question to git that is being answered.
#[derive(Debug)]
pub(crate) struct TrackedIgnored(Option<Child>);

impl TrackedIgnored {
    /// Asks about everything below `root`.
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

    /// The answer: paths below the root.
    pub(crate) fn answer(self) -> Vec<RelativePath> {
        let output = self.0.and_then(|child| child.wait_with_output().ok());
        let listed = output.map(|output| output.stdout).unwrap_or_default();
        listed.split(|byte| *byte == 0).filter_map(|path| RelativePath::new(path).ok()).collect()
    }
}
