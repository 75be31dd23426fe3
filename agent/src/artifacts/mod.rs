//! The files of the target directory that a run offers to its client.
//!
//! - What cargo puts in place for its user in the directory of a profile, and of its examples:
//!   programs and libraries with their `.d` files ([`profile`]).
//! - What JSON messages name that the user has requested ([`messages`]).
//! - What tests, criterion, `--timings` and rustdoc write to directories of their own.
//!
//! Builds write to the target directory, and may have put links anywhere below it and in its
//! place: none is followed. A file that another run replaces meanwhile is left out: that run
//! offers it.

mod messages;
pub(crate) mod named_paths;
mod profile;
pub(crate) mod whole;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::message::{Artifact, Returns};
use burst_protocol::path::normalized;
use burst_protocol::tree::{File, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{AllBut, add_paths, scan};
use burst_sync::stat_cache::StatCache;
use burst_sync::tally::Tally;

pub(crate) use self::messages::{MessageReader, Named};
use crate::error::AgentError;

/// Bytes of the files in `tmp/`, which tests write, beyond which they stay on the agent.
const TEST_FILES_BYTES_MAX: u64 = 16 << 20;

/// Bytes of the largest file of a build script that is offered: what is larger is no text
/// that a tool reads.
const SCRIPT_FILE_BYTES_MAX: u64 = 1 << 20;

/// What is offered of a target directory.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// The files, in the order of their paths.
    pub(crate) files: Vec<Artifact>,
    /// The bytes of the files in `tmp/`, if they are too many to be offered.
    pub(crate) large_tests: Option<u64>,
}

/// The files that are offered of a target directory. `named` are paths that begin with
/// `seen_at`, where cargo saw the directory.
pub(crate) fn collect(
    target: &Path,
    seen_at: &Path,
    named: &Named,
    returns: &Returns,
    cache: &mut StatCache,
) -> Result<Offered, AgentError> {
    let handle = open_target(target, seen_at)?;
    let mut collection = Collection {
        target: &handle,
        seen_at,
        cache,
        now: Moment::coarse_now(),
        found: BTreeMap::new(),
    };
    if let Some(profile) = &returns.profile {
        collection.add_files(&profile::files(&handle, profile))?;
    }
    if returns.named {
        collection.add_named(named)?;
    }
    let directories = [
        (returns.criterion, "criterion"),
        (returns.timings, "cargo-timings"),
        (returns.docs, "doc"),
    ];
    for (_, name) in directories.into_iter().filter(|(wanted, _)| *wanted) {
        collection.add_directories(name)?;
    }
    let large_tests = if returns.tests { collection.add_tests()? } else { None };
    let found = collection.found.into_iter();
    Ok(Offered { files: found.map(|(path, file)| Artifact { path, file }).collect(), large_tests })
}

/// Opens a target directory, which is seen at another path. No link in its place is followed.
pub(crate) fn open_target(target: &Path, seen_at: &Path) -> Result<RootDirectory, AgentError> {
    let unusable = |source| SyncError::Root { path: seen_at.to_owned(), source };
    let name = target.file_name().map(|name| RelativePath::new(name.as_bytes()));
    let (Some(parent), Some(Ok(name))) = (target.parent(), name) else {
        return Err(unusable(std::io::ErrorKind::InvalidInput.into()).into());
    };
    let opened = RootDirectory::open(parent)?.subdirectory_as(&name, seen_at);
    Ok(opened.map_err(unusable)?)
}

/// Collects the files of one target directory.
struct Collection<'a> {
    target: &'a RootDirectory,
    /// Where cargo saw it.
    seen_at: &'a Path,
    cache: &'a mut StatCache,
    now: Moment,
    found: BTreeMap<RelativePath, File>,
}

