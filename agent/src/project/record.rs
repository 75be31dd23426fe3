//! What the agent records of a project between its processes.
//!
//! | file | |
//! |---|---|
//! | `state` | the agreement, with the stat cache of the disk (a [record](burst_sync::stat_cache)) |
//! | `changing` | exists while a sync changes the tree: what it renames and changes (a record) |
//! | `changed` | `changing` under another name, once the sync is complete and until `state` is written |
//! | `unfinished` | exists while runs may write to the tree, and until `state` is written: the boot id of the machine (text) |
//!
//! **Crash rule.** [`restore`] decides by these files what an agent that was killed, or a
//! machine that went down, has left:
//!
//! - A sync that was interrupted leaves its paths in an unknown state. They are recorded as
//!   they are on disk, and the next sync brings them to the client's state.
//! - What differs otherwise was changed by runs, if `unfinished` names this boot: it is
//!   offered. Without that file something else has changed it, such as a program that cleans
//!   caches; with another boot it may be damaged: it is not offered, and restored where the
//!   client has it.

use std::collections::BTreeSet;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::tree::{Change, Directory, Entry, Node};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::stat_cache::{Cached, StatCache, read_record, write_record};
use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Declined, Displaced, Plan};
use crate::boot_id::{is_same_boot, this_boot};

/// The file `state`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProjectRecord {
    name: RelativePath,
    /// The files of the disk that the stat cache has.
    files: Vec<(RelativePath, Cached)>,
    /// The other files, the links and empty directories of the disk.
    others: Vec<(RelativePath, Entry)>,
    /// The changes that lead from the disk to the agreed state.
    to_agreed: Vec<Change>,
    declined: Declined,
    pub(super) history: History,
}

/// What has happened to a project, and is not seen on its disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct History {
    /// The number of the workspace that the tree is of, if it is known.
    pub(super) workspace: Option<u64>,
    /// The number of syncs that have changed the tree.
    pub(super) syncs: u64,
    pub(super) last_run_ended: Moment,
    /// Mount points inside the tree, which scans leave out.
    pub(super) mount_points: BTreeSet<RelativePath>,
}

impl ProjectRecord {
    /// The record of a project.
    pub(super) fn new(
        name: &RelativePath,
        history: &History,
        agreement: &Agreement,
        cache: &StatCache,
    ) -> Self {
        let mut files = Vec::with_capacity(cache.len());
        let mut others = Vec::new();
        agreement.disk().visit(&mut |path, node| match node {
            Node::File(file) => match cache.get(path.as_bytes()) {
                Some(cached) => files.push((path.clone(), *cached)),
                None => others.push((path.clone(), Entry::File(*file))),
            },
            Node::Link(target) => others.push((path.clone(), Entry::Link(target.clone()))),
            Node::Directory(directory) if directory.is_empty() => {
                others.push((path.clone(), Entry::Directory));
            }
            Node::Directory(_) => {}
        });
        Self {
            name: name.clone(),
            files,
            others,
            to_agreed: agreement.disk().changes_to(agreement.agreed()),
            declined: agreement.declined().clone(),
            history: history.clone(),
        }
    }

    /// Reads the record of a project; none if there is none, or one of another project.
    pub(super) fn read(directory: &Path, name: &RelativePath) -> Option<Self> {
        read_record::<Self>(&directory.join("state")).filter(|record| record.name == *name)
    }

    /// Writes the record.
    pub(super) fn write(&self, directory: &Path) -> Result<(), SyncError> {
        write_record(&directory.join("state"), self)
    }

    /// The stat cache of the disk.
    pub(super) fn cache(&self) -> StatCache {
        let mut cache = StatCache::default();
        for (path, cached) in &self.files {
            cache.insert(path.as_bytes(), *cached);
        }
        cache
    }

    /// The agreement as it was recorded.
    pub(super) fn agreement(&self) -> Agreement {
        let mut disk = Directory::new();
        let file = |cached: &Cached| Node::File(burst_sync::scan::file_of(cached));
        let files = self.files.iter().map(|(path, cached)| (path, file(cached)));
        let others = self.others.iter().map(|(path, entry)| (path, entry.clone().into_node()));
        for (path, node) in files.chain(others) {
            // The record is of a tree, so every entry fits.
            drop(disk.put(path, node));
        }
        let mut agreed = disk.clone();
        for change in &self.to_agreed {
            drop(agreed.apply(change));
        }
        Agreement::restored(agreed, disk, self.declined.clone())
    }
}

/// The files `changing` and `changed`: what a sync does to the tree.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SyncRecord {
    /// The number of this sync.
    number: u64,
    /// The versions of runs that are renamed, before anything changes.
    displaced: Vec<Displaced>,
    changes: Vec<Change>,
}

