use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::tree::{FileMode, LinkTarget};

use super::*;

fn tree(paths: &[&str]) -> Directory {
    let mut tree = Directory::new();
    for path in paths {
        let file = File { size: 0, digest: Digest::of(b""), mode: FileMode::REGULAR };
        let path = RelativePath::new(path.as_bytes()).unwrap();
        tree.put(&path, Node::File(file)).unwrap();
    }
    tree
}

#[test]
fn links_that_a_run_created_are_replaced_and_never_followed() {
    let disk = tempfile::tempdir().unwrap();
    let (root, outside) = (disk.path().join("tree"), disk.path().join("outside"));
    for directory in [&root, &outside] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("x"), "theirs").unwrap();
    for name in ["d", "f"] {
        std::os::unix::fs::symlink(&outside, root.join(name)).unwrap();
    }
    let handle = RootDirectory::open(&root).unwrap();
    let mut store = BlobStore::open(&disk.path().join("store")).unwrap();
    let digest = Digest::of(b"ours");
    store.packs.put(digest, b"ours", true).unwrap();
    let put = |path: &str| Change::Put {
        path: RelativePath::new(path.as_bytes()).unwrap(),
        entry: Entry::File(File { size: 4, digest, mode: FileMode::REGULAR }),
    };
    let (old, stamp) = (tree(&["d/x", "d/y"]), Moment::coarse_now());
    let gone = RelativePath::new(b"d/y").unwrap();
    let changes = [Change::Remove { path: gone }, put("d/x"), put("f")];
    let cache = &mut StatCache::default();
    assert!(handle.read(&RelativePath::new(b"d/x").unwrap(), 100).is_err());
    apply(&handle, &old, &changes, &mut store, stamp, cache).unwrap();
    assert_eq!(fs::read(outside.join("x")).unwrap(), b"theirs");
    for path in ["d/x", "f"] {
        assert_eq!(fs::read(root.join(path)).unwrap(), b"ours");
    }
    assert!(!fs::symlink_metadata(root.join("d")).unwrap().is_symlink());
}

#[test]
fn only_changed_content_gets_a_new_time() {
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().join("tree");
    fs::create_dir(&root).unwrap();
    let handle = RootDirectory::open(&root).unwrap();
    let mut store = BlobStore::open(&disk.path().join("store")).unwrap();
    let mut held = Directory::new();
    let mut cache = StatCache::default();
    let path = RelativePath::new(b"a").unwrap();
    let mut put = |content: &[u8], mode, stamp| {
        let digest = Digest::of(content);
        store.packs.put(digest, content, false).unwrap();
        let file = File { size: content.len() as u64, digest, mode: FileMode::of(mode) };
        let change = Change::Put { path: path.clone(), entry: Entry::File(file) };
        apply(&handle, &held, std::slice::from_ref(&change), &mut store, stamp, &mut cache)
            .unwrap();
        held.apply(&change).unwrap();
        modified(&handle.status(&path).unwrap())
    };
    let early = Moment::from_seconds(1000);
    assert_eq!(put(b"one", 0o600, early), early);
    assert_eq!(put(b"one", 0o755, early.plus_seconds(5)), early);
    // The agent's clock went back: the time still goes on.
    assert!(put(b"two", 0o755, Moment::from_seconds(10)) > early);
}

#[test]
fn a_tree_is_never_emptied() {
    let mut full = tree(&["w/Cargo.toml", "w/src/main.rs", "w/src/lib.rs"]);
    full.put(&path("w/link"), Node::Link(LinkTarget::new(b"src").unwrap())).unwrap();
    for emptied in [Directory::new(), tree(&["w/Cargo.toml", "w/Cargo.lock"])] {
        let error = check_not_emptied(&full, &emptied, &[]).unwrap_err();
        assert!(matches!(error, SyncError::WouldEmpty { files: 2 }), "{error:?}");
    }
    check_not_emptied(&full, &tree(&["w/src/lib.rs"]), &[]).unwrap();
    check_not_emptied(&Directory::new(), &Directory::new(), &[]).unwrap();
    check_not_emptied(&tree(&["w/Cargo.toml"]), &Directory::new(), &[]).unwrap();
    // What belongs to cargo is no source.
    let home = [path("home/registry")];
    let packages = tree(&["home/registry/cache/a.crate"]);
    assert!(check_not_emptied(&full, &packages, &home).is_err());
    check_not_emptied(&packages, &Directory::new(), &home).unwrap();
}

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

fn file(content: &[u8]) -> File {
    let (size, digest) = (content.len() as u64, Digest::of(content));
    File { size, digest, mode: FileMode::REGULAR }
}

