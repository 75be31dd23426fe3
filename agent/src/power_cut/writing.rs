//! The runs that write to the disk of a project, and its mark.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use burst_sync::clock::Moment;

use super::mark::{Mark, flush};
use crate::lock::lock;
use crate::log;

/// The runs of one project. The mark is set while there are any, and until everything that
/// they have written is on the disk.
#[derive(Debug)]
pub(crate) struct WritingRuns {
    project: PathBuf,
    /// How long after the last run its files are written to the disk.
    flush_after: Duration,
    state: Mutex<State>,
    /// Notified when a run begins.
    begun: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The runs that write now.
    runs: usize,
    /// The number of runs so far.
    begun: u64,
    /// Whether the mark is set. It is not kept open, which would keep a volume in use.
    is_marked: bool,
}

impl WritingRuns {
    /// For the project in this directory.
    pub(crate) fn new(project: PathBuf, flush_after: Duration) -> Self {
        Self { project, flush_after, state: Mutex::default(), begun: Condvar::new() }
    }

    /// Sets the mark before a run writes.
    pub(crate) fn begin(self: &Arc<Self>, now: Moment) -> io::Result<WritingRun> {
        let mut state = lock(&self.state);
        Mark::set(&self.project, now)?;
        if !state.is_marked {
            state.is_marked = true;
            let runs = self.clone();
            log::spawn(move || runs.log_failure(Mark::force(&runs.project), "force"));
        }
        state.runs += 1;
        state.begun += 1;
        self.begun.notify_all();
        Ok(WritingRun(self.clone()))
    }

    /// Writes everything to the disk and clears the mark, unless a run writes.
    pub(crate) fn settle(&self) {
        let last = lock(&self.state).begun;
        self.settle_after(last);
    }

    /// As [`settle_after`](Self::settle_after), after the time to wait; at once if a later run
    /// begins. Blocks until then.
    fn settle_later(&self, last: u64) {
        let is_last = |state: &mut State| state.begun == last;
        drop(self.begun.wait_timeout_while(lock(&self.state), self.flush_after, is_last));
        self.settle_after(last);
    }

    /// If the run of this number is the last one and has ended: writes everything to the
    /// disk and clears the mark. Does not hold the lock while it writes, which can take
    /// seconds.
    fn settle_after(&self, last: u64) {
        let is_due = |state: &State| state.begun == last && state.runs == 0 && state.is_marked;
        if !is_due(&lock(&self.state)) {
            return;
        }
        let flushed = flush(&self.project);
        let mut state = lock(&self.state);
        if is_due(&state) {
            state.is_marked = false;
            let cleared = flushed.and_then(|()| self.with_mark(Mark::clear));
            self.log_failure(cleared, "clear");
        }
    }

    /// Sets the mark back if the clock was.
    pub(crate) fn clock_was_set(&self, now: Moment) {
        if lock(&self.state).is_marked {
            self.log_failure(self.with_mark(|mark| mark.lower(now)), "set back");
        }
    }

    fn with_mark(&self, work: impl FnOnce(Mark) -> io::Result<()>) -> io::Result<()> {
        Mark::find(&self.project)?.map_or(Ok(()), work)
    }

    fn log_failure(&self, result: io::Result<()>, action: &str) {
        // A project that was removed has no mark.
        if let Err(error) = result
            && error.kind() != io::ErrorKind::NotFound
        {
            let project = self.project.display();
            tracing::warn!("cannot {action} the mark of the runs in `{project}`: {error}");
        }
    }
}

/// A run that writes until this is dropped. A thread then clears the mark later, unless another
/// run writes or begins meanwhile.
#[derive(Debug)]
#[must_use]
pub(crate) struct WritingRun(Arc<WritingRuns>);

impl Drop for WritingRun {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.runs -= 1;
        let (runs, last) = (self.0.clone(), state.begun);
        drop(state);
        log::spawn(move || runs.settle_later(last));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Longer than any test.
    const HOUR: Duration = Duration::from_secs(3600);

    /// What a test waits for at most.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn runs_in(project: &tempfile::TempDir, flush_after: Duration) -> Arc<WritingRuns> {
        Arc::new(WritingRuns::new(project.path().to_owned(), flush_after))
    }

    fn begin(runs: &Arc<WritingRuns>) -> WritingRun {
        runs.begin(Moment::coarse_now()).unwrap()
    }

    #[test]
    fn only_the_end_of_the_last_run_clears_the_mark() {
        let project = tempfile::tempdir().unwrap();
        let (runs, mark) = (runs_in(&project, HOUR), project.path().join("running"));
        drop(begin(&runs));
        drop(begin(&runs));
        runs.settle_after(1);
        assert!(mark.exists());
        runs.settle_after(2);
        assert!(!mark.exists());
    }

    #[test]
    fn the_mark_is_cleared_by_itself_after_all_runs() {
        let project = tempfile::tempdir().unwrap();
        let (runs, mark) = (runs_in(&project, Duration::ZERO), project.path().join("running"));
        let (first, second) = (begin(&runs), begin(&runs));
        drop(first);
        drop(second);
        let begun = Instant::now();
        while mark.exists() {
            assert!(begun.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
    }

    #[test]
    fn another_run_ends_the_wait_for_the_time_to_clear_the_mark() {
        let project = tempfile::tempdir().unwrap();
        let (runs, mark) = (runs_in(&project, HOUR), project.path().join("running"));
        drop(begin(&runs));
        drop(begin(&runs));
        let (sender, ended) = mpsc::channel();
        std::thread::spawn({
            let runs = runs.clone();
            move || {
                runs.settle_later(1);
                sender.send(()).unwrap();
            }
        });
        ended.recv_timeout(DEADLINE).unwrap();
        assert!(mark.exists());
    }

    #[test]
    fn failures_are_logged_unless_the_project_is_gone() {
        let project = tempfile::tempdir().unwrap();
        let path = project.path().join("log");
        let log = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(Arc::new(File::create(&path).unwrap()))
            .finish();
        let runs = WritingRuns::new("/project".into(), HOUR);
        tracing::subscriber::with_default(log, || {
            runs.log_failure(Ok(()), "force");
            runs.log_failure(Err(ErrorKind::NotFound.into()), "clear");
            runs.log_failure(Err(ErrorKind::PermissionDenied.into()), "set back");
        });
        let logged = std::fs::read_to_string(path).unwrap();
        let expected = " WARN burst_agent::power_cut::writing: \
                        cannot set back the mark of the runs in `/project`: permission denied\n";
        assert_eq!(logged, expected);
    }
}