impl SyncRecord {
    /// The record of a sync.
    pub(super) fn new(number: u64, plan: &Plan) -> Self {
        Self { number, displaced: plan.displaced.clone(), changes: plan.changes.clone() }
    }
}

/// What an earlier process of the agent has left unfinished.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// The sync that was changing the tree.
    sync: Option<InterruptedSync>,
    /// Whether runs of this boot may have written to the tree.
    run: bool,
}

#[derive(Debug)]
enum InterruptedSync {
    /// Some of its changes are on disk.
    Begun(SyncRecord),
    /// All of its changes are on disk.
    Ended(SyncRecord),
    /// The record cannot be read.
    Unknown,
}

impl Unfinished {
    /// Reads the marks of a project.
    pub(super) fn read(directory: &Path) -> Self {
        let record = |name: &str, of: fn(SyncRecord) -> InterruptedSync| {
            let path = directory.join(name);
            path.exists().then(|| read_record(&path).map_or(InterruptedSync::Unknown, of))
        };
        let sync = record("changing", InterruptedSync::Begun)
            .or_else(|| record("changed", InterruptedSync::Ended));
        let marked = std::fs::read(directory.join("unfinished"));
        Self { sync, run: marked.is_ok_and(|marked| is_same_boot(&marked, &this_boot())) }
    }

    /// Whether the stat cache of the record can be used: no sync has changed files since.
    pub(super) const fn keeps_cache(&self) -> bool {
        self.sync.is_none()
    }
}

/// Whether runs have left results in a project, as far as its records tell, that the client
/// has neither adopted nor declined: the records name some, or runs may have written since.
pub(super) fn may_have_results(directory: &Path, name: &RelativePath) -> bool {
    Unfinished::read(directory).run
        || ProjectRecord::read(directory, name)
            .is_some_and(|record| !record.agreement().offer().is_empty())
}

/// The agreement of a project that is opened, from the one that was recorded after so many
/// `syncs`, and what is on `disk`.
pub(super) fn restore(
    recorded: Option<Agreement>,
    syncs: u64,
    unfinished: Unfinished,
    disk: Directory,
) -> Agreement {
    let Some(mut agreement) = recorded else { return Agreement::of(disk) };
    match unfinished.sync {
        Some(InterruptedSync::Unknown) => return Agreement::of(disk),
        Some(InterruptedSync::Begun(sync)) if sync.number > syncs => {
            agreement.sync_stopped(&sync.changes, &sync.displaced, &disk);
        }
        Some(InterruptedSync::Ended(sync)) if sync.number > syncs => {
            agreement.sync_ended(&sync.changes, &sync.displaced, &disk);
        }
        _ => {}
    }
    if unfinished.run {
        agreement.disk_is(disk);
    } else {
        agreement.disk_became(disk);
    }
    agreement
}

#[cfg(test)]
mod tests {
    use burst_protocol::Digest;
    use burst_protocol::tree::{FileMode, LinkTarget};
    use burst_sync::stat_cache::Signature;

    use super::*;

    const SYNCS: u64 = 3;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    fn file(content: &str) -> burst_protocol::tree::File {
        let (size, digest) = (content.len() as u64, Digest::of(content.as_bytes()));
        burst_protocol::tree::File { size, digest, mode: FileMode::REGULAR }
    }

    fn tree(files: &[(&str, &str)]) -> Directory {
        let mut tree = Directory::new();
        for (name, content) in files {
            tree.put(&path(name), Node::File(file(content))).unwrap();
        }
        tree
    }

    fn put(name: &str, content: &str) -> Change {
        Change::Put { path: path(name), entry: Entry::File(file(content)) }
    }

    /// Restores an agreement on `a`, which a sync of this number changes to `edit`, while the
    /// disk has it so and `b` besides.
    fn restored(sync: Option<InterruptedSync>, run: bool) -> Agreement {
        let recorded = Agreement::of(tree(&[("a", "1")]));
        let disk = tree(&[("a", "edit"), ("b", "new")]);
        restore(Some(recorded), SYNCS, Unfinished { sync, run }, disk)
    }

    fn sync(number: u64) -> SyncRecord {
        SyncRecord { number, displaced: Vec::new(), changes: vec![put("a", "edit")] }
    }

    #[test]
    fn what_runs_of_this_boot_have_changed_is_offered_and_nothing_else() {
        let by_run = restored(None, true);
        assert_eq!(by_run.offer(), [put("a", "edit"), put("b", "new")]);
        let by_others = restored(None, false);
        assert_eq!(by_others.offer(), []);
        for agreement in [by_run, by_others] {
            assert_eq!(**agreement.agreed(), tree(&[("a", "1")]));
            assert_eq!(**agreement.disk(), tree(&[("a", "edit"), ("b", "new")]));
        }
    }

