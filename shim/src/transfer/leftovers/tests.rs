use std::fs;

use burst_protocol::tree::Node;

use super::super::displacement::entry_of;
use super::super::temporary_name::temporary_name;
use super::*;

/// A process that does not exist: no id of Linux is so large.
const DEAD: u32 = 1 << 30;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

/// The names and contents of the files in a directory.
fn contents(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let content = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(content).collect()
}

fn files(contents: &[(&str, &str)]) -> BTreeMap<String, String> {
    contents.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// A command that was killed after it had recorded a move of `a`, in a workspace with these
/// files; the temporary one is named `left`. Returns the warnings of the next command.
fn after_kill(
    records: &Path,
    workspace: &Path,
    version: Option<&str>,
    there: &[(&str, &str)],
) -> Vec<String> {
    let temporary = path(&format!(".burst-{DEAD}-0.from-burst"));
    let local = LocalFiles::new(RootDirectory::open(workspace).unwrap());
    let node_of = |content: &str| -> Node {
        fs::write(workspace.join("a"), content).unwrap();
        let node = local.entry(&path("a")).unwrap().unwrap();
        fs::remove_file(workspace.join("a")).unwrap();
        node
    };
    let displacement = Displacement {
        temporary: temporary.clone(),
        path: path("a"),
        expected: entry_of(&node_of("sent")),
        version: version.map(|version| entry_of(&node_of(version))),
    };
    for (name, content) in there {
        let name =
            if *name == "left" { temporary.in_directory(workspace) } else { workspace.join(name) };
        fs::write(name, content).unwrap();
    }
    let directories = BTreeSet::from([workspace.to_owned()]);
    write_record(&records.join(format!("{WRITING}{DEAD}")), &directories).unwrap();
    let mut journal = Journal::own(records, DISPLACED);
    journal.add(&displacement).unwrap();
    fs::rename(journal.path(), records.join(format!("{DISPLACED}{DEAD}"))).unwrap();
    let notes = clear_leftovers(records, workspace).unwrap();
    let left: Vec<_> =
        fs::read_dir(records).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["leftovers.lock"]);
    notes
}

#[test]
fn an_edit_that_a_killed_command_displaced_is_given_back() {
    const EDITED: &str = "`a` was edited while a killed command replaced it: your edit is";
    let (back, beside) = (format!("{EDITED} back"), format!("{EDITED} in `a.from-burst`"));
    for (version, there, notes, expected) in [
        // Replaced, and not looked at.
        (Some("run"), vec![("a", "run"), ("left", "edit")], vec![&back], vec![("a", "edit")]),
        (Some("run"), vec![("a", "run"), ("left", "sent")], vec![], vec![("a", "run")]),
        // Not yet replaced, or put back.
        (Some("run"), vec![("a", "edit"), ("left", "run")], vec![], vec![("a", "edit")]),
        // Edited once more since.
        (
            Some("run"),
            vec![("a", "later"), ("left", "edit")],
            vec![&beside],
            vec![("a", "later"), ("a.from-burst", "edit")],
        ),
        (Some("run"), vec![("left", "edit")], vec![&back], vec![("a", "edit")]),
        // Removed, and not looked at.
        (None, vec![("left", "edit")], vec![&back], vec![("a", "edit")]),
        (None, vec![("left", "sent")], vec![], vec![]),
        (
            None,
            vec![("a", "later"), ("left", "edit")],
            vec![&beside],
            vec![("a", "later"), ("a.from-burst", "edit")],
        ),
    ] {
        let disk = tempfile::tempdir().unwrap();
        let (records, workspace) = (disk.path().join("records"), disk.path().join("work"));
        fs::create_dir(&records).unwrap();
        fs::create_dir(&workspace).unwrap();
        let found = after_kill(&records, &workspace, version, &there);
        assert_eq!(found.iter().collect::<Vec<_>>(), notes, "{there:?}");
        assert_eq!(contents(&workspace), files(&expected), "{there:?}");
    }
}

#[test]
fn what_cannot_be_judged_is_not_removed() {
    let disk = tempfile::tempdir().unwrap();
    let (records, workspace) = (disk.path().join("records"), disk.path().join("work"));
    fs::create_dir(&records).unwrap();
    fs::create_dir(&workspace).unwrap();
    let left = format!(".burst-{DEAD}-0.from-burst");
    fs::write(workspace.join(&left), "edit").unwrap();
    let directories = BTreeSet::from([workspace.clone()]);
    write_record(&records.join(format!("{WRITING}{DEAD}")), &directories).unwrap();
    // A journal that cannot be read.
    fs::create_dir(records.join(format!("{DISPLACED}{DEAD}"))).unwrap();
    assert_eq!(clear_leftovers(&records, &workspace).unwrap(), Vec::<String>::new());
    assert_eq!(contents(&workspace), files(&[(&left, "edit")]));
}

#[test]
fn only_files_of_dead_processes_are_removed() {
    let disk = tempfile::tempdir().unwrap();
    let (records, work) = (disk.path().join("records"), disk.path().join("work"));
    fs::create_dir(&records).unwrap();
    fs::create_dir(&work).unwrap();
    let dead = DEAD;
    // The process with the id 1 always lives.
    let names = [
        format!(".burst-{dead}-1.from-burst"),
        temporary_name(1),
        ".burst-1-1.from-burst".to_owned(),
        "a.from-burst".to_owned(),
        format!(".burst-{dead}-1"),
    ];
    for name in &names {
        fs::write(work.join(name), "").unwrap();
    }
    let directories = BTreeSet::from([work.clone()]);
    for process in [dead, 1] {
        write_record(&records.join(format!("{WRITING}{process}")), &directories).unwrap();
    }
    clear_leftovers(&records, &work).unwrap();
    let left = |name: &String| work.join(name).exists();
    assert_eq!(names.each_ref().map(left), [false, true, true, true, true]);
    // Those of this process are removed by its records.
    let own = Writing::begin(&records, [work.join("a")].into_iter()).unwrap();
    clear_leftovers(&records, &work).unwrap();
    assert_eq!(names.each_ref().map(left), [false, false, true, true, true]);
    own.finish();
    assert_eq!(fs::read_dir(&records).unwrap().count(), 2);
}