impl Collection<'_> {
    /// Adds single files; what is none is skipped.
    fn add_files(&mut self, paths: &[RelativePath]) -> Result<(), AgentError> {
        for path in paths {
            let mut tree = burst_protocol::tree::Directory::new();
            match add_paths(self.target, None, [path], self.cache, self.now, &mut tree) {
                Err(SyncError::Changed(_)) => continue,
                added => added?,
            }
            if let Some(Node::File(file)) = tree.get(path) {
                self.found.insert(path.clone(), *file);
            }
        }
        Ok(())
    }

    /// Adds what messages have named: files with their `.d` files, and the texts of build
    /// scripts.
    fn add_named(&mut self, named: &Named) -> Result<(), AgentError> {
        let seen_at = self.seen_at;
        // cargo writes the target directory as the user named it.
        let below = |path: &Path| {
            let path = normalized(path);
            RelativePath::new(path.strip_prefix(seen_at).ok()?.as_os_str().as_bytes()).ok()
        };
        let files = named.files.iter().flat_map(|path| [path.with_extension("d"), path.clone()]);
        let files: Vec<RelativePath> = files.filter_map(|path| below(&path)).collect();
        self.add_files(&files)?;
        for directory in named.directories.iter().filter_map(|path| below(path)) {
            for (path, file) in self.below(&directory)? {
                if file.size <= SCRIPT_FILE_BYTES_MAX && !is_object(&path) {
                    self.found.insert(path, file);
                }
            }
        }
        Ok(())
    }

    /// Adds the files below `NAME/` and, for cross builds, below `TRIPLE/NAME/`.
    fn add_directories(&mut self, name: &str) -> Result<(), AgentError> {
        let Ok(name) = RelativePath::new(name.as_bytes()) else { return Ok(()) };
        let platforms = self.platforms()?;
        let below = platforms.iter().filter_map(|platform| platform.join_path(&name).ok());
        for directory in std::iter::once(name.clone()).chain(below) {
            let files = self.below(&directory)?;
            self.found.extend(files);
        }
        Ok(())
    }

    /// Adds what tests leave. Returns the bytes of what is too large.
    fn add_tests(&mut self) -> Result<Option<u64>, AgentError> {
        let (Ok(tmp), Ok(nextest)) = (RelativePath::new(b"tmp"), RelativePath::new(b"nextest"))
        else {
            return Ok(None);
        };
        // A report is `nextest/PROFILE/NAME.xml`; archives of runs lie there, too.
        let reports = self.below(&nextest)?.into_iter();
        self.found.extend(
            reports.filter(|(path, _)| {
                path.as_bytes().ends_with(b".xml") && path.names().count() == 3
            }),
        );
        let files = self.below(&tmp)?;
        let bytes = files.iter().map(|(_, file)| file.size).sum();
        if bytes > TEST_FILES_BYTES_MAX {
            return Ok(Some(bytes));
        }
        self.found.extend(files);
        Ok(None)
    }

    /// The names of the directories in the target directory, some of which are platforms.
    fn platforms(&self) -> Result<Vec<RelativePath>, AgentError> {
        let unreadable = |source| SyncError::Root { path: self.seen_at.to_owned(), source };
        Ok(self.target.directories().map_err(unreadable)?)
    }

    /// The files below a directory; none if there is none, or a link in its place.
    fn below(&mut self, place: &RelativePath) -> Result<Vec<(RelativePath, File)>, AgentError> {
        let Ok(directory) = self.target.subdirectory(place) else { return Ok(Vec::new()) };
        let found = scan(
            &directory,
            Some(place),
            &AllBut::default(),
            self.cache,
            self.now,
            &Tally::default(),
        )?;
        let mut files = Vec::new();
        found.tree.visit(&mut |path, node| {
            if let (Node::File(file), Ok(path)) = (node, place.join_path(path)) {
                files.push((path, *file));
            }
        });
        Ok(files)
    }
}

/// Whether a file is an intermediate one of a C compiler, or a library for a linker.
fn is_object(path: &RelativePath) -> bool {
    [".o", ".a"].iter().any(|end| path.as_bytes().ends_with(end.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn nothing_behind_a_link_is_listed() {
        let disk = tempfile::tempdir().unwrap();
        let path = |name: &str| disk.path().join(name);
        for name in ["other/criterion", "target/triple/criterion", "target/debug"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let files = ["other/criterion/secret", "target/triple/criterion/mine"];
        for file in files.iter().chain(&["target/debug/.cargo-lock"]) {
            std::fs::write(path(file), "x").unwrap();
        }
        std::os::unix::fs::symlink(path("other/criterion"), path("target/criterion")).unwrap();
        std::os::unix::fs::symlink(path("other"), path("target/linked")).unwrap();
        std::os::unix::fs::symlink(path("other/criterion/secret"), path("target/debug/app"))
            .unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        let returns = Returns {
            profile: Some(burst_protocol::FileName::new(b"debug").unwrap()),
            named: true,
            criterion: true,
            ..Returns::default()
        };
        let mut named = Named::default();
        named.files.insert(PathBuf::from("/t/debug/app"));
        named.directories.insert(PathBuf::from("/t/criterion"));
        let list = |target: &str| {
            let cache = &mut StatCache::default();
            collect(&path(target), Path::new("/t"), &named, &returns, cache)
        };
        let found = list("target").unwrap().files;
        let found: Vec<_> = found.iter().map(|artifact| artifact.path.as_bytes()).collect();
        assert_eq!(found, [b"triple/criterion/mine"]);
        assert!(list("link").is_err());
    }

    #[test]
    fn what_tests_and_build_scripts_write_is_offered_where_it_is_small() {
        let disk = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: u64| {
            let path = disk.path().join("target").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        };
        for (name, bytes) in [
            ("tmp/case/out", 5),
            ("nextest/ci/junit.xml", 5),
            ("nextest/ci/store/run.zst", 5),
            ("debug/build/x-1/out/gen.rs", SCRIPT_FILE_BYTES_MAX),
            ("debug/build/x-1/out/large.rs", SCRIPT_FILE_BYTES_MAX + 1),
            ("debug/build/x-1/out/c.o", 5),
        ] {
            write(name, bytes);
        }
        let returns = Returns { named: true, tests: true, ..Returns::default() };
        let mut named = Named::default();
        named.directories.insert(PathBuf::from("/t/debug/build/x-1/out"));
        let list = || {
            let (target, cache) = (disk.path().join("target"), &mut StatCache::default());
            let offered = collect(&target, Path::new("/t"), &named, &returns, cache).unwrap();
            let paths = offered.files.iter().map(|file| file.path.display().to_string());
            (paths.collect::<Vec<_>>(), offered.large_tests)
        };
        let small = ["debug/build/x-1/out/gen.rs", "nextest/ci/junit.xml", "tmp/case/out"];
        assert_eq!(list(), (small.map(String::from).to_vec(), None));
        write("tmp/case/large", TEST_FILES_BYTES_MAX);
        let (paths, large) = list();
        assert_eq!((paths.len(), large), (2, Some(TEST_FILES_BYTES_MAX + 5)));
    }
}
