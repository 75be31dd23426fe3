//! Which records of ended runs are deleted, and their deletion.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::record::{Run, RunState, STARTED};
use super::runs::{Found, Runs};

/// Seconds for which a run is kept after its end.
const KEPT_SECS: i64 = 7 * 24 * 60 * 60;

/// Seconds for which it is kept if its end was not shown.
const UNSEEN_SECS: i64 = 30 * 24 * 60 * 60;

/// How many ended runs are kept whose end was shown.
const KEPT_MAX: usize = 20;

/// A run that is over.
#[derive(Clone, Copy, Debug)]
struct Over {
    number: u32,
    /// When it ended, in Unix seconds; of an end that is not recorded, when it was noticed.
    since: i64,
    is_shown: bool,
}

/// Deletes the records of runs whose time is over, and what was left of others; not the record of
/// the run `in_use`. A record that cannot be read is kept; what cannot be deleted is left to the
/// next call. The caller has taken the lock of all runs before it `found` them.
pub(super) fn prune(runs: &Runs, found: &Found, now: i64, in_use: Option<u32>) {
    let over: Vec<Over> = found.runs.iter().filter_map(|run| over(runs, run, now)).collect();
    let expired = expired(over, now).into_iter().chain(found.leftovers.iter().copied());
    for number in expired.filter(|number| Some(*number) != in_use) {
        delete(runs.directory(number).path());
    }
}

/// Since when a run is over; `None` if it is running. The time at which it began says nothing of
/// the end of one that was lost.
fn over(runs: &Runs, run: &Run, now: i64) -> Option<Over> {
    let Run { number, is_shown, .. } = *run;
    let since = match run.state {
        RunState::Running => return None,
        RunState::Ended(ended) => ended.at,
        RunState::EndUnknown | RunState::Lost => runs.directory(number).noticed_over(now),
    };
    Some(Over { number, since, is_shown })
}

/// Deletes a directory, but nothing behind a link.
fn delete(path: &Path) {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, path, flags, Mode::empty()) else { return };
    // Without that it is no run, however far the deletion comes.
    if let Ok(()) | Err(Errno::NOENT) = unlinkat(directory, STARTED, AtFlags::empty())
        && let Err(error) = std::fs::remove_dir_all(path)
    {
        tracing::debug!("cannot delete `{}`: {error}", path.display());
    }
}

/// The numbers of the runs that are not kept any more. Pure.
fn expired(mut over: Vec<Over>, now: i64) -> Vec<u32> {
    over.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
    let (shown, unseen): (Vec<_>, Vec<_>) = over.into_iter().partition(|run| run.is_shown);
    let age = |run: &Over| now.saturating_sub(run.since);
    let unseen = unseen.into_iter().filter(|run| age(run) > UNSEEN_SECS);
    let shown = shown.into_iter().enumerate();
    let shown = shown.filter(|(place, run)| *place >= KEPT_MAX || age(run) > KEPT_SECS);
    unseen.chain(shown.map(|(_, run)| run)).map(|run| run.number).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ended, How, Started};
    use super::*;

    fn started(at: i64) -> Started {
        let title = String::new();
        Started { title, workspace: "/".into(), at, terminal: None, one_output: false }
    }

    #[test]
    fn runs_are_kept_for_a_week_and_the_last_twenty_and_longer_if_not_shown() {
        let now = 10 * UNSEEN_SECS;
        let run = |number, since, is_shown| Over { number, since, is_shown };
        let runs = vec![
            run(2, now - KEPT_SECS, true),
            run(3, now - KEPT_SECS - 1, true),
            run(6, now + 50, true),
            run(7, now - UNSEEN_SECS, false),
            run(8, now - UNSEEN_SECS - 1, false),
        ];
        assert_eq!(expired(runs, now), [8, 3]);
        let mut many: Vec<Over> = (1..=23).map(|number| run(number, now, true)).collect();
        assert_eq!(expired(many.clone(), now), [3, 2, 1]);
        many.extend((24..=60).map(|number| run(number, now, false)));
        assert_eq!(expired(many, now), [3, 2, 1]);
        assert_eq!(expired(Vec::new(), now), Vec::<u32>::new());
    }

    /// Its end is not recorded, and this is the first command that finds it lost; how long it had
    /// run does not count.
    #[test]
    fn a_lost_run_is_kept_from_when_its_loss_was_noticed() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        let _lock = runs.lock().unwrap();
        let (number, lost) = runs.create().unwrap();
        lost.write_started(&started(0)).unwrap();
        let noticed = 2 * UNSEEN_SECS;
        let is_there_at = |now, in_use| {
            prune(&runs, &runs.list().unwrap(), now, in_use);
            lost.path().exists()
        };
        assert!(is_there_at(noticed, None));
        assert!(is_there_at(noticed + UNSEEN_SECS, None));
        assert!(is_there_at(noticed + UNSEEN_SECS + 1, Some(number)));
        assert!(!is_there_at(noticed + UNSEEN_SECS + 1, None));
    }

    #[test]
    fn a_run_that_is_running_is_not_over() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        let run = |state| {
            let (started, waits_for) = (started(3), None);
            over(&runs, &Run { number: 1, started, state, waits_for, is_shown: false }, 9)
        };
        assert!(run(RunState::Running).is_none());
        let ended = RunState::Ended(Ended { at: 5, how: How::Code(1), unrecorded: 0 });
        assert_eq!(run(ended).unwrap().since, 5);
        assert_eq!(run(RunState::EndUnknown).unwrap().since, 9);
    }

    #[test]
    fn what_is_no_run_is_deleted_but_no_record_that_cannot_be_read() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        let _lock = runs.lock().unwrap();
        let below = |name: &str| state.path().join("runs").join(name);
        runs.create().unwrap();
        let (_, kept) = runs.create().unwrap();
        kept.write_started(&started(100)).unwrap();
        // A link to a directory with a record.
        std::os::unix::fs::symlink(kept.path(), below("3")).unwrap();
        for (number, content) in [("4", "{\"version\":2}"), ("5", "{\"vers")] {
            std::fs::create_dir(below(number)).unwrap();
            std::fs::write(below(number).join(STARTED), content).unwrap();
            std::fs::write(below(number).join("output-0"), "").unwrap();
        }
        std::fs::write(below("6"), "").unwrap();
        std::fs::create_dir(below("07")).unwrap();
        prune(&runs, &runs.list().unwrap(), 200, None);
        let left = || {
            let entries = below("").read_dir().unwrap().flatten();
            let mut names: Vec<_> =
                entries.filter_map(|one| one.file_name().into_string().ok()).collect();
            names.sort();
            names
        };
        assert_eq!(left(), ["07", "2", "3", "4", "5", "6", "last", "lock"]);
        let found = runs.list().unwrap();
        assert_eq!(found.runs.len(), 1);
        assert_eq!(found.unreadable.iter().map(|one| one.number).collect::<Vec<_>>(), [4, 5]);
        prune(&runs, &runs.list().unwrap(), 201 + UNSEEN_SECS, None);
        assert_eq!(left(), ["07", "3", "4", "5", "6", "last", "lock"]);
        assert!(below("4/output-0").exists());
        assert_eq!(runs.create().unwrap().0, 7);
    }
}
