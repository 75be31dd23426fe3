//! The target directory of one run, found before the run begins.
//!
//! Invariant: once found, its place does not depend on what the run, or a file that comes
//! back, makes of the path: it is opened, or created, below the directories that existed
//! before, and no symbolic link that appeared since is followed. A directory that another
//! command has removed meanwhile, `cargo clean` for example, is created again in its place.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::RelativePath;
use burst_sync::SyncError;
use burst_sync::root_directory::{RootDirectory, is_directory};

/// The tag that excludes the directory from backups and from our scan, as cargo writes it.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by cargo.\n\
    # For information about cache directory tags see https://bford.info/cachedir/\n";

/// The place of a target directory.
#[derive(Debug)]
pub(crate) struct TargetDirectory {
    /// The path as the user knows it.
    path: PathBuf,
    /// The directory itself, or the nearest one above it that exists.
    existing: RootDirectory,
    /// The way from there to the directory; none if it exists.
    missing: Option<RelativePath>,
    /// The directory above it, and its name there; none if it does not exist, or has none above.
    entry: Option<(RootDirectory, RelativePath)>,
}

impl TargetDirectory {
    /// Finds the directory at an absolute path. Links of the user are followed, as cargo
    /// does; one that leads to nothing is an error, as for cargo.
    pub(crate) fn find(path: &Path) -> Result<Self, SyncError> {
        let mut missing: Vec<&OsStr> = Vec::new();
        let mut above = path;
        let existing = loop {
            match RootDirectory::open(above) {
                Ok(found) => break found,
                Err(SyncError::Root { source, .. })
                    if source.kind() == io::ErrorKind::NotFound
                        && above.parent().is_some()
                        && above.symlink_metadata().is_err() =>
                {
                    missing.extend(above.file_name());
                    above = above.parent().unwrap_or(above);
                }
                Err(error) => return Err(error),
            }
        };
        missing.reverse();
        let way = missing.join(OsStr::new("/"));
        let missing = match way.is_empty() {
            true => None,
            false => Some(
                RelativePath::new(way.as_bytes())
                    .map_err(|source| SyncError::Path { path: path.to_owned(), source })?,
            ),
        };
        let entry = if missing.is_none() { entry_of(path, &existing) } else { None };
        Ok(Self { path: path.to_owned(), existing, missing, entry })
    }

    /// Whether the directory existed before the run.
    const fn exists(&self) -> bool {
        self.missing.is_none()
    }

    /// Fails if results could not be written to these directories in it, because a link or a
    /// file stands in the way: below the target directory no link is followed.
    pub(crate) fn check(&self, directories: &[RelativePath]) -> Result<(), SyncError> {
        if !self.exists() {
            return Ok(());
        }
        let obstacle = directories.iter().find_map(|path| obstacle(&self.existing, path));
        obstacle.map_or(Ok(()), |(path, source)| Err(self.existing.unwritable(&path, source)))
    }

    /// Opens the directory; creates it, with its tag, if it does not exist.
    pub(super) fn open(&self) -> Result<RootDirectory, SyncError> {
        let (above, way) = match (&self.missing, &self.entry) {
            (Some(missing), _) => (&self.existing, missing),
            (None, Some((above, name))) if is_gone(above, name, &self.existing) => (above, name),
            (None, _) => return RootDirectory::share(&self.existing),
        };
        let unwritable = |source| SyncError::Write { path: self.path.clone(), source };
        // The agent of this machine may have made it to mount its own there.
        let is_new = self.missing.is_some() || above.status(way).is_err();
        above.create_directories(way, false).map_err(unwritable)?;
        let directory = above.subdirectory_as(way, &self.path).map_err(unwritable)?;
        if is_new {
            tag(&directory).map_err(unwritable)?;
        }
        Ok(directory)
    }
}

/// The directory above an opened one, and its name there, links followed; none for the root of
/// the file system, or if the path leads to another directory by now.
fn entry_of(path: &Path, opened: &RootDirectory) -> Option<(RootDirectory, RelativePath)> {
    let path = path.canonicalize().ok()?;
    let above = RootDirectory::open(path.parent()?).ok()?;
    let name = RelativePath::new(path.file_name()?.as_bytes()).ok()?;
    is_at(&above, &name, opened).then_some((above, name))
}