fn put(name: &str, content: &[u8]) -> Change {
    Change::Put { path: path(name), entry: Entry::File(file(content)) }
}

fn remove(name: &str) -> Change {
    Change::Remove { path: path(name) }
}

/// A tree on disk, as it was after the last sync, and a store.
struct Disk {
    directory: tempfile::TempDir,
    handle: RootDirectory,
    old: Directory,
    store: BlobStore,
    cache: StatCache,
}

impl Disk {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("tree")).unwrap();
        let handle = RootDirectory::open(&directory.path().join("tree")).unwrap();
        let store = BlobStore::open(&directory.path().join("store")).unwrap();
        let (old, cache) = (Directory::new(), StatCache::default());
        let mut disk = Self { directory, handle, old, store, cache };
        for (name, content) in files {
            disk.keep(content);
            disk.apply(&[put(name, content)]).unwrap();
            disk.old.put(&path(name), Node::File(file(content))).unwrap();
        }
        disk
    }

    fn keep(&mut self, content: &[u8]) {
        self.store.packs.put(Digest::of(content), content, false).unwrap();
    }

    fn stage(&self, content: &[u8]) -> PathBuf {
        let staged = self.store.staged(&Digest::of(content));
        fs::write(&staged, content).unwrap();
        staged
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Applied, SyncError> {
        let stamp = Moment::from_seconds(1000);
        apply(&self.handle, &self.old, changes, &mut self.store, stamp, &mut self.cache)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join("tree").join(name)
    }

    fn assert_file(&self, name: &str, content: &[u8]) {
        assert!(fs::read(self.at(name)).unwrap() == content, "{name}");
        let cached = self.cache.get(name.as_bytes()).unwrap();
        let signature = Signature::of(&self.handle.status(&path(name)).unwrap());
        assert_eq!(*cached, Cached { signature, digest: Digest::of(content), settled: true });
    }
}

#[test]
fn what_was_applied_is_counted() {
    let mut disk = Disk::new(&[("gone", b"gone"), ("d/x", b"x"), ("d/e/y", b"y"), ("a", b"old")]);
    disk.keep(b"new");
    let link = Entry::Link(LinkTarget::new(b"a").unwrap());
    let changes = [
        remove("gone"),
        remove("d"),
        put("a", b"new"),
        Change::Put { path: path("link"), entry: link },
        Change::Put { path: path("empty"), entry: Entry::Directory },
    ];
    let applied = disk.apply(&changes).unwrap();
    let latest = modified(&disk.handle.status(&path("a")).unwrap());
    assert_eq!(applied, Applied { written: 3, removed: 2, latest: Some(latest) });
    disk.assert_file("a", b"new");
    assert_eq!(fs::read_link(disk.at("link")).unwrap(), PathBuf::from("a"));
    assert!(disk.at("empty").is_dir());
    assert!(!disk.at("gone").exists() && !disk.at("d").exists());
    assert!(disk.cache.get(b"gone").is_none() && disk.cache.get(b"d/e/y").is_none());
}

#[test]
fn files_of_runs_are_kept_in_directories_that_are_removed() {
    let mut disk = Disk::new(&[("d/x", b"x"), ("d/e/y", b"y"), ("f", b"f")]);
    fs::write(disk.at("d/e/run"), "run").unwrap();
    // A directory in the place of a file is a run's, too.
    fs::remove_file(disk.at("f")).unwrap();
    fs::create_dir(disk.at("f")).unwrap();
    disk.apply(&[remove("d"), remove("f")]).unwrap();
    assert_eq!(fs::read(disk.at("d/e/run")).unwrap(), b"run");
    assert!(!disk.at("d/x").exists() && !disk.at("d/e/y").exists());
    assert!(disk.at("f").is_dir());
}

#[test]
fn a_file_takes_the_place_of_a_directory_of_a_run() {
    let mut disk = Disk::new(&[]);
    fs::create_dir_all(disk.at("a/below")).unwrap();
    fs::write(disk.at("b"), "run").unwrap();
    for content in [b"a", b"b"] {
        disk.keep(content);
    }
    disk.apply(&[put("a", b"a"), put("b/c/b", b"b"), put("b/c/a", b"a")]).unwrap();
    disk.assert_file("a", b"a");
    disk.assert_file("b/c/b", b"b");
    disk.assert_file("b/c/a", b"a");
}

