//! Which records of ended runs are deleted, and their deletion.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::record::{Run, RunState, Runs, STARTED};
use crate::error::Error;

/// Seconds for which a run is kept after its end.
const KEPT_SECS: i64 = 7 * 24 * 60 * 60;

/// Seconds for which it is kept if its end was not shown.
const UNSEEN_SECS: i64 = 30 * 24 * 60 * 60;

/// How many ended runs are kept whose end was shown.
const KEPT_MAX: usize = 20;

/// Deletes the records of runs whose time is over, and what was left of others. A record that
/// cannot be read is kept; what cannot be deleted is left to the next call. The caller holds the
/// lock of all runs.
pub(super) fn prune(runs: &Runs, now: i64) -> Result<(), Error> {
    let found = runs.list()?;
    for number in expired(&found.runs, now).into_iter().chain(found.leftovers) {
        delete(runs.directory(number).path());
    }
    Ok(())
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
fn expired(runs: &[Run], now: i64) -> Vec<u32> {
    let mut over: Vec<(&Run, i64)> = runs
        .iter()
        .filter_map(|run| match run.state {
            RunState::Running => None,
            RunState::Ended(ended) => Some((run, ended.at)),
            RunState::EndUnknown | RunState::Lost => Some((run, run.started.at)),
        })
        .collect();
    over.sort_unstable_by_key(|(run, _)| std::cmp::Reverse(run.number));
    let (shown, unseen): (Vec<_>, Vec<_>) = over.into_iter().partition(|(run, _)| run.is_shown);
    let age = |at: i64| now.saturating_sub(at);
    let unseen = unseen.into_iter().filter(|(_, at)| age(*at) > UNSEEN_SECS);
    let shown = shown.into_iter().enumerate();
    let shown = shown.filter(|(place, (_, at))| *place >= KEPT_MAX || age(*at) > KEPT_SECS);
    unseen.chain(shown.map(|(_, run)| run)).map(|(run, _)| run.number).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ended, How, Started};
    use super::*;

    fn started(at: i64) -> Started {
        let title = String::new();
        Started { title, workspace: "/".into(), at, terminal: None, one_output: false }
    }

    fn run(number: u32, at: i64, state: RunState, is_shown: bool) -> Run {
        Run { number, started: started(at), state, waits_for: None, is_shown }
    }

    fn ended(at: i64) -> RunState {
        RunState::Ended(Ended { at, how: How::Code(1), unrecorded: 0 })
    }

    #[test]
    fn runs_are_kept_for_a_week_and_the_last_twenty_unless_nobody_has_seen_them() {
        let now = 10 * UNSEEN_SECS;
        let runs = [
            run(1, 0, RunState::Running, false),
            run(2, 0, ended(now - KEPT_SECS), true),
            run(3, 0, ended(now - KEPT_SECS - 1), true),
            run(4, now - KEPT_SECS - 1, RunState::Lost, true),
            run(5, now, RunState::Lost, true),
            run(6, 0, ended(now + 50), true),
            run(7, 0, ended(now - UNSEEN_SECS), false),
            run(8, 0, ended(now - UNSEEN_SECS - 1), false),
            run(9, now - KEPT_SECS - 1, RunState::EndUnknown, true),
        ];
        assert_eq!(expired(&runs, now), [8, 9, 4, 3]);
        let mut many: Vec<Run> = (1..=23).map(|number| run(number, 0, ended(now), true)).collect();
        assert_eq!(expired(&many, now), [3, 2, 1]);
        many.extend((24..=60).map(|number| run(number, 0, ended(now), false)));
        assert_eq!(expired(&many, now), [3, 2, 1]);
        assert_eq!(expired(&[], now), Vec::<u32>::new());
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
        prune(&runs, 200).unwrap();
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
        prune(&runs, 200 + UNSEEN_SECS).unwrap();
        assert_eq!(left(), ["07", "3", "4", "5", "6", "last", "lock"]);
        assert!(below("4/output-0").exists());
        assert_eq!(runs.create().unwrap().0, 7);
    }
}
