//! The small git directories ([`super::git_facts`]) of the repositories of a workspace, kept below
//! its state. Each is made anew when anything that it was made from ([`super::git_origin`]) has
//! changed; git runs only then.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burst_protocol::tree::Directory;
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::git_directory::Repository;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{AllBut, scan};
use burst_sync::stat_cache::{StatCache, read_record, write_record};
use burst_sync::tally::Tally;

use super::git_boundary::OwnRepository;
use super::git_copy::{GitCopy, NotMade};
use super::git_facts;
use super::git_origin::origin;
use crate::background::lock;
use crate::error::Error;

/// The largest repository, by the size of its index in bytes: about 40,000 files.
const INDEX_BYTES_MAX: u64 = 4 << 20;

/// The beginning of the names below the directory of a workspace's state: of the git directory, of
/// the next one, of the copy that this is made from, and of the digest of what it was made from.
const DIRECTORY: &str = "git";
const NEXT: &str = "git-next";
const COPY: &str = "git-copy";
const ORIGIN: &str = "git-origin";

/// The git directory to send.
#[derive(Debug)]
pub(super) struct Made {
    /// Where it is.
    pub(super) directory: RootDirectory,
    /// What is in it.
    pub(super) tree: Directory,
}

/// Brings the git directory of a repository below `state` up to date; users know it as
/// `known_as`. `is_unsent` says of a path below the working tree whether it is here and not sent;
/// `settings` stand for what that depends on.
pub(super) fn bring_up_to_date(
    repository: &Repository,
    (state, known_as): (&Path, &Path),
    settings: &Digest,
    is_unsent: impl Fn(&RelativePath) -> bool,
) -> Result<Result<Made, NotMade>, SyncError> {
    let index = repository.directory.join("index");
    if fs::metadata(index).is_ok_and(|index| index.len() > INDEX_BYTES_MAX) {
        return Ok(Err(NotMade::Large));
    }
    let place = Place { state, known_as };
    let origin = origin(repository, settings);
    if let Some(made) = place.made_from(&origin) {
        return Ok(Ok(made));
    }
    let Some(own) = OwnRepository::of(repository) else {
        return Ok(Err(NotMade::Elsewhere));
    };
    let Ok(_lock) = lock(state) else { return Ok(Err(NotMade::Failed)) };
    place.make_under_lock(&own, &origin, is_unsent)
}

/// Removes the git directories below `state` of all repositories but those that users know as
/// these. Another command may be sending one of them: it scans again then.
pub(super) fn forget_others(state: &Path, known_as: &BTreeSet<PathBuf>) {
    let kept: BTreeSet<String> = known_as.iter().map(|known_as| key(known_as)).collect();
    let is_other = |name: &str| match name.rsplit_once('-') {
        Some((DIRECTORY | NEXT | COPY | ORIGIN, key)) => !kept.contains(key),
        _ => false,
    };
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let others: Vec<PathBuf> =
        names.filter(|name| is_other(name)).map(|name| state.join(name)).collect();
    if others.is_empty() {
        return;
    }
    let Ok(_lock) = lock(state) else { return };
    for path in others {
        // What cannot be removed is tried again with the next command.
        drop(fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)));
    }
}

fn lock(state: &Path) -> Result<fs::File, Error> {
    lock::take(&state.join("git.lock"))
}

/// The end of the names of a git directory that users know as this.
fn key(known_as: &Path) -> String {
    Digest::of(known_as.as_os_str().as_encoded_bytes()).to_hex()[..16].to_owned()
}

/// Where the git directory of a workspace is.
#[derive(Clone, Copy)]
struct Place<'a> {
    state: &'a Path,
    /// How users know it.
    known_as: &'a Path,
}

impl Place<'_> {
    /// A path below the state. A workspace has git directories of several repositories.
    fn path(self, name: &str) -> PathBuf {
        self.state.join(format!("{name}-{}", key(self.known_as)))
    }

    /// The directory that is there, if it was made from `origin`.
    fn made_from(self, origin: &Digest) -> Option<Made> {
        let (of, tree) = read_record::<(Digest, Directory)>(&self.path(ORIGIN))?;
        let directory = RootDirectory::open_as(&self.path(DIRECTORY), self.known_as);
        (of == *origin).then_some(Made { directory: directory.ok()?, tree })
    }

    /// Makes the directory, unless another command has made it while this one waited for the
    /// lock: that command is sending it.
    fn make_under_lock(
        self,
        own: &OwnRepository<'_>,
        origin: &Digest,
        is_unsent: impl Fn(&RelativePath) -> bool,
    ) -> Result<Result<Made, NotMade>, SyncError> {
        if let Some(made) = self.made_from(origin) {
            return Ok(Ok(made));
        }
        let [directory, next, record] = [DIRECTORY, NEXT, ORIGIN].map(|name| self.path(name));
        drop(fs::remove_dir_all(&next));
        let copy = match GitCopy::make(own, &self.path(COPY)) {
            Ok(copy) => copy,
            Err(lack) => return Ok(Err(lack)),
        };
        let made = git_facts::make(&copy, &next, is_unsent);
        let replaced = made.and_then(|()| {
            drop(fs::remove_file(&record));
            drop(fs::remove_dir_all(&directory));
            fs::rename(&next, &directory)
        });
        if let Err(error) = replaced {
            tracing::info!(%error, "no git directory is sent");
            return Ok(Err(NotMade::Failed));
        }
        let directory = RootDirectory::open_as(&directory, self.known_as)?;
        let mut cache = StatCache::default();
        let (filter, tally) = (AllBut::default(), Tally::default());
        let now = Moment::coarse_now();
        let tree = scan(&directory, None, &filter, &mut cache, now, &tally)?.tree;
        // Without the record it is made again.
        drop(write_record(&record, &(*origin, tree.clone())));
        Ok(Ok(Made { directory, tree }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    /// The other one may be sending it.
    #[test]
    fn what_another_command_has_made_meanwhile_is_not_made_again() {
        let disk = tempfile::tempdir().unwrap();
        let work_tree = disk.path().join("app");
        let mut git = Command::new("git");
        assert!(git.args(["init", "-q"]).arg(&work_tree).status().unwrap().success());
        fs::write(work_tree.join("x"), "x").unwrap();
        let mut git = Command::new("git");
        assert!(git.args(["add", "x"]).current_dir(&work_tree).status().unwrap().success());
        let repository = Repository::at(&work_tree).unwrap();
        let own = OwnRepository::of(&repository).unwrap();
        let place = Place { state: disk.path(), known_as: Path::new("/app/.git") };
        let make = |origin: &[u8], looked_at: &dyn Fn()| {
            let is_unsent = |_: &RelativePath| {
                looked_at();
                false
            };
            let origin = Digest::of(origin);
            let made = place.make_under_lock(&own, &origin, is_unsent).unwrap().unwrap();
            let inode = fs::metadata(place.path(DIRECTORY)).unwrap().ino();
            (made.tree.digest(), inode)
        };
        let first = make(b"one", &|| ());
        assert_eq!(make(b"one", &|| panic!("it is made again")), first);
        assert_ne!(make(b"two", &|| ()).1, first.1);
    }
}
