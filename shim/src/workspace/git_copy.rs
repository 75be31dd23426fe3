//! A copy of what git reads of a git directory to tell the facts about its commits.
//!
//! A git directory may be part of an archive, and many of its files can lead git to those of
//! another repository: links, names in references and in tables of them, and the configuration. So
//! git is not asked in it, but in a copy, which has only regular files, no names that lead upwards,
//! and a configuration that is written here. However git reads these files, it stays in the copy.
//!
//! The objects are used where they are, if there is neither a link among them nor a file that names
//! those of another repository (`objects/info/alternates`).
//!
//! Of the references it has branches and tags. It has no hooks, no other working trees and nothing
//! that replaces commits.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use burst_sync::git_directory::Repository;
use burst_sync::regular_file::{self, Links};

use super::git_boundary::{OwnRepository, SHARED_INDEX};
use super::git_command::{self, answer};
use super::git_configuration::written;

/// The largest file that is copied, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// How many entries there may be: references, and files of objects. git packs both long before.
const ENTRIES_MAX: usize = 200_000;

/// What is copied of the directory that all working trees share. A reference that git packs
/// meanwhile is in the later one.
const SHARED: [&str; 5] = ["refs/heads", "refs/tags", "packed-refs", "reftable", "shallow"];

/// The beginning of the names of branches.
const BRANCHES: &[u8] = b"refs/heads/";

/// Attributes, of which nothing is sent: they tell which files a filter makes.
const ATTRIBUTES: &str = "info/attributes";

/// The list of the tables of references.
const TABLES: &str = "reftable/tables.list";

/// Why there is no git directory to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotMade {
    /// The repository speaks of another working tree ([`super::git_boundary`]).
    Elsewhere,
    /// A file, link or setting leads out of the git directory.
    Leads,
    /// Objects lie in another repository.
    Alternates,
    /// `HEAD` is a reference that is not copied.
    NoBranch,
    /// There is too much.
    Large,
    /// It cannot be read, or git fails, maybe in the repository itself.
    Failed,
}

impl From<io::Error> for NotMade {
    fn from(error: io::Error) -> Self {
        tracing::info!(%error, "a git directory is not copied");
        match error.kind() {
            ErrorKind::FileTooLarge => Self::Large,
            _ => Self::Failed,
        }
    }
}

/// The copy of a git directory. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct GitCopy<'a> {
    own: &'a OwnRepository<'a>,
    /// The copy of what all working trees share.
    common: PathBuf,
    /// The copy of what is the working tree's alone.
    directory: PathBuf,
    /// The branch in `HEAD`; none if that is a commit.
    branch: Option<String>,
}

impl<'a> GitCopy<'a> {
    /// Copies a git directory to a path, where nothing else lies. Blocks.
    pub(super) fn make(own: &'a OwnRepository<'a>, at: &Path) -> Result<Self, NotMade> {
        drop(fs::remove_dir_all(at));
        let is_linked = own.directory != own.common;
        let directory = if is_linked { at.join("worktrees/one") } else { at.to_owned() };
        let mut copy = Self { own, common: at.to_owned(), directory, branch: None };
        for directory in [&copy.directory, &at.join("refs"), &at.join("objects")] {
            fs::create_dir_all(directory)?;
        }
        if is_linked {
            write(&copy.directory.join("commondir"), b"../..\n")?;
        }
        let mut left = ENTRIES_MAX;
        copy.check_objects(&mut left)?;
        for name in SHARED {
            copy_all(&own.common, name, &copy.common, &mut left)?;
        }
        match copy_all(&own.common, ATTRIBUTES, &copy.common, &mut left) {
            // Some users have a link there; git goes without.
            Ok(()) | Err(NotMade::Leads) => {}
            Err(lack) => return Err(lack),
        }
        for name in copy.names_of_work_tree()? {
            copy_all(&own.directory, &name, &copy.directory, &mut left)?;
        }
        copy.add_configuration()?;
        match answer(copy.git().args(["symbolic-ref", "--quiet", "HEAD"]), b"") {
            // No answer of git.
            Ok(branch) if branch.is_empty() => Err(NotMade::Failed),
            Ok(branch) if !branch.starts_with(BRANCHES) => Err(NotMade::NoBranch),
            Ok(branch) => {
                let branch = String::from_utf8_lossy(&branch);
                copy.branch = Some(branch.trim_end_matches('\n').to_owned());
                Ok(copy)
            }
            // `HEAD` is a commit.
            Err(_) => Ok(copy),
        }
    }

