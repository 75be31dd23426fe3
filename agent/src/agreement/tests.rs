//! Tests of the agreement: chosen cases, and random histories of two ends.

use burst_protocol::RelativePath;
use burst_protocol::tree::{File, FileMode, LinkTarget, Node};
use burst_sync::ignore_rules::CONFLICT_SUFFIX;
use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

fn file(content: &str) -> Node {
    let digest = Digest::of(content.as_bytes());
    Node::File(File { size: content.len() as u64, digest, mode: FileMode::REGULAR })
}

fn tree(files: &[(&str, &str)]) -> Directory {
    let mut tree = Directory::new();
    for (name, content) in files {
        tree.put(&path(name), file(content)).unwrap();
    }
    tree
}

fn with_disk(agreed: &[(&str, &str)], disk: &[(&str, &str)]) -> Agreement {
    let mut agreement = Agreement::of(tree(agreed));
    agreement.disk_is(tree(disk));
    agreement
}

fn sync(agreement: &mut Agreement, wanted: &[(&str, &str)]) -> Vec<Displaced> {
    let wanted = Arc::new(tree(wanted));
    let plan = agreement.reconcile(&wanted);
    let mut check = plan.renamed.clone();
    for change in &plan.changes {
        check.apply(change).unwrap();
    }
    assert_eq!(check, plan.after);
    let displaced = plan.displaced.clone();
    agreement.synced(wanted, plan);
    displaced
}

/// The client was killed before it could say what it has taken, and a run has undone it since.
#[test]
fn a_version_that_a_killed_client_has_taken_is_agreed_although_it_is_gone() {
    let mut agreement = with_disk(&[("made", "zero")], &[("made", "one")]);
    let offered = agreement.offer();
    agreement.note_unanswered(&offered);
    agreement.disk_is(tree(&[("made", "zero")]));
    assert_eq!(agreement.offer(), []);
    agreement.adopt_taken(&offered);
    sync(&mut agreement, &[("made", "one")]);
    assert_eq!(agreement.offer().len(), 1);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("made", "zero")]));
    // A record of long ago changes nothing.
    agreement.adopt(&agreement.offer());
    agreement.adopt_taken(&offered);
    assert_eq!(agreement.root(), tree(&[("made", "zero")]).digest());
}

/// What the client has declined goes when the client's own file is gone. What a run makes anew
/// there, even if it is the same, is a result.
#[test]
fn declined_versions_of_free_paths_are_removed_once() {
    let (log, made) = (("log", "run"), ("dir/made", "run"));
    let mut agreement = with_disk(&[("src", "a")], &[log, made, ("new", "run"), ("src", "a")]);
    let offer = agreement.offer();
    agreement.decline(offer.iter().filter(|change| *change.path() != path("new")));
    agreement.disk_is(tree(&[log, made, ("dir/other", "run"), ("new", "run"), ("src", "a")]));
    let freed = ["log", "dir/made", "new", "none"].map(path);
    assert!(agreement.has_declined(&freed) && !agreement.has_declined(&freed[2..]));
    agreement.free(&freed);
    assert!(!agreement.has_declined(&freed));
    sync(&mut agreement, &[("src", "a")]);
    let left = [("dir/other", "run"), ("new", "run"), ("src", "a")];
    assert_eq!(*agreement.disk().as_ref(), tree(&left));
    // The client has not heard that it is known, and says it again.
    let anew = [("dir/other", "run"), log, ("new", "run"), ("src", "a")];
    agreement.disk_is(tree(&anew));
    agreement.free(&freed);
    sync(&mut agreement, &[("src", "a")]);
    assert_eq!(*agreement.disk().as_ref(), tree(&anew));
    assert_eq!(agreement.offer().len(), 3);
}

#[test]
fn a_change_is_offered_until_it_is_adopted_or_declined() {
    let mut agreement = with_disk(&[("lock", "1"), ("src", "a")], &[("lock", "2"), ("src", "a")]);
    let offer = agreement.offer();
    assert_eq!(offer.len(), 1);
    // The client was killed, and comes again with the tree that it had.
    assert_eq!(sync(&mut agreement, &[("lock", "1"), ("src", "b")]), []);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("lock", "2"), ("src", "b")]));
    assert_eq!(agreement.offer(), offer);
    agreement.adopt(&offer);
    assert_eq!(agreement.offer(), []);
    assert_eq!(agreement.root(), tree(&[("lock", "2"), ("src", "b")]).digest());
}

#[test]
fn a_client_that_took_a_file_without_saying_so_is_understood() {
    let mut agreement = with_disk(&[("lock", "1")], &[("lock", "2"), ("new", "n")]);
    assert_eq!(sync(&mut agreement, &[("lock", "2"), ("new", "n")]), []);
    assert_eq!(agreement.offer(), []);
}

