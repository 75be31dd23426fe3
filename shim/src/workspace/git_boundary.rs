//! Whether what a git directory says is about the working tree that leads to it.
//!
//! A repository may be part of an archive, made so that another repository of its user speaks: by a
//! `.git` file, a `commondir`, or links in place of `HEAD`, `refs` or the index. What git says of
//! that one, such as messages of commits and names of files, is not sent. So the git directory is
//! `.git` itself, or one that names the working tree, as git makes them for linked worktrees and
//! submodules; and what tells which commits and files it has lies in it, with all links followed.
//! Objects may lie elsewhere (`objects/info/alternates`): they are found only by names that the
//! repository itself has.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_sync::git_directory::Repository;
use burst_sync::regular_file::{self, Links};

use super::git_command::{self, answer};

/// The largest file that names a path or a branch, in bytes.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// How many references are followed from one to the next: as many as git follows.
const REFERENCES_MAX: usize = 5;

/// Whether the git directory is of the working tree and uses its own files. Blocks: git is asked if
/// the directory lies elsewhere.
pub(super) fn is_within(repository: &Repository) -> bool {
    is_within_real(repository).unwrap_or(false)
}

fn is_within_real(repository: &Repository) -> Option<bool> {
    let work_tree = repository.work_tree.canonicalize().ok()?;
    let directory = repository.directory.canonicalize().ok()?;
    let common = repository.common.canonicalize().ok()?;
    let is_of_common =
        directory == common || directory.parent() == Some(common.join("worktrees").as_path());
    let is_of_work_tree =
        directory == work_tree.join(".git") || names_work_tree(&directory, &work_tree);
    Some(is_of_common && is_of_work_tree && has_own_files(&directory, &common))
}

/// Whether a git directory names a working tree: as a linked one, or as that of a submodule.
fn names_work_tree(directory: &Path, work_tree: &Path) -> bool {
    if let Some(named) = first_line(&directory.join("gitdir")) {
        // What is named is the `.git` of the working tree.
        return same(&directory.join(named), &work_tree.join(".git"));
    }
    let mut command = git_command::outside(directory);
    command.args(["config", "-z", "--file"]).arg(directory.join("config"));
    let named = answer(command.args(["--get", "core.worktree"]), b"").unwrap_or_default();
    let named = named.strip_suffix(b"\0").unwrap_or_default();
    !named.is_empty() && same(&directory.join(OsStr::from_bytes(named)), work_tree)
}

/// Whether two paths are the same directory, or names in the same one.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let is_named = real(one).is_some_and(|one| Some(one) == real(other));
    is_named || one.canonicalize().ok().is_some_and(|one| other.canonicalize().ok() == Some(one))
}

/// Whether the files that say which commits and files there are lie in the git directories.
fn has_own_files(directory: &Path, common: &Path) -> bool {
    // What is missing leads nowhere.
    let is_own = |path: PathBuf| match path.canonicalize() {
        Ok(real) => real.starts_with(directory) || real.starts_with(common),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let of_work_tree = ["HEAD", "index", "config.worktree"].map(|name| directory.join(name));
    let shared = ["config", "packed-refs", "refs", "refs/tags", "reftable", "shallow"];
    let shared = shared.map(|name| common.join(name));
    let mut reference = directory.join("HEAD");
    let mut branches = Vec::new();
    while let Some(line) = first_line(&reference)
        && let Some(name) = line.as_os_str().as_bytes().strip_prefix(b"ref: ")
        && branches.len() < REFERENCES_MAX
    {
        reference = common.join(OsStr::from_bytes(name));
        branches.push(reference.clone());
    }
    of_work_tree.into_iter().chain(shared).chain(branches).all(is_own)
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
             git init -q old; ln -s refs/heads/main old/.git/HEAD2; mv old/.git/HEAD2 old/.git/HEAD
             for name in file link common refs branch chain index; do git init -q $name; done
             rm -r file/.git link/.git; echo \"gitdir: $PWD/secret/.git\" >file/.git
             ln -s ../secret/.git link/.git
             echo \"$PWD/secret/.git\" >common/.git/commondir
             rm -r refs/.git/refs; ln -s ../../secret/.git/refs refs/.git/refs
             branch=$(command git -C secret symbolic-ref HEAD)
             echo \"ref: $branch\" >branch/.git/HEAD
             ln -s ../../../../secret/.git/$branch branch/.git/$branch
             echo 'ref: refs/heads/next' >chain/.git/HEAD; echo 'ref: refs/heads/last' >chain/.git/refs/heads/next
             ln -s ../../../../secret/.git/$branch chain/.git/refs/heads/last
             touch secret/.git/index; ln -s ../../secret/.git/index index/.git/index",
        );
        for own in ["secret", "linked", "shared", "outer", "outer/module", "outer2/module", "old"] {
            assert!(is_within(&Repository::at(&disk.join(own)).unwrap()), "{own}");
        }
        for foreign in ["file", "link", "common", "refs", "branch", "chain", "index"] {
            let found = Repository::at(&disk.join(foreign)).unwrap();
            assert!(!is_within(&found), "{foreign}");
        }
    }
}