    #[test]
    fn the_paths_of_a_sync_that_the_record_does_not_have_are_agreed() {
        for interrupted in [InterruptedSync::Begun, InterruptedSync::Ended] {
            let agreement = restored(Some(interrupted(sync(SYNCS + 1))), true);
            assert_eq!(agreement.offer(), [put("b", "new")]);
            // The record was written after this sync.
            let agreement = restored(Some(interrupted(sync(SYNCS))), true);
            assert_eq!(agreement.offer(), [put("a", "edit"), put("b", "new")]);
        }
    }

    #[test]
    fn a_sync_that_stopped_is_agreed_as_far_as_it_came_and_one_that_ended_as_a_whole() {
        for (interrupted, agreed) in [
            (InterruptedSync::Begun(sync(SYNCS + 1)), "1"),
            (InterruptedSync::Ended(sync(SYNCS + 1)), "edit"),
        ] {
            let (disk, recorded) = (tree(&[("a", "1")]), Agreement::of(tree(&[("a", "1")])));
            let unfinished = Unfinished { sync: Some(interrupted), run: true };
            let agreement = restore(Some(recorded), SYNCS, unfinished, disk);
            assert_eq!(**agreement.agreed(), tree(&[("a", agreed)]));
        }
    }

    #[test]
    fn without_a_readable_record_the_disk_is_agreed() {
        let disk = tree(&[("a", "edit"), ("b", "new")]);
        let unknown = restored(Some(InterruptedSync::Unknown), true);
        assert_eq!(**unknown.agreed(), disk);
        let unfinished = Unfinished { sync: None, run: true };
        assert_eq!(**restore(None, SYNCS, unfinished, disk.clone()).agreed(), disk);
    }

    #[test]
    fn the_marks_of_a_project_say_what_is_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        let marks = || Unfinished::read(directory.path());
        let mark = |name: &str, content: &[u8]| {
            std::fs::write(directory.path().join(name), content).unwrap();
        };
        assert!(marks().sync.is_none() && marks().keeps_cache() && !marks().run);
        mark("unfinished", b"another boot");
        assert!(!marks().run);
        mark("unfinished", &this_boot());
        assert!(marks().run && marks().keeps_cache());
        write_record(&directory.path().join("changed"), &sync(1)).unwrap();
        assert!(matches!(marks().sync, Some(InterruptedSync::Ended(SyncRecord { number: 1, .. }))));
        write_record(&directory.path().join("changing"), &sync(2)).unwrap();
        assert!(matches!(marks().sync, Some(InterruptedSync::Begun(SyncRecord { number: 2, .. }))));
        assert!(!marks().keeps_cache());
        mark("changing", b"damaged");
        assert!(matches!(marks().sync, Some(InterruptedSync::Unknown)));
    }

    #[test]
    fn a_record_gives_the_agreement_and_the_cache_back() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cached"), "cached").unwrap();
        let status = rustix::fs::stat(directory.path().join("cached")).unwrap();
        let digest = Digest::of(b"cached");
        let cached = Cached { signature: Signature::of(&status), digest, settled: true };
        let mut cache = StatCache::default();
        cache.insert(b"d/cached", cached);
        let mut disk = tree(&[("d/other", "other")]);
        let nodes = [
            ("d/cached", Node::File(burst_sync::scan::file_of(&cached))),
            ("link", Node::Link(LinkTarget::new(b"d").unwrap())),
            ("empty", Node::Directory(Directory::new())),
        ];
        for (name, node) in nodes {
            disk.put(&path(name), node).unwrap();
        }
        let mut agreement = Agreement::of(tree(&[("d/other", "1"), ("gone", "1")]));
        agreement.disk_is(disk.clone());
        agreement.decline(&[put("d/other", "other")]);
        let (name, other) = (path("home/app"), path("home/other"));
        let history = History { syncs: SYNCS, ..History::default() };
        let record = ProjectRecord::new(&name, &history, &agreement, &cache);
        record.write(directory.path()).unwrap();
        assert!(ProjectRecord::read(directory.path(), &other).is_none());
        let record = ProjectRecord::read(directory.path(), &name).unwrap();
        assert_eq!(record.history.syncs, SYNCS);
        assert_eq!((record.cache().len(), record.cache().get(b"d/cached")), (1, Some(&cached)));
        let read = record.agreement();
        assert_eq!(**read.agreed(), tree(&[("d/other", "1"), ("gone", "1")]));
        assert_eq!(**read.disk(), disk);
        assert_eq!(read.declined(), agreement.declined());
        assert_eq!(read.offer(), agreement.offer());
    }
}
