//! One project as the sessions of an agent share it: its queue, its directory, and its
//! state, which is read when a session first needs it and then kept.
//!
//! The state itself, and the files behind it, belong to [`Project`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use burst_protocol::RelativePath;
use burst_sync::stat_cache::StatCache;

use crate::error::{AgentError, FileOperation};
use crate::lock::lock;
use crate::log;
use crate::power_cut;
use crate::project::Project;
use crate::queue::RunQueue;

/// One project of the agent.
#[derive(Debug)]
pub(crate) struct SharedProject {
    /// Admits runs to the project.
    pub(crate) queue: RunQueue,
    name: RelativePath,
    directory: PathBuf,
    project: Mutex<Option<Project>>,
    /// The number of runs that write to a volume; its mark is set (see [`power_cut`]).
    writing: Mutex<usize>,
    artifacts: Mutex<HashMap<PathBuf, StatCache>>,
}

impl SharedProject {
    /// The project of this name in this directory. Reads nothing yet.
    pub(crate) fn new(name: RelativePath, directory: PathBuf) -> Self {
        Self {
            queue: RunQueue::default(),
            name,
            directory,
            project: Mutex::default(),
            writing: Mutex::default(),
            artifacts: Mutex::default(),
        }
    }

    /// Calls `work` with the project's state, locked. Reads the state first if no session
    /// has, or if the directory was replaced since.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Project) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let mut state = lock(&self.project);
        let project = match state.take().filter(Project::is_current) {
            Some(project) => state.insert(project),
            None => state.insert(Project::open(&self.directory, &self.name)?),
        };
        work(project)
    }

    /// Forgets the project's state; its next use reads the directory again.
    pub(crate) fn close(&self) {
        *lock(&self.project) = None;
    }

    /// Sets the mark on a volume before a run writes to it.
    pub(crate) fn begin_writing(&self) -> Result<(), AgentError> {
        let mut writing = lock(&self.writing);
        power_cut::set_mark(&self.directory)
            .map_err(AgentError::file(FileOperation::Write, &self.directory))?;
        *writing += 1;
        Ok(())
    }

    /// Ends the writing of a run. After the last one, a thread writes everything to the
    /// disk and clears the mark, which can take seconds.
    pub(crate) fn end_writing(self: &Arc<Self>) {
        let shared = self.clone();
        *lock(&shared.writing) -= 1;
        log::spawn(move || {
            let flushed = power_cut::flush(&shared.directory);
            let writing = lock(&shared.writing);
            if *writing > 0 {
                return;
            }
            if let Err(error) = flushed.and_then(|()| power_cut::clear_mark(&shared.directory)) {
                tracing::warn!(
                    "cannot clear the mark of a finished run: {error}; the next mount invalidates its fingerprints"
                );
            }
        });
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
