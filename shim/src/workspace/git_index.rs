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

use super::git_boundary::OwnRepository;
use super::git_command::{self, RunningGit};

/// A running `git ls-files`.
#[derive(Debug)]
pub(crate) struct Listing(Option<RunningGit>);

impl Listing {
    /// Starts git for the tracked files below `root` that an ignore pattern or a default exclude
    /// matches. These are sent, so only the repository of the working tree itself is asked.
    pub(crate) fn of_tracked_ignored(root: &Path) -> Self {
        let excludes = DEFAULT_EXCLUDES.map(|exclude| format!("--exclude={exclude}"));
        let excludes = excludes.iter().map(String::as_str);
        let filters: Vec<&str> =
            ["--ignored", "--exclude-standard"].into_iter().chain(excludes).collect();
        let has_own_index = |repository: &Repository| {
            OwnRepository::of(repository).is_some_and(|own| own.has_own_index())
        };
        Self::start(root, &filters, has_own_index)
    }

    /// Starts git for all tracked files below `root`, whatever repository says so: the answer is
    /// not sent.
    pub(crate) fn of_tracked(root: &Path) -> Self {
        Self::start(root, &[], |_| true)
    }

    fn start(root: &Path, filters: &[&str], is_asked: impl Fn(&Repository) -> bool) -> Self {
        let repository = Repository::around(root).filter(Repository::is_own).filter(is_asked);
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

    /// As in a hostile archive. The file is ignored, and tracked elsewhere.
    #[test]
    fn files_that_another_repository_tracks_are_not_sent() {
        let disk = tempfile::tempdir().unwrap();
        let [secret, app] = ["secret", "app"].map(|name| disk.path().join(name));
        git(disk.path(), &["init", "-q", "secret"]);
        git(disk.path(), &["init", "-q", "app"]);
        for root in [&secret, &app] {
            std::fs::write(root.join("private.env"), "").unwrap();
            std::fs::write(root.join(".gitignore"), "private.env\n").unwrap();
        }
        let found = |root: &Path| Listing::of_tracked_ignored(root).answer();
        let private = [RelativePath::new(b"private.env").unwrap()];
        git(&secret, &["add", "-f", "private.env"]);
        assert_eq!((found(&secret), found(&app)), (private.to_vec(), vec![]));
        std::os::unix::fs::symlink(secret.join(".git/index"), app.join(".git/index")).unwrap();
        assert_eq!(found(&app), []);
        git(&secret, &["update-index", "--split-index"]);
        std::fs::remove_file(app.join(".git/index")).unwrap();
        std::fs::copy(secret.join(".git/index"), app.join(".git/index")).unwrap();
        for entry in std::fs::read_dir(secret.join(".git")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().as_encoded_bytes().starts_with(b"sharedindex.") {
                let link = app.join(".git").join(entry.file_name());
                std::os::unix::fs::symlink(entry.path(), link).unwrap();
            }
        }
        assert_eq!((found(&secret), found(&app)), (private.to_vec(), vec![]));
        std::fs::remove_dir_all(app.join(".git")).unwrap();
        std::fs::write(app.join(".git"), "gitdir: ../secret/.git\n").unwrap();
        assert_eq!(found(&app), []);
        // It keeps a target directory with such a file from being removed.
        assert_eq!(Listing::of_tracked(&app).answer(), private);
    }
}
