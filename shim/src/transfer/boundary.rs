//! The paths that a returned source may have. Pure.
//!
//! The agent is not trusted with paths: whatever it names, and whatever the settings say,
//! nothing is written outside of the workspace, in or over the target and build directories,
//! in or over a `.git`, or over cargo-burst's own project file.

use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Change, Entry};

use crate::settings::PROJECT_FILE;

/// The workspace, and the directories in it that hold no sources.
#[derive(Debug)]
pub(super) struct Boundary {
    /// The workspace root, below `/`.
    workspace: RelativePath,
    /// The directories that cargo builds in, below the workspace root.
    without_sources: Vec<RelativePath>,
}

/// Whether a change may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may, at this path below the workspace root.
    Source(RelativePath),
    /// It lies outside of the workspace.
    Outside,
    /// It would change something that no run may change.
    Protected,
}

impl Boundary {
    /// The boundary of a workspace; `without_sources` are the directories in it
    /// that hold none, absolute. The directory that cargo uses by default is protected, too: a link in its place would
    /// be followed by the next command.
    pub(super) fn new(workspace: RelativePath, root: &Path, without_sources: &[&Path]) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let below = |path: &&Path| {
            let path = path.strip_prefix(root).ok()?;
            RelativePath::new(path.as_os_str().as_bytes()).ok()
        };
        let default = RelativePath::new(b"target").ok();
        let without_sources = without_sources.iter().filter_map(below).chain(default).collect();
        Self { workspace, without_sources }
    }

    /// Whether this change of a run may be taken.
    pub(super) fn judge(&self, change: &Change) -> Verdict {
        let Some(path) = change.path().below(&self.workspace) else { return Verdict::Outside };
        let is_git = path.as_bytes().split(|byte| *byte == b'/').any(is_git);
        let is_directory = matches!(change, Change::Put { entry: Entry::Directory, .. });
        let own = RelativePath::new(PROJECT_FILE.as_bytes()).ok();
        let protected = self.without_sources.iter().chain(own.as_ref());
        let mut touched = protected.filter(|protected| {
            // A directory above a protected path takes nothing away from it.
            let is_above = protected.below(&path).is_some() && !is_directory;
            path.is_within(protected) || is_above
        });
        match is_git || touched.next().is_some() {
            true => Verdict::Protected,
            false => Verdict::Source(path),
        }
    }
}

/// Whether a name is git's; some file systems take no account of case.
fn is_git(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

#[cfg(test)]
mod tests {
    use burst_protocol::Digest;
    use burst_protocol::tree::{File, FileMode};

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_sources_of_the_workspace_are_taken() {
        let built = [Path::new("/w/app/out/target"), Path::new("/elsewhere/build")];
        let boundary = Boundary::new(path("w/app"), Path::new("/w/app"), &built);
        let file = Entry::File(File { size: 0, digest: Digest::of(b""), mode: FileMode::REGULAR });
        let judge = |text: &str, entry: &Entry| {
            boundary.judge(&Change::Put { path: path(text), entry: entry.clone() })
        };
        for source in
            ["src/main.rs", "src/target/x.rs", "outer", ".gitignore", ".config/other", "out/x"]
        {
            assert_eq!(judge(&format!("w/app/{source}"), &file), Verdict::Source(path(source)));
        }
        for protected in [
            "target",
            "target/debug/app",
            "out",
            "out/target",
            "out/target/debug/app",
            ".git",
            ".git/hooks/pre-commit",
            "vendored/.GIT/config",
            ".config",
            ".config/cargo-burst.toml",
            ".config/cargo-burst.toml/x",
        ] {
            assert_eq!(judge(&format!("w/app/{protected}"), &file), Verdict::Protected);
        }
        for outside in ["w", "w/app", "w/application", "elsewhere/build/x", "etc/passwd"] {
            assert_eq!(judge(outside, &file), Verdict::Outside, "{outside}");
        }
        let removal = Change::Remove { path: path("w/app/out") };
        assert_eq!(boundary.judge(&removal), Verdict::Protected);
        assert_eq!(judge("w/app/out", &Entry::Directory), Verdict::Source(path("out")));
        assert_eq!(judge("w/app/out/target", &Entry::Directory), Verdict::Protected);
    }
}