#[test]
fn a_change_of_the_mode_alone_needs_no_content() {
    let mut disk = Disk::new(&[("a", b"content")]);
    let executable = File { mode: FileMode::of(0o755), ..file(b"content") };
    let change = Change::Put { path: path("a"), entry: Entry::File(executable) };
    let mut empty = BlobStore::open(&disk.directory.path().join("empty")).unwrap();
    assert_eq!(missing_blobs(&disk.old, std::slice::from_ref(&change), &mut empty), []);
    disk.store = empty;
    let applied = disk.apply(&[change]).unwrap();
    assert_eq!(applied, Applied { written: 1, removed: 0, latest: None });
    assert_eq!(fs::metadata(disk.at("a")).unwrap().permissions().mode() & 0o777, 0o755);
    disk.assert_file("a", b"content");
}

#[test]
fn blobs_are_missing_unless_the_store_or_the_tree_has_them() {
    let mut disk = Disk::new(&[("moved", b"moved"), ("d", b"before")]);
    disk.store = BlobStore::open(&disk.directory.path().join("other")).unwrap();
    disk.keep(b"held");
    let staged = disk.stage(b"staged");
    let changes = [
        put("a", b"moved"),
        put("b", b"held"),
        put("c", b"staged"),
        put("d", b"absent"),
        put("moved", b"moved"),
        remove("e"),
    ];
    let missing = missing_blobs(&disk.old, &changes, &mut disk.store);
    assert_eq!(missing, [Digest::of(b"absent")]);
    fs::remove_file(staged).unwrap();
    assert_eq!(missing_blobs(&disk.old, &changes[..2], &mut disk.store), []);
}

#[test]
fn content_that_moves_in_the_tree_is_kept() {
    let mut disk = Disk::new(&[("a", b"moved"), ("b", b"changed")]);
    disk.store = BlobStore::open(&disk.directory.path().join("other")).unwrap();
    let changes = [remove("a"), put("c", b"moved")];
    keep_moved_blobs(&disk.handle, &disk.old, &changes, &mut disk.store).unwrap();
    disk.apply(&changes).unwrap();
    disk.assert_file("c", b"moved");
    // A run has changed the file since the last scan.
    fs::write(disk.at("b"), "run").unwrap();
    let changes = [put("d", b"changed")];
    let kept = keep_moved_blobs(&disk.handle, &disk.old, &changes, &mut disk.store);
    assert!(matches!(kept, Err(SyncError::Damaged(digest)) if digest == Digest::of(b"changed")));
}

#[test]
fn a_large_blob_is_moved_to_its_last_place_and_copied_to_the_others() {
    let largest_packed = vec![1; usize::try_from(PACKED_BYTES_MAX).unwrap()];
    let large = [&largest_packed[..], &[2]].concat();
    let mut disk = Disk::new(&[]);
    disk.keep(&largest_packed);
    let staged = disk.stage(&large);
    let places = ["a", "b", "c"];
    let mut changes: Vec<_> = places.iter().map(|name| put(name, &large)).collect();
    changes.push(put("packed", &largest_packed));
    disk.apply(&changes).unwrap();
    for name in places {
        disk.assert_file(name, &large);
    }
    disk.assert_file("packed", &largest_packed);
    assert!(!staged.exists());
}

#[test]
fn a_renamed_entry_replaces_what_is_at_its_new_path() {
    let mut disk = Disk::new(&[("a", b"a"), ("d/b", b"b")]);
    rename(&disk.handle, &path("a"), &path("d/b"), &mut disk.cache).unwrap();
    assert!(!disk.at("a").exists());
    assert_eq!(fs::read(disk.at("d/b")).unwrap(), b"a");
    assert!(disk.cache.get(b"a").is_none() && disk.cache.get(b"d/b").is_none());
    rename(&disk.handle, &path("d"), &path("new/e"), &mut disk.cache).unwrap();
    assert_eq!(fs::read(disk.at("new/e/b")).unwrap(), b"a");
    let error = rename(&disk.handle, &path("d"), &path("f"), &mut disk.cache).unwrap_err();
    assert!(matches!(error, SyncError::Write { path, .. } if path == disk.at("f")));
}

#[test]
fn a_file_that_cannot_be_removed_is_an_error() {
    // Nothing can be removed here, by no user.
    let mut disk = Disk::new(&[]);
    disk.handle = RootDirectory::open(Path::new("/proc/sys/kernel")).unwrap();
    disk.old = tree(&["ostype"]);
    let error = disk.apply(&[remove("ostype")]).unwrap_err();
    let file = Path::new("/proc/sys/kernel/ostype");
    assert!(matches!(error, SyncError::Write { path, .. } if path == file));
}
