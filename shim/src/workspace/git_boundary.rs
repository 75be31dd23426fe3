//! Whether a git directory is of the working tree that leads to it.
//!
//! A repository may be part of an archive, made so that another repository of its user speaks: by a
//! `.git` file, a `commondir`, or a link. What git says of that one, such as messages of commits
//! and names of files, is not sent. So a git directory is the working tree's *own* only if it is
//! `.git` itself, or one that names the working tree, as git makes them for linked worktrees and
//! submodules.
//!
//! What adds to what is sent is asked only of an own git directory ([`OwnRepository`]): the facts
//! about commits, which are read from a copy of it ([`super::git_copy`]), and which ignored files
//! are tracked. What only keeps files from being sent or removed is asked of any: its excludes
//! file, and whether a target directory has tracked files.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_sync::git_directory::Repository;
use burst_sync::regular_file::{self, Links};

use super::git_command::{self, answer};

/// The largest file that names a path, in bytes.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// The files that git reads to list the tracked files; shared parts of an index are others.
const READ_FOR_LISTS: [&str; 3] = ["index", "config", "config.worktree"];

/// The beginning of the name of a shared part of an index.
pub(super) const SHARED_INDEX: &[u8] = b"sharedindex.";

/// A repository with an own git directory.
#[derive(Clone, Debug)]
pub(super) struct OwnRepository<'a> {
    pub(super) repository: &'a Repository,
    /// The git directory of the working tree, without links.
    pub(super) directory: PathBuf,
    /// The one that all working trees share, without links.
    pub(super) common: PathBuf,
}

impl<'a> OwnRepository<'a> {
    /// The repository, if the git directory is the working tree's own. Blocks: git is asked if the
    /// directory lies elsewhere.
    pub(super) fn of(repository: &'a Repository) -> Option<Self> {
        let work_tree = repository.work_tree.canonicalize().ok()?;
        let directory = repository.directory.canonicalize().ok()?;
        let common = repository.common.canonicalize().ok()?;
        let is_of_common =
            directory == common || directory.parent() == Some(common.join("worktrees").as_path());
        let is_of_work_tree =
            directory == work_tree.join(".git") || names_work_tree(&directory, &work_tree);
        (is_of_common && is_of_work_tree).then_some(Self { repository, directory, common })
    }

    /// Whether git reads no link to list the tracked files.
    pub(super) fn has_own_index(&self) -> bool {
        let is_own = |path: &Path| match path.symlink_metadata() {
            Ok(found) => found.is_file(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        let Ok(entries) = fs::read_dir(&self.directory) else { return false };
        let shared = entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(SHARED_INDEX));
        let named = [&self.directory, &self.common]
            .into_iter()
            .flat_map(|directory| READ_FOR_LISTS.map(|name| directory.join(name)));
        named.chain(shared.map(|entry| entry.path())).all(|path| is_own(&path))
    }
}

/// Whether a git directory names a working tree: as a linked one, or as that of a submodule.
fn names_work_tree(directory: &Path, work_tree: &Path) -> bool {
    if let Some(named) = first_line(&directory.join("gitdir")) {
        // What is named is the `.git` of the working tree.
        return is_same_name(&directory.join(named), &work_tree.join(".git"));
    }
    let mut command = git_command::outside(directory);
    command.args(["config", "-z", "--file"]).arg(directory.join("config"));
    let named = answer(command.args(["--get", "core.worktree"]), b"").unwrap_or_default();
    let Some(named) = named.strip_suffix(b"\0").filter(|named| !named.is_empty()) else {
        return false;
    };
    let named = directory.join(OsStr::from_bytes(named)).canonicalize();
    named.is_ok_and(|named| named == work_tree)
}

/// Whether two paths are the same name in the same directory. It may be a link, which counts for
/// itself.
fn is_same_name(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    real(one).is_some_and(|one| Some(one) == real(other))
}

/// The first line of a small file.
fn first_line(file: &Path) -> Option<PathBuf> {
    let text = regular_file::read(file, NAME_BYTES_MAX, Links::Followed).ok()?;
    let line = text.split(|byte| *byte == b'\n').next()?;
    Some(Path::new(OsStr::from_bytes(line.trim_ascii_end())).to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn shell(directory: &Path, text: &str) {
        const GIT: &str = "set -e; git() { command git -c user.name=a -c user.email=a@b \
                           -c protocol.file.allow=always \"$@\"; }\n";
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{GIT}{text}")]).current_dir(directory);
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(shell.status().unwrap().success(), "{text}");
    }

    #[test]
    fn only_a_git_directory_that_names_the_working_tree_is_asked() {
        let disk = tempfile::tempdir().unwrap();
        let disk = disk.path().canonicalize().unwrap();
        shell(
            &disk,
            "git init -q secret; git -C secret commit -q --allow-empty -m one
             git -C secret worktree add -q ../linked
             git clone -q --shared secret shared
             git init -q outer; git -C outer submodule -q add ../secret module
             git -C outer commit -qm one; git -C outer worktree add -q ../outer2
             git -C outer2 submodule -q update --init
             for name in file link common taken borrowed; do git init -q $name; done
             rm -r file/.git link/.git; echo \"gitdir: $PWD/secret/.git\" >file/.git
             ln -s ../secret/.git link/.git
             echo \"$PWD/secret/.git\" >common/.git/commondir
             rm -r taken/.git; echo \"gitdir: $PWD/secret/.git/worktrees/linked\" >taken/.git
             rm -r borrowed/.git; ln -s ../linked/.git borrowed/.git
             git init -q own; mkdir own/a; mv own/.git own/a/git
             printf '[core]\\n\\tworktree = ../..' >own/a/git/config; echo 'gitdir: a/git' >own/.git",
        );
        for own in ["secret", "linked", "shared", "outer", "outer/module", "outer2/module", "own"] {
            assert!(
                OwnRepository::of(&Repository::at(&disk.join(own)).unwrap()).is_some(),
                "{own}"
            );
        }
        for foreign in ["file", "link", "common", "taken", "borrowed"] {
            let found = Repository::at(&disk.join(foreign)).unwrap();
            assert!(OwnRepository::of(&found).is_none(), "{foreign}");
        }
    }
}