/// Whether a directory has left its place, and nothing or another directory is there.
fn is_gone(above: &RootDirectory, name: &RelativePath, opened: &RootDirectory) -> bool {
    match above.status(name) {
        Ok(status) => is_directory(&status) && !is_at(above, name, opened),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn is_at(above: &RootDirectory, name: &RelativePath, opened: &RootDirectory) -> bool {
    let (there, opened) = (above.status(name), rustix::fs::fstat(opened.root()));
    matches!((there, opened), (Ok(there), Ok(opened))
        if (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino))
}

/// What is at or above a path and is no directory.
pub(super) fn obstacle(
    root: &RootDirectory,
    path: &RelativePath,
) -> Option<(RelativePath, io::Error)> {
    let mut above = Some(path.clone());
    while let Some(path) = above {
        above = path.parent();
        let Ok(status) = root.status(&path) else { continue };
        let what = match root.read_link(&path) {
            _ if is_directory(&status) => return None,
            Ok(_) => "it is a symbolic link, which is not followed",
            Err(_) => "it is not a directory",
        };
        return Some((path, io::Error::new(io::ErrorKind::NotADirectory, what)));
    }
    None
}

fn tag(directory: &RootDirectory) -> io::Result<()> {
    use std::io::Write;
    let name = RelativePath::new(b"CACHEDIR.TAG").map_err(io::Error::other)?;
    match directory.create_file(&name, 0o644) {
        Ok(mut file) => file.write_all(TAG.as_bytes()),
        // Another command was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_the_user_are_followed_and_later_ones_are_not() {
        let disk = tempfile::tempdir().unwrap();
        let path = |name: &str| disk.path().join(name);
        for name in ["app", "fast", "outside"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        symlink(path("fast"), path("app/target")).unwrap();
        let existing = TargetDirectory::find(&path("app/target")).unwrap();
        let missing = TargetDirectory::find(&path("app/out/target")).unwrap();
        let direct = TargetDirectory::find(&path("app/other")).unwrap();
        // What a run has made of the paths meanwhile.
        std::fs::remove_file(path("app/target")).unwrap();
        for name in ["app/target", "app/out", "app/other"] {
            symlink(path("outside"), path(name)).unwrap();
        }
        let name = RelativePath::new(b"debug").unwrap();
        existing.open().unwrap().create_directories(&name, false).unwrap();
        assert!(path("fast/debug").is_dir());
        for refused in [missing, direct] {
            assert!(refused.open().is_err());
        }
        assert_eq!(std::fs::read_dir(path("outside")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_to_nothing_is_no_target_directory() {
        let disk = tempfile::tempdir().unwrap();
        symlink(disk.path().join("nowhere"), disk.path().join("target")).unwrap();
        for below in ["target", "target/x"] {
            assert!(TargetDirectory::find(&disk.path().join(below)).is_err(), "{below}");
        }
    }

    #[test]
    fn a_directory_that_was_removed_meanwhile_is_created_again() {
        let disk = tempfile::tempdir().unwrap();
        let path = |name: &str| disk.path().join(name);
        for name in ["fast", "replaced", "linked", "outside"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        symlink(path("fast"), path("link")).unwrap();
        let found =
            ["link", "replaced", "linked"].map(|name| TargetDirectory::find(&path(name)).unwrap());
        for name in ["fast", "replaced", "linked"] {
            std::fs::remove_dir(path(name)).unwrap();
        }
        std::fs::create_dir(path("replaced")).unwrap();
        symlink(path("outside"), path("linked")).unwrap();
        let [link, replaced, linked] = found;
        let name = RelativePath::new(b"debug").unwrap();
        for target in [link, replaced] {
            target.open().unwrap().create_directories(&name, false).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path("fast/CACHEDIR.TAG")).unwrap(), TAG);
        assert!(path("fast/debug").is_dir() && path("replaced/debug").is_dir());
        assert!(!path("replaced/CACHEDIR.TAG").exists());
        assert!(linked.open().unwrap().create_directories(&name, false).is_err());
        assert_eq!(std::fs::read_dir(path("outside")).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_directory_is_created_with_its_tag() {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a/b");
        let target = TargetDirectory::find(&path).unwrap();
        assert!(!path.exists());
        target.open().unwrap();
        target.open().unwrap();
        assert_eq!(std::fs::read_to_string(path.join("CACHEDIR.TAG")).unwrap(), TAG);
    }
}