    /// The branch in `HEAD`, with its whole name; none if that is a commit.
    pub(super) fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// The repository.
    pub(super) fn repository(&self) -> &'a Repository {
        self.own.repository
    }

    /// A call of git in the copy.
    pub(super) fn git(&self) -> Command {
        let work_tree = &self.own.repository.work_tree;
        let mut command = git_command::outside(work_tree);
        command.arg("--git-dir").arg(&self.directory).arg("--work-tree").arg(work_tree);
        // It names packs, which git would look for elsewhere.
        command.args(["-c", "core.multiPackIndex=false"]);
        command.env("GIT_OBJECT_DIRECTORY", self.own.common.join("objects"));
        command
    }

    /// Reads a small file of the copy that all working trees share.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        regular_file::read(&self.common.join(name), FILE_BYTES_MAX, Links::Refused).ok()
    }

    /// What is copied of the directory of the working tree.
    fn names_of_work_tree(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.own.directory)?.collect::<io::Result<Vec<_>>>()?;
        let names = entries.iter().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter(|name| name.as_bytes().starts_with(SHARED_INDEX)).collect();
        names.extend(["HEAD", "index", "reftable"].map(str::to_owned));
        Ok(names)
    }

    fn check_objects(&self, left: &mut usize) -> Result<(), NotMade> {
        files(&self.own.common, "objects", left)?;
        let alternates = self.own.common.join("objects/info/alternates");
        match alternates.symlink_metadata() {
            Ok(found) if found.len() > 0 => Err(NotMade::Alternates),
            _ => Ok(()),
        }
    }

    /// Writes the configuration of the copy. Of a file that is included nothing is read.
    fn add_configuration(&self) -> Result<(), NotMade> {
        let Self { own, common, directory, .. } = self;
        let named =
            [(&own.common, "config", common), (&own.directory, "config.worktree", directory)];
        for (from, name, to) in named {
            for file in files(from, name, &mut 1)? {
                let text = regular_file::read(&file, FILE_BYTES_MAX, Links::Refused)?;
                let mut git = git_command::outside(Path::new("/"));
                git.args(["config", "--file", "-", "--no-includes", "--null", "--list"]);
                let text = written(&answer(&mut git, &text)?).ok_or(NotMade::Leads)?;
                write(&to.join(name), text.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Drop for GitCopy<'_> {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next copy.
        drop(fs::remove_dir_all(&self.common));
    }
}

/// Copies a file, or a directory with all in it, if it is there.
fn copy_all(from: &Path, name: &str, to: &Path, left: &mut usize) -> Result<(), NotMade> {
    for file in files(from, name, left)? {
        let Ok(below) = file.strip_prefix(from) else { continue };
        let Some(text) = if_there(regular_file::read(&file, FILE_BYTES_MAX, Links::Refused))?
        else {
            continue;
        };
        let is_reference = below.starts_with("refs") || below == Path::new("HEAD");
        let leads_upwards = is_reference && text.windows(2).any(|part| part == b"..");
        if leads_upwards || (below == Path::new(TABLES) && text.contains(&b'/')) {
            return Err(NotMade::Leads);
        }
        write(&to.join(below), &text)?;
    }
    Ok(())
}

/// The regular files at and below a name in a directory, if there are any. Anything else than files
/// and directories, also on the way to it, leads out of the directory.
fn files(directory: &Path, name: &str, left: &mut usize) -> Result<Vec<PathBuf>, NotMade> {
    let mut found = Vec::new();
    let mut path = directory.to_owned();
    for part in Path::new(name) {
        path.push(part);
        match if_there(path.symlink_metadata())? {
            Some(kind) if kind.is_dir() => {}
            Some(kind) if kind.is_file() => found.push(path.clone()),
            Some(_) => return Err(NotMade::Leads),
            None => return Ok(found),
        }
    }
    let mut open = if found.is_empty() { vec![path] } else { Vec::new() };
    while let Some(directory) = open.pop() {
        for entry in if_there(fs::read_dir(directory))?.into_iter().flatten() {
            let entry = entry?;
            *left = left.checked_sub(1).ok_or(NotMade::Large)?;
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => return Err(NotMade::Leads),
            }
        }
    }
    Ok(found)
}

/// Writes a file of a git directory that nothing reads until it is complete.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create(path)?.write_all(bytes)
}

