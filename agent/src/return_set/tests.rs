use burst_protocol::tree::{File, FileMode};

use super::*;

const MIB: u64 = 1 << 20;

fn put(name: &str, size: u64) -> Change {
    let digest = Digest::of(name.as_bytes());
    let file = File { size, digest, mode: FileMode::REGULAR };
    Change::Put { path: path(name), entry: Entry::File(file) }
}

fn path(name: &str) -> RelativePath {
    RelativePath::new(name.as_bytes()).unwrap()
}

#[test]
fn files_that_are_too_large_or_too_many_are_withheld() {
    let removed = Change::Remove { path: path("removed") };
    let (largest, too_large) = (put("largest", 64 * MIB), put("too-large", 64 * MIB + 1));
    let (fits, one_more) = (put("fits", 64 * MIB), put("one-more", 1));
    let mut return_set = ReturnSet::default();
    let changes =
        [&largest, &too_large, &fits, &fits, &fits, &one_more, &removed].map(Change::clone);
    return_set.add_changes(changes.to_vec());
    let returned = [&largest, &fits, &fits, &fits, &removed].map(Change::clone);
    assert_eq!(return_set.changes, returned);
    assert_eq!(return_set.withheld, [too_large.clone(), one_more]);
    // The other fits into the return set of a later run.
    assert_eq!(return_set.too_large().collect::<Vec<_>>(), [&too_large]);
}

#[test]
fn changes_are_selected_by_their_indices() {
    let changes = vec![put("a", 1), put("b", 1), put("c", 1)];
    let return_set = ReturnSet { changes, ..ReturnSet::default() };
    let selected = BTreeSet::from([0, 2, 3, u32::MAX]);
    let selected: Vec<_> = return_set.select(&selected).collect();
    assert_eq!(selected, [&put("a", 1), &put("c", 1)]);
}

#[test]
fn whatever_takes_the_place_of_an_offered_file_replaces_it() {
    let disk = tempfile::tempdir().unwrap();
    let root = RootDirectory::open(disk.path()).unwrap();
    let at = |name: &str| disk.path().join(name);
    std::fs::write(at("file"), "12345").unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    for name in ["gone", "gone/file", "file/below", "directory", "link", "link/below", "socket"] {
        let error = root.open_file(&path(name)).unwrap_err();
        assert!(is_replaced(&error), "{name}: {error}");
    }
    assert!(is_replaced(&root.read(&path("file"), 4).unwrap_err()));
    assert!(!is_replaced(&io::ErrorKind::PermissionDenied.into()));
    assert!(!is_replaced(&Errno::IO.into()));
}
