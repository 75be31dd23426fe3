//! The times that the files of a whole target directory get here. Pure.
//!
//! cargo compares the times of sources and results, and here the sources have the times of this
//! machine. A result may not be newer than the scan of the sources that it was made from: a source
//! that was edited since would count as compiled. So what a run has written is dated just before
//! the scan of that run. The order of all times stays, since cargo compares results with each
//! other. What was written before the first run that is known is dated to the beginning of time,
//! so that cargo compiles it again if it has sources here.

use std::collections::{BTreeMap, BTreeSet};

use burst_protocol::message::Timestamp;
use burst_sync::clock::Moment;
use serde::{Deserialize, Serialize};

/// The runs that are remembered.
const RUNS_MAX: usize = 512;

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// When it has begun, by the clock of the agent.
    began: Timestamp,
    /// What it has written is dated before this, by the clock of this machine: when the scan of
    /// its sources had begun, or that of a later run which was scanned earlier.
    scanned: Moment,
    /// When its end was noted, by the clock of this machine.
    noted: Moment,
}

/// The runs, in the order in which they have begun. The scans are in that order, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunTimes(Vec<Run>);

/// The time here of each time there.
pub(crate) type LocalTimes = BTreeMap<Timestamp, Moment>;

impl RunTimes {
    /// Adds a run that is noted now. Runs may end in another order than they began. Those of two
    /// commands at once may also begin in another order than they were scanned: then the earlier
    /// scan counts for both. Where the clocks disagree about the order of others, one of them was
    /// set back, and the other runs are forgotten.
    pub(crate) fn add(&mut self, began: Timestamp, scanned: Moment, noted: Moment) {
        let place = self.0.partition_point(|other| other.began < began);
        let (before, after) = self.0.split_at(place);
        let disagree = before.iter().filter(|other| other.scanned > scanned);
        let disagree = disagree
            .chain(after.iter().filter(|other| other.began == began || other.scanned < scanned));
        let is_at_once = |other: &Run| other.noted > scanned && other.noted <= noted;
        if disagree.into_iter().all(is_at_once) {
            self.0.insert(place, Run { began, scanned, noted });
        } else {
            self.0 = vec![Run { began, scanned, noted }];
        }
        let mut earliest: Option<Moment> = None;
        for run in self.0.iter_mut().rev() {
            run.scanned = earliest.map_or(run.scanned, |earliest| run.scanned.min(earliest));
            earliest = Some(run.scanned);
        }
        let surplus = self.0.len().saturating_sub(RUNS_MAX);
        self.0.drain(..surplus);
    }

    /// The run that has written a file of this time.
    fn run_of(&self, modified: Timestamp) -> Option<usize> {
        self.0.partition_point(|run| run.began <= modified).checked_sub(1)
    }

    /// The times here of all these times there. Those of `held`, from before, are kept if all
    /// others come from later runs.
    pub(crate) fn local(&self, there: &BTreeSet<Timestamp>, held: &LocalTimes) -> LocalTimes {
        let newest_held = held.keys().next_back();
        let added: Vec<Timestamp> =
            there.iter().filter(|time| !held.contains_key(time)).copied().collect();
        let is_later = match (newest_held, added.first()) {
            (Some(held), Some(added)) => self.run_of(*held) < self.run_of(*added),
            _ => true,
        };
        if !is_later {
            return self.local(there, &LocalTimes::new());
        }
        let kept = held.iter().filter(|(time, _)| there.contains(time));
        let mut times: LocalTimes = kept.map(|(there, here)| (*there, *here)).collect();
        let mut later: Option<Moment> = None;
        for time in added.iter().rev() {
            let scanned =
                self.run_of(*time).map_or(Moment::from_seconds(1), |run| self.0[run].scanned);
            let latest = later.map_or(scanned, |later| scanned.min(later));
            let here = latest.previous();
            times.insert(*time, here);
            later = Some(here);
        }
        // A run that was scanned earlier than an earlier one was noted since.
        if !held.is_empty() && !times.values().is_sorted() {
            return self.local(there, &LocalTimes::new());
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanoseconds: 0 }
    }

    fn here(seconds: i64) -> Moment {
        Moment::from_seconds(seconds)
    }

    fn runs() -> RunTimes {
        let mut runs = RunTimes::default();
        runs.add(there(1000), here(50), here(52));
        runs.add(there(2000), here(60), here(62));
        runs
    }

