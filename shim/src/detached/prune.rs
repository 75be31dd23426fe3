//! Which records of ended runs are deleted, and their deletion.

use std::io;

use super::record::{Run, RunState, Runs, STARTED};
use crate::directories::unusable;
use crate::error::Error;

/// Seconds for which a run is kept after its end.
const KEPT_SECS: i64 = 7 * 24 * 60 * 60;

/// How many ended runs are kept.
const KEPT_MAX: usize = 20;

/// Deletes the records of runs whose time is over. The caller holds the lock of all runs.
pub(super) fn prune(runs: &Runs, now: i64) -> Result<(), Error> {
    let found = runs.list()?;
    let expired = expired(&found, now);
    for number in runs.numbers()? {
        let directory = runs.directory(number);
        let is_known = found.iter().any(|run| run.number == number);
        let is_leftover = !is_known && !directory.is_held()?;
        if !is_leftover && !expired.contains(&number) {
            continue;
        }
        let path = directory.path();
        // Without that it is no run, however far the deletion comes.
        drop(std::fs::remove_file(path.join(STARTED)));
        match std::fs::remove_dir_all(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(unusable("delete", path, &source));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The numbers of the runs that are not kept any more. Pure.
fn expired(runs: &[Run], now: i64) -> Vec<u32> {
    let mut over: Vec<(u32, i64)> = runs
        .iter()
        .filter_map(|run| match run.state {
            RunState::Running => None,
            RunState::Ended(ended) => Some((run.number, ended.at)),
            RunState::Lost => Some((run.number, run.started.at)),
        })
        .collect();
    over.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let is_old = |at: i64| now.saturating_sub(at) > KEPT_SECS;
    let expired =
        over.iter().enumerate().filter(|(place, (_, at))| *place >= KEPT_MAX || is_old(*at));
    expired.map(|(_, (number, _))| *number).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Ended, How, Started};
    use super::*;

    fn run(number: u32, at: i64, state: RunState) -> Run {
        let started = Started { title: String::new(), workspace: "/".into(), at, terminal: None };
        Run { number, started, state, is_shown: false }
    }

    fn ended(at: i64) -> RunState {
        RunState::Ended(Ended { at, how: How::Code(1), unrecorded: 0 })
    }

    #[test]
    fn runs_are_kept_for_a_week_and_the_last_twenty() {
        let now = 10 * KEPT_SECS;
        let runs = [
            run(1, 0, RunState::Running),
            run(2, 0, ended(now - KEPT_SECS)),
            run(3, 0, ended(now - KEPT_SECS - 1)),
            run(4, now - KEPT_SECS - 1, RunState::Lost),
            run(5, now, RunState::Lost),
            run(6, 0, ended(now + 50)),
        ];
        assert_eq!(expired(&runs, now), [4, 3]);
        let many: Vec<Run> = (1..=23).map(|number| run(number, 0, ended(now))).collect();
        assert_eq!(expired(&many, now), [3, 2, 1]);
        assert_eq!(expired(&[], now), Vec::<u32>::new());
    }

    #[test]
    fn what_is_no_run_is_deleted_too() {
        let state = tempfile::tempdir().unwrap();
        let runs = Runs::below(state.path());
        let _lock = runs.lock().unwrap();
        runs.create().unwrap();
        let (_, kept) = runs.create().unwrap();
        let Run { started, .. } = run(2, 100, RunState::Lost);
        kept.write_started(&started).unwrap();
        prune(&runs, 200).unwrap();
        assert_eq!(runs.numbers().unwrap(), [2]);
        prune(&runs, 200 + KEPT_SECS).unwrap();
        assert_eq!(runs.numbers().unwrap(), Vec::<u32>::new());
    }
}
