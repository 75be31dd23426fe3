//! Copies of the large files that were returned last, as bases for patches to their next
//! versions.
//!
//! This is a cache: content is verified when it is read, and the oldest copies are removed
//! first. It is used only where the request asks for compression of large files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burst_protocol::Digest;

use crate::atomic_file;
use crate::error::{AgentError, FileOperation};

/// Bytes of the largest file that is copied. A patch is computed in memory.
pub(crate) const COPIED_BYTES_MAX: u64 = 128 << 20;

/// Bytes of all copies of a project, after a run.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// The directory with a project's copies.
#[derive(Debug)]
pub(crate) struct ReturnedCopies(PathBuf);

impl ReturnedCopies {
    /// Opens the directory, created if it does not exist.
    pub(crate) fn open(directory: &Path) -> Result<Self, AgentError> {
        std::fs::create_dir_all(directory)
            .map_err(AgentError::file(FileOperation::CreateDirectory, directory))?;
        Ok(Self(directory.to_owned()))
    }

    /// The content with this digest; none if there is no copy or it is damaged.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let content = std::fs::read(self.path(digest)).ok()?;
        (Digest::of(&content) == *digest).then_some(content)
    }

    /// Stores a copy, unless there is one.
    pub(crate) fn keep(&self, digest: Digest, content: &[u8]) -> Result<(), AgentError> {
        let path = self.path(&digest);
        if path.exists() {
            return Ok(());
        }
        atomic_file::replace(&path, atomic_file::SHARED, content)
            .map_err(AgentError::file(FileOperation::Write, &path))
    }

    /// Removes the oldest copies until the rest fits into the cap.
    pub(crate) fn trim(&self) -> Result<(), AgentError> {
        self.trim_to(KEPT_BYTES_MAX).map_err(AgentError::file(FileOperation::List, &self.0))
    }

    fn trim_to(&self, cap: u64) -> io::Result<()> {
        let mut copies: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            copies.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        copies.sort();
        let mut bytes: u64 = copies.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in copies {
            if bytes <= cap {
                break;
            }
            std::fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.to_hex())
    }
}
