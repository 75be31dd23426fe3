//! The whole target directory: the list of what the agent has, and what is here of it.
//!
//! The list that was brought last is remembered, so that only the difference travels. Every file
//! of the list is looked at here each time: a plain cargo may have changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::{TargetFile, TargetListed, Timestamp};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::stat_cache::{read_record, write_record};
use serde::{Deserialize, Serialize};

use super::file_times::{LocalTimes, RunTimes};
use crate::background::lock;

/// The record of the list that was brought last.
const HELD: &str = "target";

/// The record of the runs.
const RUNS: &str = "run-times";

/// What the agent has told of a whole target directory.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// Files that are new or different.
    pub(crate) changed: Vec<TargetFile>,
    /// Files that are gone.
    pub(crate) gone: Vec<RelativePath>,
    /// What completes the list; none if no whole directory was requested.
    pub(crate) listed: Option<TargetListed>,
}

/// The list that was brought last, with the times that the files got here.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Held {
    /// The path of the target directory.
    target: Vec<u8>,
    files: Vec<TargetFile>,
    times: Vec<(Timestamp, Moment)>,
}

/// What is to be here.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// All files, and their times here.
    pub(crate) files: Vec<(TargetFile, Moment)>,
    /// Files that were brought before and are gone.
    pub(crate) gone: Vec<TargetFile>,
    held: Held,
    records: PathBuf,
}

/// The digest of the list that was brought last for this target directory, if there is one.
pub(crate) fn held_digest(records: &Path, target: &Path) -> Option<Digest> {
    let held = read(records, target);
    (!held.files.is_empty()).then(|| TargetFile::digest_of(&held.files).ok()).flatten()
}

/// Remembers when a run has begun. Runs of other commands may end at the same time: `now` is
/// called for one after the other.
pub(crate) fn note_run(
    records: &Path,
    began: Timestamp,
    scanned: Moment,
    now: impl FnOnce() -> Moment,
) -> Result<(), SyncError> {
    let path = records.join(RUNS);
    let lock = path.with_extension("lock");
    let _lock =
        lock::take(&lock).map_err(|error| SyncError::store(&lock, io::Error::other(error)))?;
    let mut runs: RunTimes = read_record(&path).unwrap_or_default();
    runs.add(began, scanned, now());
    write_record(&path, &runs)
}

impl Wanted {
    /// What is to be here once the offer is taken. Fails if it is not a list that the agent can
    /// have.
    pub(crate) fn new(
        offered: &Offered,
        listed: &TargetListed,
        records: &Path,
        target: &Path,
    ) -> Result<Self, SyncError> {
        let before = read(records, target);
        let mut files: BTreeMap<&RelativePath, &TargetFile> = BTreeMap::new();
        if let Some(base) = listed.base {
            if TargetFile::digest_of(&before.files)? != base {
                return Err(SyncError::violation("a list that differs from an unknown one"));
            }
            files.extend(before.files.iter().map(|file| (&file.path, file)));
        }
        for path in &offered.gone {
            files.remove(path);
        }
        files.extend(offered.changed.iter().map(|file| (&file.path, file)));
        let gone = before.files.iter().filter(|file| !files.contains_key(&file.path));
        let gone = gone.cloned().collect();
        let files: Vec<TargetFile> = files.into_values().cloned().collect();
        if TargetFile::digest_of(&files)? != listed.list {
            return Err(SyncError::violation("a list of files that is not the announced one"));
        }
        let runs: RunTimes = read_record(&records.join(RUNS)).unwrap_or_default();
        let times: BTreeSet<Timestamp> = files.iter().map(|file| file.modified).collect();
        let times = runs.local(&times, &before.times.into_iter().collect());
        let timed = |file: &TargetFile| {
            let time = times.get(&file.modified).copied().unwrap_or_default();
            (file.clone(), time)
        };
        let timed = files.iter().map(timed).collect();
        let held = held(target, files, &times);
        Ok(Self { files: timed, gone, held, records: records.to_owned() })
    }

