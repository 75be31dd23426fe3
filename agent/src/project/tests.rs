use burst_protocol::tree::{Entry, File, FileMode, Node};

use super::*;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

fn file(content: &str) -> File {
    let (size, digest) = (content.len() as u64, Digest::of(content.as_bytes()));
    File { size, digest, mode: FileMode::REGULAR }
}

/// The agent ends after a sync has begun and before it has renamed anything. The state after
/// the run before it was not saved: its session was still about to.
#[test]
fn a_run_keeps_its_version_if_the_next_sync_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let edited = directory.path().join("tree/a");
    std::fs::create_dir(directory.path().join("tree")).unwrap();
    std::fs::write(&edited, "1").unwrap();
    let mut project = Project::open(directory.path(), &path("w")).unwrap();
    project.begin_run().unwrap();
    std::fs::write(&edited, "run").unwrap();
    project.end_run().unwrap();
    let offer = [Change::Put { path: path("a"), entry: Entry::File(file("run")) }];
    assert_eq!(project.offer(), offer);
    let mut wanted = Directory::new();
    wanted.put(&path("a"), Node::File(file("edit"))).unwrap();
    let plan = project.agreement.reconcile(&Arc::new(wanted));
    project.begin_changing(&plan).unwrap();
    drop(project);
    let project = Project::open(directory.path(), &path("w")).unwrap();
    assert_eq!(project.offer(), offer);
}
