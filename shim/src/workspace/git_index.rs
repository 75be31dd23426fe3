//! Files that git tracks, by `git ls-files`. Without git, or outside of a repository, there are
//! none.
//!
//! To git, a tracked file that an ignore pattern matches is not ignored, and a build may need
//! it.
//!
//! git is told which repository it works in: files that a run has left in the workspace can look
//! like a repository, with a configuration that names programs.

use std::path::Path;

use burst_protocol::RelativePath;
use burst_sync::git_directory::Repository;
use burst_sync::ignore_rules::DEFAULT_EXCLUDES;

use super::git_command::{self, RunningGit};

/// A running `git ls-files`.
#[derive(Debug)]
pub(crate) struct Listing(Option<RunningGit>);

impl Listing {
    /// Starts git for the tracked files below `root` that an ignore pattern or a default exclude
    /// matches.
    pub(crate) fn of_tracked_ignored(root: &Path) -> Self {
        let excludes = DEFAULT_EXCLUDES.map(|exclude| format!("--exclude={exclude}"));
        let excludes = excludes.iter().map(String::as_str);
        let filters: Vec<&str> =
            ["--ignored", "--exclude-standard"].into_iter().chain(excludes).collect();
        Self::start(root, &filters)
    }

    /// Starts git for all tracked files below `root`.
    pub(crate) fn of_tracked(root: &Path) -> Self {
        Self::start(root, &[])
    }

    fn start(root: &Path, filters: &[&str]) -> Self {
        let repository = Repository::around(root).filter(Repository::is_own);
        let Some(repository) = repository else { return Self(None) };
        let mut command = git_command::inside(&repository, root);
        command.args(["ls-files", "-z", "--cached"]).args(filters);
        Self(RunningGit::start(&mut command).ok())
    }

    /// Waits for git. Returns paths relative to the root; none if git fails.
    pub(crate) fn answer(self) -> Vec<RelativePath> {
        let output = self.0.and_then(|git| git.output(b"").ok());
        let listed = output.map(|output| output.stdout).unwrap_or_default();
        listed.split(|byte| *byte == 0).filter_map(|path| RelativePath::new(path).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn git(directory: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{arguments:?}");
    }

    /// A run has made a bare repository of the workspace, whose configuration names a program.
    #[test]
    fn a_repository_that_a_run_made_is_not_used() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("member");
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::write(root.join("src/lib.rs"), "").unwrap();
        git(disk.path(), &["init", "-q"]);
        git(disk.path(), &["add", "."]);
        let inner = disk.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        git(&inner, &["init", "-q", "--bare"]);
        let ran = disk.path().join("ran");
        for name in ["HEAD", "objects", "refs"] {
            std::fs::rename(inner.join(name), root.join(name)).unwrap();
        }
        let program = disk.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config =
            format!("[core]\nbare = false\nworktree = .\nfsmonitor = {}\n", program.display());
        std::fs::write(root.join("config"), config).unwrap();
        let tracked = Listing::of_tracked(&root).answer();
        assert_eq!(tracked, [RelativePath::new(b"src/lib.rs").unwrap()]);
        Listing::of_tracked_ignored(&root).answer();
        assert!(!ran.exists());
    }
}
