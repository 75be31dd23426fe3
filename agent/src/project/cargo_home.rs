//! What the client has sent of its cargo home, placed into the cargo home that the project has
//! of its own on a server.
//!
//! The client sends packages that only it can download as part of the tree, at the paths that
//! they have there. Runs do not see that part of the tree: they get copies, since cargo writes
//! to its home. So what a run does to them is never offered to the client as a change.
//!
//! Invariants: only the directories of [`PARTS`] are written; no link is followed there, since
//! builds write them, too; a file is complete or absent. What cargo has downloaded itself stays,
//! also in the place of a file that was placed.

use std::io;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Directory, File, Node};
use burst_sync::SyncError;
use burst_sync::root_directory::{RootDirectory, is_directory};
use burst_sync::stat_cache::{read_record, write_record};
use rustix::io::Errno;

use crate::error::AgentError;

/// The parts of a cargo home that are placed, as in cargo's documentation.
const PARTS: [&str; 3] = ["registry/cache", "registry/index", "git/db"];

/// The record of what was placed last, in the project's directory: a tree.
const RECORD: &str = "placed";

/// The name of a file that is being copied.
const TEMPORARY: &str = ".burst-copy";

/// Places what `agreed`, the tree below `root`, has of the client's cargo home, which is at
/// `seen_at` there, into the cargo home `own`: what is new, and what is missing or cut short.
/// Removes what was placed and is not sent any more. The record is in `directory`. No cargo
/// writes meanwhile, unless nothing has changed.
pub(super) fn fill(
    agreed: &Directory,
    root: &RootDirectory,
    directory: &Path,
    seen_at: &RelativePath,
    own: &Path,
) -> Result<(), AgentError> {
    let sent = sent_parts(agreed, seen_at)?;
    let record = directory.join(RECORD);
    let placed: Directory = read_record(&record).unwrap_or_default();
    if sent.is_empty() && placed.is_empty() {
        return Ok(());
    }
    let own = RootDirectory::open_as(own, &seen_at.absolute())?;
    for (path, _) in files_of(&placed) {
        if sent.get(&path).is_none() {
            remove(&own, &path).map_err(|source| own.unwritable(&path, source))?;
        }
    }
    for directory in empty_directories_of(&sent) {
        let create = own.create_directories(&directory, true);
        create.map_err(|source| own.unwritable(&directory, source))?;
    }
    let mut copied = 0;
    for (path, file) in files_of(&sent) {
        if placed.file(&path) != Some(&file) || !is_usable(&own, &path, file.size) {
            let from = seen_at.join_path(&path).map_err(io::Error::other);
            from.and_then(|from| copy(root, &from, &own, &path, file))
                .map_err(|source| own.unwritable(&path, source))?;
            copied += 1;
        }
    }
    if placed.digest() != sent.digest() {
        write_record(&record, &sent)?;
    }
    tracing::debug!(copied, "the cargo home has what the client has sent");
    Ok(())
}

/// The places of the parts of the client's cargo home, if that is known.
pub(super) fn parts(seen_at: Option<&RelativePath>) -> Vec<RelativePath> {
    let place = |part: &&str| seen_at?.join_path(&RelativePath::new(part.as_bytes()).ok()?).ok();
    PARTS.iter().filter_map(place).collect()
}

/// The parts of the client's cargo home that are in a tree, by their paths below it.
fn sent_parts(tree: &Directory, seen_at: &RelativePath) -> Result<Directory, SyncError> {
    let mut sent = Directory::new();
    for place in parts(Some(seen_at)) {
        if let (Some(Node::Directory(found)), Some(part)) = (tree.get(&place), place.below(seen_at))
        {
            sent.put(&part, Node::Directory(found.clone()))?;
        }
    }
    Ok(sent)
}

fn files_of(tree: &Directory) -> Vec<(RelativePath, File)> {
    let mut files = Vec::new();
    tree.visit(&mut |path, node| {
        if let Node::File(file) = node {
            files.push((path.clone(), *file));
        }
    });
    files
}

fn empty_directories_of(tree: &Directory) -> Vec<RelativePath> {
    let mut directories = Vec::new();
    tree.visit(&mut |path, node| {
        if matches!(node, Node::Directory(directory) if directory.is_empty()) {
            directories.push(path.clone());
        }
    });
    directories
}