#[test]
fn a_declined_version_is_restored_where_the_client_has_the_path() {
    let mut agreement = with_disk(&[("a", "1")], &[("a", "2"), ("log", "l")]);
    let offer = agreement.offer();
    agreement.decline(&offer);
    assert_eq!(agreement.offer(), []);
    assert_eq!(sync(&mut agreement, &[("a", "1")]), []);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("a", "1"), ("log", "l")]));
    assert_eq!(agreement.offer(), []);
    // A later run changes the declined file again.
    agreement.disk_is(tree(&[("a", "1"), ("log", "m")]));
    assert_eq!(agreement.offer().len(), 1);
}

#[test]
fn a_declined_removal_is_undone() {
    let mut agreement = with_disk(&[("d/x", "1"), ("d/y", "2"), ("z", "3")], &[("z", "3")]);
    let offer = agreement.offer();
    assert_eq!(offer, [Change::Remove { path: path("d") }]);
    agreement.decline(&offer);
    sync(&mut agreement, &[("d/x", "1"), ("d/y", "2"), ("z", "3")]);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("d/x", "1"), ("d/y", "2"), ("z", "3")]));
}

#[test]
fn an_edit_of_both_ends_keeps_both_versions() {
    let mut agreement = with_disk(&[("a", "1")], &[("a", "run")]);
    let displaced = sync(&mut agreement, &[("a", "edit")]);
    let beside = path("a.from-burst");
    assert_eq!(displaced, [Displaced { path: path("a"), beside: beside.clone() }]);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("a", "edit"), ("a.from-burst", "run")]));
    let offer = agreement.offer();
    assert_eq!(offer.iter().map(Change::path).collect::<Vec<_>>(), [&beside]);
    agreement.adopt(&offer);
    // The client never sends files of this name: the agent's copy goes.
    sync(&mut agreement, &[("a", "edit")]);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("a", "edit")]));
}

#[test]
fn a_second_version_of_a_run_does_not_replace_the_first() {
    let both = [("a", "2nd run"), ("a.from-burst", "1st run"), ("d.from-burst", "1st run")];
    let mut agreement =
        with_disk(&[("a", "1"), ("d/x", "1")], &[&both[..], &[("d/x", "run")]].concat());
    sync(&mut agreement, &[("a", "edit"), ("d", "file")]);
    let expected = tree(&[
        ("a", "edit"),
        ("a.from-burst", "1st run"),
        ("a.1.from-burst", "2nd run"),
        ("d", "file"),
        ("d.from-burst", "1st run"),
        ("d.1.from-burst/x", "run"),
    ]);
    assert_eq!(*agreement.disk().as_ref(), expected);
}

#[test]
fn what_a_run_made_gives_way_to_a_file_of_the_client() {
    let mut agreement = with_disk(&[("z", "3")], &[("z", "3"), ("d/x", "run")]);
    let displaced = sync(&mut agreement, &[("z", "3"), ("d", "file")]);
    assert_eq!(displaced.len(), 1);
    let expected = tree(&[("z", "3"), ("d", "file"), ("d.from-burst/x", "run")]);
    assert_eq!(*agreement.disk().as_ref(), expected);
    let mut agreement = with_disk(&[("z", "3")], &[("z", "3"), ("d", "run")]);
    sync(&mut agreement, &[("z", "3"), ("d/x", "file")]);
    let expected = tree(&[("z", "3"), ("d/x", "file"), ("d.from-burst", "run")]);
    assert_eq!(*agreement.disk().as_ref(), expected);
}

#[test]
fn what_both_ends_made_of_a_path_stays() {
    let mut agreement = with_disk(&[("d", "file"), ("e/x", "1")], &[("d/x", "run"), ("e", "run")]);
    assert_eq!(sync(&mut agreement, &[("d/x", "run"), ("e", "run")]), []);
    assert_eq!(agreement.offer(), []);
}

#[test]
fn a_change_of_kind_that_the_client_took_half_is_offered_again() {
    let run = [("d/x", "run"), ("e", "run"), ("z", "1")];
    let mut agreement = with_disk(&[("d", "file"), ("e/x", "1"), ("z", "1")], &run);
    assert_eq!(sync(&mut agreement, &[("z", "1")]), []);
    assert_eq!(*agreement.disk().as_ref(), tree(&run));
    assert_eq!(agreement.offer().len(), 2);
}

