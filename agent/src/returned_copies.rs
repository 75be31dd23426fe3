//! Copies of what was returned last, so that the next version of a program can
//! travel as a patch. Only kept where the link is worth it. A cache: what is read
//! from it is hashed, and the oldest go first.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burst_protocol::Digest;

use crate::atomic_file;
use crate::error::{AgentError, FileOperation};

/// The largest file that is copied; making a patch needs it in memory.
pub(crate) const COPIED_BYTES_MAX: u64 = 128 << 20;

/// Bytes of all copies of a project.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// A directory of copies.
#[derive(Debug)]
pub(crate) struct ReturnedCopies(PathBuf);

impl ReturnedCopies {
    /// Opens the directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, AgentError> {
        std::fs::create_dir_all(directory)
            .map_err(AgentError::file(FileOperation::CreateDirectory, directory))?;
        Ok(Self(directory.to_owned()))
    }

    /// A copy, if it is still right.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let content = std::fs::read(self.path(digest)).ok()?;
        (Digest::of(&content) == *digest).then_some(content)
    }

    /// Keeps a copy.
    pub(crate) fn keep(&self, digest: Digest, content: &[u8]) -> Result<(), AgentError> {
        let path = self.path(&digest);
        if path.exists() {
            return Ok(());
        }
        atomic_file::replace(&path, atomic_file::SHARED, content)
            .map_err(AgentError::file(FileOperation::Write, &path))
    }

    /// Removes the oldest copies that are too much.
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
