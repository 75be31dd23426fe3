//! One project as the sessions of an agent share it: its queue, its directory, and its
//! state, which is read when a session first needs it and then kept.
//!
//! The state itself, and the files behind it, belong to [`Project`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use burst_protocol::RelativePath;
use burst_sync::clock::Moment;
use burst_sync::stat_cache::StatCache;

use crate::error::{AgentError, FileOperation};
use crate::lock::lock;
use crate::power_cut::{self, WritingRun, WritingRuns};
use crate::project::Project;
use crate::queue::RunQueue;

/// One project of the agent.
#[derive(Debug)]
pub(crate) struct SharedProject {
    /// Admits runs to the project.
    pub(crate) queue: RunQueue,
    /// Gives the runs their turns to offer sources that were changed. What a run offers is then
    /// the difference to what the client has taken from all runs before.
    pub(crate) offers: RunQueue,
    name: RelativePath,
    directory: PathBuf,
    project: Mutex<Option<Project>>,
    /// The runs that write to its disk.
    writing: Arc<WritingRuns>,
    artifacts: Mutex<HashMap<PathBuf, StatCache>>,
    /// When the state was last used.
    used: Mutex<Instant>,
}

impl SharedProject {
    /// The project of this name in this directory, whose files are written to the disk
    /// `flush_after` its last run. Reads nothing yet.
    pub(crate) fn new(name: RelativePath, directory: PathBuf, flush_after: Duration) -> Self {
        Self {
            writing: Arc::new(WritingRuns::new(directory.clone(), flush_after)),
            queue: RunQueue::default(),
            offers: RunQueue::default(),
            name,
            directory,
            project: Mutex::default(),
            artifacts: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Calls `work` with the project's state, locked. Reads the state first if no session
    /// has, or if the directory was replaced since.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Project) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let mut state = lock(&self.project);
        *lock(&self.used) = Instant::now();
        let project = match state.take().filter(Project::is_current) {
            Some(project) => state.insert(project),
            None => {
                self.repair()?;
                state.insert(Project::open(&self.directory, &self.name)?)
            }
        };
        work(project)
    }

    /// Forgets the project's state; its next use reads the directory again.
    pub(crate) fn close(&self) {
        *lock(&self.project) = None;
    }

    /// Repairs the project if the power was cut during its last run. A volume was repaired
    /// when it was mounted.
    fn repair(&self) -> Result<(), AgentError> {
        let repaired = power_cut::repair_after_reboot(&self.directory)
            .map_err(AgentError::file(FileOperation::Repair, &self.directory))?;
        if let Some(repaired) = repaired {
            let name = self.name.absolute();
            tracing::warn!("the machine ended during a run of `{}`: {repaired}", name.display());
        }
        Ok(())
    }

    /// When the project's state was last used; none if it is not open, or in use.
    pub(crate) fn opened(&self) -> Option<Instant> {
        let is_open = self.project.try_lock().is_ok_and(|state| state.is_some());
        is_open.then(|| *lock(&self.used))
    }

    /// Forgets the project's state unless a run uses it. A run enters the queue before it
    /// uses the state, so one that enters meanwhile finds the project closed and opens it.
    pub(crate) fn close_if_idle(&self) {
        let mut state = lock(&self.project);
        if !self.queue.is_busy() {
            *state = None;
            lock(&self.artifacts).clear();
        }
    }

    /// Registers a run that writes to the disk until the result is dropped.
    pub(crate) fn begin_writing(&self) -> Result<WritingRun, AgentError> {
        self.writing
            .begin(Moment::coarse_now())
            .map_err(AgentError::file(FileOperation::Write, &self.directory))
    }

    /// Writes what runs have left in memory to the disk, unless a run writes now.
    pub(crate) fn settle(&self) {
        self.writing.settle();
    }

    /// Tells the project that the clock was set.
    pub(crate) fn clock_was_set(&self, now: Moment) {
        self.writing.clock_was_set(now);
    }

    /// The project's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The stat cache of each target directory.
    pub(crate) fn artifact_cache(&self) -> MutexGuard<'_, HashMap<PathBuf, StatCache>> {
        lock(&self.artifacts)
    }
}
