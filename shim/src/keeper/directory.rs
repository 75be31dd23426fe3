//! The keeper's directory: its lock, its socket, its log, and its process id, which is
//! for people: whether there is a keeper is told by the lock alone.

use std::fs::{DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::directories::unusable;
use crate::error::Error;

/// Bytes of a socket's path: `sun_path` less its NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct KeeperDirectory(PathBuf);

/// Proof that nobody else is the keeper.
#[derive(Debug)]
pub(crate) struct KeeperLock {
    _file: File,
}

impl KeeperDirectory {
    /// Below the state directory; made, for the user alone, if it is not there.
    pub(crate) fn open(state: &Path) -> Result<Self, Error> {
        let path = state.join("keeper");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| unusable("create", &path, &source))?;
        Ok(Self(path))
    }

    /// The log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("keeper.log")
    }

    /// Takes the keeper's place; none if there is a keeper.
    pub(crate) fn take(&self) -> Result<Option<KeeperLock>, Error> {
        let file = self.lock_file("lock")?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let path = self.0.join("pid");
                std::fs::write(&path, format!("{}\n", std::process::id()))
                    .map_err(|source| unusable("write", &path, &source))?;
                Ok(Some(KeeperLock { _file: file }))
            }
            Err(_) => Ok(None),
        }
    }

    /// Whether there is a keeper.
    pub(crate) fn is_taken(&self) -> Result<bool, Error> {
        let file = self.lock_file("lock")?;
        // Shared, so that two who ask at once do not take each other for one.
        Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Taken by those who start a keeper, one after the other.
    pub(crate) fn lock_start(&self) -> Result<File, Error> {
        let file = self.lock_file("start.lock")?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| unusable("lock", &self.0.join("start.lock"), &errno.into()))?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> Result<File, Error> {
        let path = self.0.join(name);
        File::create(&path).map_err(|source| unusable("write", &path, &source))
    }

    /// The socket's path, and what keeps it valid. One that is too long for a socket is
    /// named by way of the opened directory.
    pub(crate) fn socket(&self) -> Result<(PathBuf, Option<File>), Error> {
        let path = self.0.join("socket");
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok((path, None));
        }
        let directory = File::open(&self.0).map_err(|source| unusable("open", &self.0, &source))?;
        let short = format!("/proc/self/fd/{}/socket", directory.as_raw_fd());
        Ok((PathBuf::from(short), Some(directory)))
    }
}
