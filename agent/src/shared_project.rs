//! One project among the agent's: who uses it, where it is, what is known of it.
//!
//! A project is opened by its first use and stays open; what is on its disk is
//! [`Project`]'s.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use burst_protocol::RelativePath;
use burst_sync::stat_cache::StatCache;

use crate::error::{AgentError, FileOperation};
use crate::lock::lock;
use crate::power_cut;
use crate::project::Project;
use crate::queue::RunQueue;

/// One project among the agent's.
#[derive(Debug)]
pub(crate) struct SharedProject {
    /// Who uses it.
    pub(crate) queue: RunQueue,
    name: RelativePath,
    directory: PathBuf,
    project: Mutex<Option<Project>>,
    /// Runs that write to the disk; their mark is on it (see [`power_cut`]).
    writing: Mutex<usize>,
    artifacts: Mutex<HashMap<PathBuf, StatCache>>,
}

impl SharedProject {
    /// The project of this name in this directory, which nobody has opened yet.
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

    /// The project, opened if it is not. Nobody else has it meanwhile.
    pub(crate) fn project(&self) -> Result<ProjectGuard<'_>, AgentError> {
        let mut guard = lock(&self.project);
        if !guard.as_ref().is_some_and(Project::is_current) {
            *guard = Some(Project::open(&self.directory, &self.name)?);
        }
        Ok(ProjectGuard(guard))
    }

    /// Forgets what is known of the project: the next use looks at its disk.
    pub(crate) fn close(&self) {
        *lock(&self.project) = None;
    }

    /// Before a run on a disk that can go at any time.
    pub(crate) fn begin_writing(&self) -> Result<(), AgentError> {
        let mut writing = lock(&self.writing);
        power_cut::set_mark(&self.directory)
            .map_err(AgentError::file(FileOperation::Write, &self.directory))?;
        *writing += 1;
        Ok(())
    }

    /// After it: when no run writes any more, all is forced to the disk. That takes a
    /// while, and nobody has to wait for it.
    pub(crate) fn end_writing(self: &Arc<Self>) {
        let shared = self.clone();
        *lock(&shared.writing) -= 1;
        std::thread::spawn(move || {
            let flushed = power_cut::flush(&shared.directory);
            let writing = lock(&shared.writing);
            if *writing > 0 {
                return;
            }
            if let Err(error) = flushed.and_then(|()| power_cut::clear_mark(&shared.directory)) {
                tracing::warn!("a run's mark stays: {error}");
            }
        });
    }

    /// Where its disk is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is known of the files in target directories.
    pub(crate) fn artifact_cache(&self) -> MutexGuard<'_, HashMap<PathBuf, StatCache>> {
        lock(&self.artifacts)
    }
}

/// A project that is open.
#[derive(Debug)]
pub(crate) struct ProjectGuard<'a>(MutexGuard<'a, Option<Project>>);

impl Deref for ProjectGuard<'_> {
    type Target = Project;

    #[expect(
        clippy::expect_used,
        reason = "SharedProject::project is the only maker and has filled it"
    )]
    fn deref(&self) -> &Project {
        self.0.as_ref().expect("filled by SharedProject::project")
    }
}

impl DerefMut for ProjectGuard<'_> {
    #[expect(
        clippy::expect_used,
        reason = "SharedProject::project is the only maker and has filled it"
    )]
    fn deref_mut(&mut self) -> &mut Project {
        self.0.as_mut().expect("filled by SharedProject::project")
    }
}