    #[test]
    fn results_are_older_than_the_scan_of_their_run_and_keep_their_order() {
        let times: BTreeSet<_> = [900, 1000, 1005, 1999, 2000, 2500].map(there).into();
        let local = runs().local(&times, &LocalTimes::new());
        let found: Vec<Moment> = local.values().copied().collect();
        let before =
            |moment: Moment, times: u32| (0..times).fold(moment, |moment, _| moment.previous());
        let expected = [
            before(here(1), 1),
            before(here(50), 3),
            before(here(50), 2),
            before(here(50), 1),
            before(here(60), 2),
            before(here(60), 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn times_stay_while_later_runs_add_others() {
        let mut runs = runs();
        let first: BTreeSet<_> = [1000, 1001, 2000].map(there).into();
        let held = runs.local(&first, &LocalTimes::new());
        runs.add(there(3000), here(70), here(72));
        let times: BTreeSet<_> = [1001, 2000, 3001, 3002].map(there).into();
        let local = runs.local(&times, &held);
        assert_eq!(local.len(), 4);
        for kept in [1001, 2000].map(there) {
            assert_eq!(local[&kept], held[&kept]);
        }
        assert_eq!(local[&there(3002)], here(70).previous());
        // What the run before has written late has its place in the order.
        let late: BTreeSet<_> = [1001, 2000, 2999, 3001].map(there).into();
        let local = runs.local(&late, &held);
        assert_eq!(local[&there(2999)], here(60).previous());
        assert!(local[&there(2000)] < local[&there(2999)]);
    }

    #[test]
    fn a_clock_that_was_set_back_dates_nothing_too_late() {
        for (began, scanned) in [(1500, 65), (2500, 55)] {
            let mut runs = runs();
            runs.add(there(began), here(scanned), here(scanned + 2));
            let times: BTreeSet<_> = [1200, 2600].map(there).into();
            let local = runs.local(&times, &LocalTimes::new());
            assert_eq!(local[&there(1200)], here(1).previous());
            assert_eq!(local[&there(2600)], here(scanned).previous());
        }
    }

    #[test]
    fn runs_that_end_in_another_order_than_they_began_are_kept() {
        let mut runs = runs();
        runs.add(there(4000), here(80), here(85));
        runs.add(there(3000), here(60), here(86));
        runs.add(there(500), here(40), here(87));
        let times: BTreeSet<_> = [600, 1200, 2000, 3500, 4000].map(there).into();
        let local = runs.local(&times, &LocalTimes::new());
        let found: Vec<Moment> = local.values().copied().collect();
        let latest = [40, 50, 60, 60, 80].map(|scanned| here(scanned).previous());
        let expected = [latest[0], latest[1], latest[2].previous(), latest[3], latest[4]];
        assert_eq!(found, expected);
    }

    #[test]
    fn of_runs_at_once_the_earlier_scan_counts() {
        let mut runs = runs();
        runs.add(there(3000), here(80), here(90));
        let first: BTreeSet<_> = [1000, 3000].map(there).into();
        let held = runs.local(&first, &LocalTimes::new());
        assert_eq!(held[&there(3000)], here(80).previous());
        // It began later and was scanned before the other one had ended.
        runs.add(there(3100), here(70), here(95));
        let times: BTreeSet<_> = [1000, 3000, 3100].map(there).into();
        for held in [&held, &LocalTimes::new()] {
            let local = runs.local(&times, held);
            assert_eq!(local[&there(3100)], here(70).previous());
            assert_eq!(local[&there(3000)], here(70).previous().previous());
            assert_eq!(local[&there(1000)], here(50).previous());
        }
        // It began earlier, by another clock at the same time, and was scanned later.
        runs.add(there(2900), here(75), here(96));
        runs.add(there(2900), here(76), here(97));
        let times: BTreeSet<_> = [2900, 3100].map(there).into();
        let local = runs.local(&times, &LocalTimes::new());
        assert_eq!(local[&there(2900)], here(70).previous().previous());
        assert_eq!(runs.0.len(), 6);
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        let mut runs = RunTimes::default();
        for run in 1..=600 {
            runs.add(there(run), here(run), here(run));
        }
        assert_eq!(runs.0.len(), RUNS_MAX);
        assert_eq!(runs.run_of(there(88)), None);
        assert_eq!(runs.run_of(there(600)), Some(RUNS_MAX - 1));
    }
}