/// An agent that dies before it has renamed the run's version, after that, and after it has
/// written the client's: the run's version is kept each time.
#[test]
fn a_sync_that_stops_anywhere_keeps_the_runs_version() {
    let wanted = Arc::new(tree(&[("a", "edit"), ("b", "new")]));
    let recorded = with_disk(&[("a", "1"), ("b", "1")], &[("a", "run"), ("b", "1")]);
    let plan = recorded.reconcile(&wanted);
    let moments = [
        ("a", tree(&[("a", "run"), ("b", "1")])),
        ("a.from-burst", tree(&[("a.from-burst", "run"), ("b", "1")])),
        ("a.from-burst", tree(&[("a.from-burst", "run"), ("a", "edit"), ("b", "1")])),
        ("a.from-burst", plan.after.clone()),
    ];
    for (offered, disk) in moments {
        let mut agreement = recorded.clone();
        agreement.sync_stopped(&plan.changes, &plan.displaced, &disk);
        // Nothing else has changed the disk since.
        agreement.disk_became(disk.clone());
        assert_eq!(
            agreement.offer().iter().map(Change::path).collect::<Vec<_>>(),
            [&path(offered)]
        );
        sync(&mut agreement, &[("a", "edit"), ("b", "new")]);
        let expected = tree(&[("a", "edit"), ("a.from-burst", "run"), ("b", "new")]);
        assert_eq!(**agreement.disk(), expected, "{disk:?}");
        let offer = agreement.offer();
        let paths: Vec<_> = offer.iter().map(Change::path).collect();
        assert_eq!(paths, [&path("a.from-burst")], "{disk:?}");
    }
}

#[test]
fn a_cleaned_cache_is_restored_and_never_offered() {
    let mut agreement = Agreement::of(tree(&[("a", "1"), ("b", "2")]));
    agreement.disk_became(tree(&[("b", "2")]));
    assert_eq!(**agreement.disk(), tree(&[("b", "2")]));
    assert_eq!(agreement.offer(), []);
    sync(&mut agreement, &[("a", "1"), ("b", "2")]);
    assert_eq!(*agreement.disk().as_ref(), tree(&[("a", "1"), ("b", "2")]));
}

#[test]
fn changes_that_were_taken_before_are_not_offered_unless_the_disk_has_lost_them() {
    let run = [("a", "2"), ("new", "n")];
    let mut agreement = with_disk(&[("a", "1"), ("gone", "1")], &run);
    let offer = agreement.offer();
    let paths: Vec<_> = offer.iter().map(Change::path).collect();
    assert_eq!(paths, [&path("gone"), &path("a"), &path("new")]);
    let mut later = agreement.clone();
    agreement.adopt_taken(&offer);
    assert_eq!(**agreement.agreed(), tree(&run));
    assert_eq!(agreement.offer(), []);
    // Other runs have changed each of the paths again.
    later.disk_is(tree(&[("a", "3"), ("gone", "2")]));
    later.adopt_taken(&offer);
    assert_eq!(**later.agreed(), tree(&[("a", "1"), ("gone", "1")]));
}

#[test]
fn what_runs_did_to_an_earlier_workspace_is_not_offered() {
    let mut agreement = with_disk(&[("a", "1")], &[("a", "run"), ("b", "run")]);
    agreement.forget_runs();
    assert_eq!(agreement.offer(), []);
    assert_eq!(**agreement.agreed(), tree(&[("a", "run"), ("b", "run")]));
}

#[test]
fn a_declined_version_is_offered_once_another_was_in_its_place() {
    let mut agreement = with_disk(&[("a", "1")], &[("a", "2")]);
    let offer = agreement.offer();
    agreement.decline(&offer);
    agreement.disk_is(tree(&[("a", "3")]));
    agreement.disk_is(tree(&[("a", "2")]));
    assert_eq!(agreement.offer(), offer);
}

#[test]
fn a_declined_version_gives_way_to_an_edit_and_is_not_kept_beside_it() {
    let mut agreement = with_disk(&[("a", "1")], &[("a", "run"), ("new", "run")]);
    let offer = agreement.offer();
    agreement.decline(&offer);
    let edit = [("a", "edit"), ("new", "edit")];
    assert_eq!(sync(&mut agreement, &edit), []);
    assert_eq!(**agreement.disk(), tree(&edit));
}

#[test]
fn a_restored_agreement_still_declines() {
    let mut declining = with_disk(&[("a", "1")], &[("a", "2"), ("b", "2")]);
    let offer = declining.offer();
    declining.decline(&offer[..1]);
    let (agreed, disk) = (tree(&[("a", "1")]), tree(&[("a", "2"), ("b", "2")]));
    let restored = Agreement::restored(agreed, disk, declining.declined().clone());
    assert_eq!(restored.offer(), offer[1..]);
}

