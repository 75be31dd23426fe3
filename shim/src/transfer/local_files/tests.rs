use std::io::Write;

use super::*;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

fn files() -> (tempfile::TempDir, LocalFiles) {
    let disk = tempfile::tempdir().unwrap();
    let files = LocalFiles::new(RootDirectory::open(disk.path()).unwrap());
    (disk, files)
}

fn temporary(files: &LocalFiles, name: &str, content: &str) -> RelativePath {
    files
        .write_temporary(&path(name), FileMode::REGULAR, |file| {
            file.write_all(content.as_bytes()).unwrap();
            Ok(())
        })
        .unwrap()
}

fn replace(
    files: &LocalFiles,
    temporary: &RelativePath,
    at: &str,
    expected: Option<&Node>,
) -> Replaced {
    let version = files.entry(temporary).unwrap().unwrap();
    files.replace(temporary, &path(at), expected, &version).unwrap()
}

fn names(disk: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(disk.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_edit_after_the_decision_is_not_replaced() {
    let (disk, files) = files();
    let at = disk.path().join("a");
    std::fs::write(&at, "sent").unwrap();
    let expected = files.entry(&path("a")).unwrap();
    let first = temporary(&files, "a", "run");
    std::fs::write(&at, "edit").unwrap();
    assert_eq!(replace(&files, &first, "a", expected.as_ref()), Replaced::Edited);
    assert_eq!(std::fs::read_to_string(&at).unwrap(), "edit");
    std::fs::write(&at, "sent").unwrap();
    assert_eq!(replace(&files, &first, "a", expected.as_ref()), Replaced::Expected);
    assert_eq!(std::fs::read_to_string(&at).unwrap(), "run");
    assert_eq!(names(&disk), ["a"]);
}

#[test]
fn a_file_that_appeared_or_vanished_was_edited() {
    let (disk, files) = files();
    let appeared = temporary(&files, "a", "run");
    std::fs::write(disk.path().join("a"), "mine").unwrap();
    assert_eq!(replace(&files, &appeared, "a", None), Replaced::Edited);
    assert_eq!(std::fs::read_to_string(disk.path().join("a")).unwrap(), "mine");
    let expected = files.entry(&path("a")).unwrap();
    std::fs::remove_file(disk.path().join("a")).unwrap();
    assert_eq!(replace(&files, &appeared, "a", expected.as_ref()), Replaced::Edited);
    files.overwrite(&appeared, &path("a.from-burst")).unwrap();
    assert_eq!(names(&disk), ["a.from-burst"]);
}

#[test]
fn what_cannot_be_read_stays_where_it_is() {
    let (disk, files) = files();
    let at = disk.path().join("a");
    std::fs::write(&at, "sent").unwrap();
    let expected = files.entry(&path("a")).unwrap();
    let first = temporary(&files, "a", "run");
    std::fs::remove_file(&at).unwrap();
    let pipe = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &at, rustix::fs::FileType::Fifo, pipe, 0).unwrap();
    assert_eq!(replace(&files, &first, "a", expected.as_ref()), Replaced::Edited);
    assert_eq!(files.remove(&path("a"), &expected.unwrap()).unwrap(), Replaced::Edited);
    use std::os::unix::fs::FileTypeExt;
    assert!(std::fs::metadata(&at).unwrap().file_type().is_fifo());
    files.overwrite(&first, &path("a.from-burst")).unwrap();
    assert_eq!(names(&disk), ["a", "a.from-burst"]);
}

#[test]
fn only_the_expected_file_is_removed() {
    let (disk, files) = files();
    std::fs::write(disk.path().join("a"), "sent").unwrap();
    let expected = files.entry(&path("a")).unwrap().unwrap();
    std::fs::write(disk.path().join("a"), "edit").unwrap();
    assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Edited);
    assert_eq!(std::fs::read_to_string(disk.path().join("a")).unwrap(), "edit");
    std::fs::write(disk.path().join("a"), "sent").unwrap();
    assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Expected);
    assert_eq!(files.remove(&path("a"), &expected).unwrap(), Replaced::Expected);
    assert_eq!(names(&disk), [""; 0]);
}
