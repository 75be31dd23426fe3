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

/// A run that writes until this is dropped. After the last one, a thread clears the mark
/// unless another run begins meanwhile.
#[derive(Debug)]
#[must_use]
pub(crate) struct WritingRun(Arc<WritingRuns>);

impl Drop for WritingRun {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.runs -= 1;
        if state.runs > 0 {
            return;
        }
        let (runs, last) = (self.0.clone(), state.begun);
        drop(state);
        log::spawn(move || {
            let state = lock(&runs.state);
            let is_last = |state: &mut State| state.begun == last;
            drop(runs.begun.wait_timeout_while(state, runs.flush_after, is_last));
            runs.settle_after(last);
        });
    }
}
