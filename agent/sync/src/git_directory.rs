//! Which git repository a directory belongs to, and where git keeps its data.
//!
//! Only files are read: git is not started. A working tree has a `.git` directory, or a `.git`
//! file that names the directory, as in linked worktrees and submodules. A linked worktree
//! shares most of its data with the others in a *common* directory. What is no repository to
//! git, such as an empty `.git`, is none here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::regular_file::{self, Links};

/// The largest file that names a directory, in bytes.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// A repository with a working tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The working tree, which contains `.git`.
    pub work_tree: PathBuf,
    /// The git directory of this working tree.
    pub directory: PathBuf,
    /// The git directory that all working trees of the repository share.
    pub common: PathBuf,
}

impl Repository {
    /// The repository whose working tree is `work_tree`.
    pub fn at(work_tree: &Path) -> Option<Self> {
        let dot_git = work_tree.join(".git");
        let directory = match dot_git.is_dir() {
            true => dot_git,
            false => {
                let text = regular_file::read(&dot_git, NAME_BYTES_MAX, Links::Followed).ok()?;
                work_tree.join(path(text.strip_prefix(b"gitdir: ")?))
            }
        };
        // It can be a link to nothing.
        directory.join("HEAD").symlink_metadata().ok()?;
        let named = directory.join("commondir");
        let common = match regular_file::read(&named, NAME_BYTES_MAX, Links::Followed) {
            Ok(text) => directory.join(path(&text)),
            Err(_) => directory.clone(),
        };
        Some(Self { work_tree: work_tree.to_owned(), directory, common })
    }

    /// Whether it is of the user of this process: in another one git does nothing.
    pub fn is_own(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        std::fs::metadata(&self.directory).is_ok_and(|found| found.uid() == own)
    }

    /// The innermost repository that a directory lies in. As in git, links in the path of the
    /// directory are followed first.
    pub fn around(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        directory.ancestors().find_map(Self::at)
    }
}

/// A path that ends with its line.
fn path(text: &[u8]) -> &Path {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    Path::new(OsStr::from_bytes(&text[..end.map_or(0, |last| last + 1)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_the_git_directory_and_that_the_common_one() {
        let disk = tempfile::tempdir().unwrap();
        let disk = disk.path().canonicalize().unwrap();
        let write = |path: &str, text: &str| {
            let path = disk.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("main/.git/HEAD", "");
        write("main/.git/worktrees/linked/HEAD", "");
        write("main/.git/worktrees/linked/commondir", "../..\n");
        write("linked/.git", "gitdir: ../main/.git/worktrees/linked\n");
        write("linked/src/empty/.git/other", "");
        write("linked/src/moved/.git", "gitdir: /nowhere\n");
        std::os::unix::fs::symlink("linked/src", disk.join("link")).unwrap();
        let main = disk.join("main/.git");
        let found = Repository::around(&disk.join("main")).unwrap();
        assert_eq!((&found.directory, &found.common), (&main, &main));
        let linked = Repository::at(&disk.join("linked")).unwrap();
        assert_eq!(linked.directory.canonicalize().unwrap(), main.join("worktrees/linked"));
        assert_eq!(linked.common.canonicalize().unwrap(), main);
        for inside in ["linked", "linked/src", "linked/src/empty", "linked/src/moved", "link"] {
            assert_eq!(Repository::around(&disk.join(inside)), Some(linked.clone()), "{inside}");
        }
    }
}