    /// Remembers that all of it is here.
    pub(crate) fn remember(&self) -> Result<(), SyncError> {
        write_record(&self.records.join(HELD), &self.held)
    }
}

fn held(target: &Path, files: Vec<TargetFile>, times: &LocalTimes) -> Held {
    let times = times.iter().map(|(there, here)| (*there, *here)).collect();
    Held { target: target.as_os_str().as_bytes().to_vec(), files, times }
}

/// The record of this target directory; empty if there is none.
fn read(records: &Path, target: &Path) -> Held {
    let held: Held = read_record(&records.join(HELD)).unwrap_or_default();
    if held.target == target.as_os_str().as_bytes() { held } else { Held::default() }
}

#[cfg(test)]
mod tests {
    use burst_protocol::tree::{File, FileMode};

    use super::*;

    fn file(path: &str, seconds: i64) -> TargetFile {
        let digest = Digest::of(path.as_bytes());
        TargetFile {
            path: RelativePath::new(path.as_bytes()).unwrap(),
            file: File { size: 1, digest, mode: FileMode::REGULAR },
            modified: Timestamp { seconds, nanoseconds: 0 },
        }
    }

    fn listed(files: &[TargetFile], base: Option<Digest>) -> TargetListed {
        TargetListed { base, list: TargetFile::digest_of(files).unwrap(), compiler: None }
    }

    #[test]
    fn runs_that_end_at_the_same_time_are_all_remembered() {
        let records = tempfile::tempdir().unwrap();
        let note = |second: i64| {
            let began = Timestamp { seconds: second, nanoseconds: 0 };
            let scanned = Moment::from_seconds(second);
            note_run(records.path(), began, scanned, || scanned).unwrap();
        };
        std::thread::scope(|scope| {
            for first in 0..8 {
                let note = &note;
                scope.spawn(move || (0..8).for_each(|run| note(1 + first * 8 + run)));
            }
        });
        let runs: RunTimes = read_record(&records.path().join(RUNS)).unwrap();
        let mut expected = RunTimes::default();
        for second in 1..=64 {
            expected.add(
                Timestamp { seconds: second, nanoseconds: 0 },
                Moment::from_seconds(second),
                Moment::from_seconds(second),
            );
        }
        assert_eq!(runs, expected);
    }

    #[test]
    fn lists_are_remembered_and_differences_applied() {
        let records = tempfile::tempdir().unwrap();
        let (records, target) = (records.path(), Path::new("/t"));
        assert_eq!(held_digest(records, target), None);
        let (began, scanned) = (Timestamp { seconds: 5, nanoseconds: 0 }, Moment::from_seconds(9));
        note_run(records, began, scanned, || scanned).unwrap();
        let first = [file("a", 7), file("b", 7)];
        let mut offered = Offered { changed: first.to_vec(), ..Offered::default() };
        let wanted = Wanted::new(&offered, &listed(&first, None), records, target).unwrap();
        assert_eq!(wanted.files[0], (first[0].clone(), Moment::from_seconds(9).previous()));
        // Nothing is here before it is remembered.
        assert_eq!(held_digest(records, target), None);
        wanted.remember().unwrap();
        let base = held_digest(records, target);
        assert_eq!(base, Some(TargetFile::digest_of(&first).unwrap()));
        assert_eq!(held_digest(records, Path::new("/other")), None);

        let second = [file("b", 7), file("c", 8)];
        offered.changed = vec![second[1].clone()];
        offered.gone = vec![first[0].path.clone()];
        let wanted = Wanted::new(&offered, &listed(&second, base), records, target).unwrap();
        let files: Vec<_> = wanted.files.iter().map(|(file, _)| file.clone()).collect();
        assert_eq!((files.as_slice(), wanted.gone.as_slice()), (&second[..], &first[..1]));
        for wrong in [listed(&first, base), listed(&second, Some(Digest::of(b"x")))] {
            assert!(Wanted::new(&offered, &wrong, records, target).is_err());
        }
    }
}