/// What is missing is no error: git removes files that it packs.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Makes a repository `secret`, and beside it one by a script that runs in its directory.
    /// Returns what git says in the copy of its git directory.
    fn said(script: &str) -> Result<String, NotMade> {
        const PREPARED: &str = "set -e; git() { command git -c user.name=a -c user.email=a@b \\
            -c protocol.file.allow=always \"$@\"; }
            commit() { git commit -q --allow-empty -m $1; git tag tag-$1; }
            git init -q -b main secret; cd secret; touch private; git add private; commit secret
            git config remote.origin.url secret; cd ..; secret=$PWD/secret/.git
            from_secret() { rm -rf .git/$1; ln -s $secret/${2:-$1} .git/$1; }
            git init -q -b main app; cd app\n";
        let disk = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{PREPARED}{script}")]).current_dir(disk.path());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(shell.status().unwrap().success(), "{script}");
        let repository = Repository::at(&disk.path().join("app")).unwrap();
        let own = OwnRepository::of(&repository).unwrap();
        let copy = GitCopy::make(&own, &disk.path().join("copy"))?;
        let asked = [
            "log --format=%s HEAD --",
            "for-each-ref --format=%(refname:short)",
            "ls-files",
            "config --get remote.origin.url",
        ];
        let said = asked.map(|asked| {
            let said = answer(copy.git().args(asked.split(' ')), b"").unwrap_or_default();
            String::from_utf8(said).unwrap().lines().collect::<Vec<_>>().join(" ")
        });
        Ok(said.join(", "))
    }

    #[test]
    fn git_says_the_same_in_the_copy() {
        for (script, expected) in [
            ("commit one; touch x; git add x", "one, main tag-one, x, "),
            ("commit one; printf ref:refs/heads/main >.git/HEAD", "one, main tag-one, , "),
            ("commit one; git checkout -q --detach; commit two", "two one, main tag-one tag-two, , "),
            ("commit one; git pack-refs --all; commit two", "two one, main tag-one tag-two, , "),
            ("touch x; git add x; git update-index --split-index; git config remote.origin.url u", ", , x, u"),
            ("commit one; git repack -adq; git multi-pack-index write", "one, main tag-one, , "),
            (
                "commit one; ln -s ../../x .git/hooks/pre-commit; git config extensions.worktreeConfig true
                 git config --worktree remote.origin.url w",
                "one, main tag-one, , w",
            ),
            (
                "commit one; cd ..; mv app main; git -C main worktree add -q -b b $PWD/app; cd app
                 touch x; git add x; commit two",
                "two one, b main tag-one tag-two, x, ",
            ),
            (
                "rm -rf .git; git init -q -b main --ref-format=reftable; commit one; cd ..; mv app main
                 git -C main worktree add -q -b b $PWD/app; cd app; commit two",
                "two one, b main tag-one tag-two, , ",
            ),
            (
                "rm -rf .git; git init -q --object-format=sha256 -b main; commit one",
                "one, main tag-one, , ",
            ),
        ] {
            assert_eq!(said(script).as_deref(), Ok(expected), "{script}");
        }
    }

    /// As in a hostile archive.
    #[test]
    fn git_says_nothing_of_another_repository() {
        let [leads, no_branch, alternates] =
            [NotMade::Leads, NotMade::NoBranch, NotMade::Alternates].map(Err);
        let nothing = Ok(", , , ".to_owned());
        let no_commit = Ok(", main, , ".to_owned());
        for (script, expected) in [
            (
                "printf ref:refs/heads/b >.git/HEAD; from_secret refs/heads/b refs/heads/main",
                &leads,
            ),
            ("printf 'ref:\\trefs/heads/main' >.git/HEAD; from_secret refs/heads/main", &leads),
            ("printf 'ref:\\nrefs/heads/main' >.git/HEAD; from_secret refs/heads/main", &leads),
            ("echo ref: refs/heads/b/c >.git/HEAD; from_secret refs/heads/b refs/heads", &leads),
            ("from_secret HEAD refs/heads/main", &leads),
            ("from_secret refs", &leads),
            ("from_secret refs/tags", &leads),
            ("from_secret packed-refs", &leads),
            ("from_secret index", &leads),
            ("from_secret config", &leads),
            ("from_secret sharedindex.1 index", &leads),
            ("from_secret objects", &leads),
            ("from_secret objects/pack", &leads),
            ("from_secret objects/11", &leads),
            ("from_secret shallow", &leads),
            ("mkfifo .git/refs/heads/b", &leads),
            ("from_secret reftable", &leads),
            ("mkdir .git/reftable; echo ../../../secret/x.ref >.git/reftable/tables.list", &leads),
            ("echo ref: refs/heads/../../../../secret/.git/HEAD >.git/refs/heads/main", &leads),
            ("git config extensions.refStorage files://$secret", &leads),
            ("echo $secret/objects >.git/objects/info/alternates", &alternates),
            (
                "mkdir .git/refs/bisect; from_secret refs/bisect/b refs/heads/main
              echo ref: refs/bisect/b >.git/HEAD",
                &no_branch,
            ),
            (
                "from_secret hooks/b refs/heads/main; echo ref: hooks/b >.git/refs/heads/main",
                &no_branch,
            ),
            ("git config include.path $secret/config", &nothing),
            ("git config core.worktree $secret/..", &nothing),
            // Other packs are found by an index of several; git itself shows the commit then.
            (
                "git -C ../secret repack -adq; cp $secret/objects/pack/* .git/objects/pack
              git multi-pack-index write; cd .git/objects/pack; name=$(echo *.idx); rm pack-*
              mkdir ../../../../packs; for end in idx pack; do
                  cp $secret/objects/pack/*.$end ../../../../packs/p.$end; done
              chmod u+w multi-pack-index
              other=../../../../packs///////////////////////////p.idx; test ${#name} = ${#other}
              LC_ALL=C sed -i s,$name,$other, multi-pack-index; cd ../../..
              command git -C ../secret rev-parse HEAD >.git/refs/heads/main; git log | grep secret",
                &no_commit,
            ),
            ("from_secret logs", &nothing),
            ("from_secret info/attributes config", &nothing),
        ] {
            assert_eq!(said(script), *expected, "{script}");
        }
    }
}