/// A sync that was complete, and a run that has begun before the agent died.
#[test]
fn a_sync_that_ended_is_agreed_and_the_run_after_it_is_offered() {
    let mut agreement = with_disk(&[("a", "1"), ("b", "1")], &[("a", "run"), ("b", "1")]);
    let wanted = [("a", "edit"), ("b", "new")];
    let plan = agreement.reconcile(&Arc::new(tree(&wanted)));
    let disk = tree(&[("a", "edit"), ("a.from-burst", "run"), ("b", "later")]);
    agreement.sync_ended(&plan.changes, &plan.displaced, &disk);
    agreement.disk_is(disk.clone());
    assert_eq!(**agreement.agreed(), tree(&wanted));
    assert_eq!(**agreement.disk(), disk);
    let offer = agreement.offer();
    let paths: Vec<_> = offer.iter().map(Change::path).collect();
    assert_eq!(paths, [&path("a.from-burst"), &path("b")]);
}

/// As long as one version waits to be renamed, no change has begun: what differs otherwise
/// was made by runs.
#[test]
fn a_sync_that_stops_between_its_renames_has_changed_nothing_else() {
    let (agreed, run) = ([("a", "1"), ("b", "1"), ("c", "1")], [("a", "run"), ("b", "run")]);
    let mut agreement = with_disk(&agreed, &[&run[..], &[("c", "1")]].concat());
    let plan = agreement.reconcile(&Arc::new(tree(&[("a", "edit"), ("b", "edit"), ("c", "new")])));
    assert_eq!(plan.displaced.len(), 2);
    // The last version of `c` is not recorded yet.
    let disk = tree(&[("a.from-burst", "run"), ("b", "run"), ("c", "later")]);
    agreement.sync_stopped(&plan.changes, &plan.displaced, &disk);
    agreement.disk_is(disk);
    assert_eq!(**agreement.agreed(), tree(&agreed));
}

fn arbitrary_tree() -> impl Strategy<Value = Directory> {
    let step = ("[ab](/[ab]){0,2}", 0..5u8);
    proptest::collection::vec(step, 0..8).prop_map(|steps| {
        let mut tree = Directory::new();
        for (name, kind) in steps {
            let node = match kind {
                0 => Node::Link(LinkTarget::new(b"a").unwrap()),
                kind => file(&kind.to_string()),
            };
            // A step that does not fit is skipped.
            drop(tree.put(&path(&name), node));
        }
        tree
    })
}

/// The files and links of a tree.
fn leaves(tree: &Directory) -> Vec<(RelativePath, Node)> {
    let mut leaves = Vec::new();
    tree.visit(&mut |path, node| {
        if !matches!(node, Node::Directory(_)) {
            leaves.push((path.clone(), node.clone()));
        }
    });
    leaves
}

proptest! {
    #[test]
    fn a_sync_takes_the_edits_and_loses_no_result(
        agreed in arbitrary_tree(),
        disk in arbitrary_tree(),
        wanted in arbitrary_tree(),
    ) {
        let agreement = Agreement::restored(agreed.clone(), disk.clone(), Declined::default());
        let plan = agreement.reconcile(&Arc::new(wanted.clone()));
        let mut check = plan.renamed.clone();
        for change in &plan.changes {
            prop_assert!(check.apply(change).is_ok());
        }
        prop_assert_eq!(check.digest(), plan.after.digest());
        for (path, node) in leaves(&wanted) {
            if agreed.get(&path) != Some(&node) {
                prop_assert_eq!(plan.after.get(&path), Some(&node), "an edit: {:?}", path);
            }
        }
        let after = leaves(&plan.after);
        for (path, node) in leaves(&disk) {
            if agreed.get(&path) != Some(&node) {
                let is_kept = after.iter().any(|(other, kept)| {
                    let bytes = String::from_utf8_lossy(other.as_bytes()).replace(CONFLICT_SUFFIX, "");
                    *kept == node && bytes.as_bytes() == path.as_bytes()
                });
                prop_assert!(is_kept, "a result: {:?}", path);
            }
        }
    }

    #[test]
    fn a_client_that_adopts_everything_holds_what_the_disk_holds(
        agreed in arbitrary_tree(),
        disk in arbitrary_tree(),
    ) {
        let mut agreement = Agreement::restored(agreed, disk.clone(), Declined::default());
        let offer = agreement.offer();
        agreement.adopt(&offer);
        prop_assert_eq!(agreement.root(), disk.digest());
        prop_assert!(agreement.offer().is_empty());
    }

    #[test]
    fn a_client_that_declines_everything_keeps_what_it_has(
        agreed in arbitrary_tree(),
        disk in arbitrary_tree(),
    ) {
        let mut agreement = Agreement::restored(agreed.clone(), disk, Declined::default());
        let offer = agreement.offer();
        agreement.decline(&offer);
        prop_assert!(agreement.offer().is_empty());
        let wanted = Arc::new(agreed.clone());
        let plan = agreement.reconcile(&wanted);
        for (path, node) in leaves(&agreed) {
            prop_assert_eq!(plan.after.get(&path), Some(&node), "{:?}", path);
        }
        agreement.synced(wanted, plan);
        prop_assert!(agreement.offer().is_empty(), "{:?}", agreement.offer());
    }
}