/// Whether what was placed, with this size, is there: an archive or an object of git that has
/// another size was cut short. Everything else cargo and git rewrite; a power cut can leave it
/// empty.
fn is_usable(own: &RootDirectory, path: &RelativePath, placed: u64) -> bool {
    let Ok(status) = own.status(path) else { return false };
    let is_file =
        rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    let size = u64::try_from(status.st_size).unwrap_or_default();
    is_file && (size == placed || size > 0 && !is_immutable(path))
}

/// Whether a path always has the same content: that of a package's archive, and of an object of
/// git, `git/db/NAME/objects/..`.
fn is_immutable(path: &RelativePath) -> bool {
    let names: Vec<&[u8]> = path.names().take(4).collect();
    matches!(names[..], [b"registry", b"cache", ..] | [b"git", b"db", _, b"objects"])
}

/// Removes a file that was placed. Where a build has made a directory of it, or something else of
/// a directory around it, it is gone.
fn remove(own: &RootDirectory, path: &RelativePath) -> io::Result<()> {
    match own.status(path) {
        Ok(status) if is_directory(&status) => Ok(()),
        Ok(_) => own.remove_file(path),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            _ => Err(error),
        },
    }
}

fn copy(
    tree: &RootDirectory,
    from: &RelativePath,
    own: &RootDirectory,
    path: &RelativePath,
    file: File,
) -> io::Result<()> {
    let temporary = RelativePath::new(TEMPORARY.as_bytes()).map_err(io::Error::other)?;
    let temporary = match path.parent() {
        Some(parent) => {
            own.create_directories(&parent, true)?;
            parent.join_path(&temporary).map_err(io::Error::other)?
        }
        None => temporary,
    };
    // A copy that was interrupted.
    own.remove_all(&temporary)?;
    let mut source = tree.open_file(from)?;
    let mut target = own.create_file(&temporary, file.mode.bits())?;
    io::copy(&mut source, &mut target)?;
    if own.status(path).is_ok_and(|status| is_directory(&status)) {
        own.remove_all(path)?;
    }
    own.rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::symlink;

    use burst_sync::clock::Moment;
    use burst_sync::scan::{AllBut, scan};
    use burst_sync::stat_cache::StatCache;

    use super::*;
    use crate::agreement::Agreement;
    use crate::project::Project;
    use burst_sync::tally::Tally;

    /// A project whose client has sent its tree as it is on the disk, and its cargo home.
    struct Example {
        _directory: tempfile::TempDir,
        project: Project,
        own: std::path::PathBuf,
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    impl Example {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let own = directory.path().join("cargo-home");
            fs::create_dir(&own).unwrap();
            let project = Project::open(&directory.path().join("project"), &path("work")).unwrap();
            Self { _directory: directory, project, own }
        }

        fn send(&mut self, file: &str, text: &str) {
            let place = self.project.tree().join("home").join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }

        fn fill(&mut self) {
            let root = &self.project.root_directory;
            let mut cache = StatCache::default();
            let found = scan(
                root,
                None,
                &AllBut(HashSet::new()),
                &mut cache,
                Moment::now(),
                &Tally::default(),
            )
            .unwrap();
            self.project.agreement = Agreement::of(found.tree);
            self.project.fill_cargo_home(&path("home"), &self.own).unwrap();
        }

        fn read(&self, file: &str) -> Option<String> {
            fs::read_to_string(self.own.join(file)).ok()
        }
    }

    const ARCHIVE: &str = "registry/cache/r-1/secret-1.0.0.crate";

    #[test]
    fn what_is_sent_is_placed_and_nothing_else_is_touched() {
        let mut example = Example::new();
        fs::create_dir_all(example.own.join("registry/cache/r-1")).unwrap();
        fs::write(example.own.join("registry/cache/r-1/own.crate"), "own").unwrap();
        example.send(ARCHIVE, "archive");
        example.send("git/db/lib-1/HEAD", "ref: refs/heads/main\n");
        example.send("config.toml", "not a part");
        fs::create_dir_all(example.project.tree().join("home/git/db/lib-1/refs")).unwrap();
        example.fill();
        assert_eq!(example.read(ARCHIVE).unwrap(), "archive");
        assert_eq!(example.read("git/db/lib-1/HEAD").unwrap(), "ref: refs/heads/main\n");
        assert!(example.own.join("git/db/lib-1/refs").is_dir());
        assert_eq!(example.read("config.toml"), None);
        // What is no longer sent goes; what cargo has downloaded itself stays.
        fs::remove_dir_all(example.project.tree().join("home/registry")).unwrap();
        example.fill();
        assert_eq!(example.read(ARCHIVE), None);
        assert_eq!(example.read("registry/cache/r-1/own.crate").unwrap(), "own");
        assert_eq!(example.read("git/db/lib-1/HEAD").unwrap(), "ref: refs/heads/main\n");
    }

    #[test]
    fn new_contents_and_what_was_lost_are_placed_again_and_the_rest_is_left_alone() {
        let mut example = Example::new();
        let (index, refs) = ("registry/index/r-1/.cache/se/cr/secret", "git/db/l-1/packed-refs");
        let object = "git/db/l-1/objects/ab/cdef";
        for (file, text) in [(ARCHIVE, "archive"), (index, "1.0.0"), (refs, "a"), (object, "bytes")]
        {
            example.send(file, text);
        }
        example.fill();
        // cargo and git have written newer ones, which are longer.
        let own = example.own.clone();
        let write = |file: &str, text: &str| fs::write(own.join(file), text).unwrap();
        write(index, "1.0.0 1.1.0");
        write(refs, "a b");
        write(ARCHIVE, "cut");
        write(object, "byte");
        example.fill();
        let read = |file: &str| example.read(file).unwrap();
        assert_eq!((read(index), read(refs)), ("1.0.0 1.1.0".into(), "a b".into()));
        assert_eq!((read(ARCHIVE), read(object)), ("archive".into(), "bytes".into()));
        example.send(index, "1.2.0");
        fs::remove_file(own.join(ARCHIVE)).unwrap();
        write(refs, "");
        example.fill();
        let read = |file: &str| example.read(file).unwrap();
        assert_eq!((read(index), read(refs)), ("1.2.0".into(), "a".into()));
        assert_eq!(read(ARCHIVE), "archive");
    }

    /// They are the builds' own; the runs after that do not fail.
    #[test]
    fn what_a_build_has_made_of_files_that_are_no_longer_sent_stays() {
        let mut example = Example::new();
        let [file, inner, linked] = ["git/db/a-1/HEAD", "git/db/b-1/refs/x", "git/db/c-1/refs/x"];
        for name in [file, inner, linked, ARCHIVE] {
            example.send(name, "x");
        }
        example.fill();
        let at = |name: &str| example.own.join(name);
        fs::remove_file(at(file)).unwrap();
        fs::create_dir(at(file)).unwrap();
        fs::remove_dir_all(at("git/db/b-1/refs")).unwrap();
        fs::write(at("git/db/b-1/refs"), "").unwrap();
        fs::rename(at("git/db/c-1/refs"), at("git/db/c-1/moved")).unwrap();
        symlink("moved", at("git/db/c-1/refs")).unwrap();
        fs::remove_dir_all(example.project.tree().join("home")).unwrap();
        for _ in 0..2 {
            example.fill();
        }
        assert!(example.own.join(file).is_dir());
        assert_eq!(example.read("git/db/b-1/refs").unwrap(), "");
        assert_eq!(example.read("git/db/c-1/moved/x").unwrap(), "x");
        assert_eq!(example.read(ARCHIVE), None);
    }

    #[test]
    fn links_and_directories_that_a_build_has_made_are_replaced() {
        let mut example = Example::new();
        let elsewhere = example.own.with_file_name("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("kept"), "kept").unwrap();
        fs::create_dir(example.own.join("registry")).unwrap();
        symlink(&elsewhere, example.own.join("registry/cache")).unwrap();
        fs::create_dir_all(example.own.join("git/db/lib-1/HEAD/below")).unwrap();
        example.send(ARCHIVE, "archive");
        example.send("git/db/lib-1/HEAD", "main");
        example.fill();
        assert_eq!(example.read(ARCHIVE).unwrap(), "archive");
        assert_eq!(example.read("git/db/lib-1/HEAD").unwrap(), "main");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }
}
