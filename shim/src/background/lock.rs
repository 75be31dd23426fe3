//! The lock of a background process: an exclusive `flock`, held until the process exits.
//!
//! The kernel releases it however the process ends, so whether one runs is never guessed
//! from a process id. Probes take the lock shared and for a moment only, so that two
//! probes at the same time do not mistake each other for the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};
use tokio::sync::oneshot;

use crate::directories::unusable;
use crate::error::Error;

/// Takes a lock, whose file is created if necessary; `None` if another process holds it.
pub(crate) fn try_take(path: &Path) -> Result<Option<File>, Error> {
    let take = || {
        let file = create(path)?;
        Ok(try_flock(&file, FlockOperation::NonBlockingLockExclusive)?.then_some(file))
    };
    take().map_err(|source| failed(path, &source))
}

/// Takes a lock, and waits for it without limit: for locks that are held briefly.
pub(crate) fn take(path: &Path) -> Result<File, Error> {
    let take = || {
        let file = create(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    take().map_err(|source| failed(path, &source))
}

/// Takes a lock, and waits for it up to `deadline`; `None` if another process holds it even then.
/// Blocks: not for async code.
pub(crate) fn take_within(path: &Path, deadline: Duration) -> Result<Option<File>, Error> {
    let take = || {
        let file = create(path)?;
        if try_flock(&file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(Some(file));
        }
        let (send, receive) = mpsc::channel();
        let waiting = std::thread::Builder::new().name("lock".into()).spawn(move || {
            let taken = flock(&file, FlockOperation::LockExclusive);
            // After the deadline there is no receiver, and the lock is released at once.
            drop(send.send(taken.map(|()| file)));
        })?;
        match receive.recv_timeout(deadline) {
            Ok(taken) => {
                // The thread has ended when this returns, so no signal is delivered to it.
                drop(waiting.join());
                taken.map(Some)
            }
            Err(_) => Ok(None),
        }
    };
    take().map_err(|source| failed(path, &source))
}

/// Whether a process holds the lock. A file that does not exist is not locked.
pub(crate) fn is_held(path: &Path) -> Result<bool, Error> {
    let is_held = || match open(path)? {
        None => Ok(false),
        Some(file) => Ok(!try_flock(&file, FlockOperation::NonBlockingLockShared)?),
    };
    is_held().map_err(|source| failed(path, &source))
}

/// Waits until no process holds the lock; false if one still does after `deadline`.
/// Blocks: not for async code.
pub(crate) fn wait_until_released(path: &Path, deadline: Duration) -> Result<bool, Error> {
    let (send, receive) = mpsc::channel();
    // After the deadline there is no receiver.
    let waiting = on_release(path, move |released| drop(send.send(released)));
    let released = waiting.and_then(|()| {
        receive.recv_timeout(deadline).map_or(Ok(false), |released| released.map(|()| true))
    });
    released.map_err(|source| failed(path, &source))
}

/// Completes when no process holds the lock.
pub(crate) async fn released(path: &Path) -> Result<(), Error> {
    let (send, receive) = oneshot::channel();
    let released = match on_release(path, move |released| drop(send.send(released))) {
        Ok(()) => receive.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
        Err(source) => Err(source),
    };
    released.map_err(|source| failed(path, &source))
}

fn failed(path: &Path, source: &io::Error) -> Error {
    unusable("lock", path, source)
}

/// Calls back on a thread of its own once no process holds the lock. That thread cannot be
/// cancelled; it ends with this process at the latest.
fn on_release(path: &Path, call: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<()> {
    let Some(file) = open(path)? else {
        call(Ok(()));
        return Ok(());
    };
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let released = flock(&file, FlockOperation::LockShared);
        drop(file);
        call(released);
    })?;
    Ok(())
}

/// Opens the file of a lock, which is created if necessary. What is in it stays.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    // Without waiting for a writer, whatever it is.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))?)
}

/// Whether a lock could be taken at once.
fn try_flock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_lock_is_an_event() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(!is_held(&path).unwrap());
        assert!(wait_until_released(&path, Duration::ZERO).unwrap());
        let held = try_take(&path).unwrap().unwrap();
        assert!(is_held(&path).unwrap());
        assert!(try_take(&path).unwrap().is_none());
        assert!(!wait_until_released(&path, Duration::from_millis(1)).unwrap());
        let (send, receive) = mpsc::channel();
        on_release(&path, move |released| send.send(released.is_ok()).unwrap()).unwrap();
        assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(held);
        assert!(receive.recv_timeout(Duration::from_secs(20)).unwrap());
        assert!(wait_until_released(&path, Duration::from_secs(20)).unwrap());
    }

    #[test]
    fn a_lock_is_waited_for_until_a_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = take_within(&path, Duration::ZERO).unwrap().unwrap();
        assert!(take_within(&path, Duration::from_millis(1)).unwrap().is_none());
        let (send, receive) = mpsc::channel();
        let waited = path.clone();
        std::thread::spawn(move || {
            send.send(take_within(&waited, Duration::from_secs(20)).unwrap().is_some()).unwrap();
        });
        drop(held);
        assert!(receive.recv_timeout(Duration::from_secs(20)).unwrap());
        // That one has released it.
        assert!(take_within(&path, Duration::from_secs(20)).unwrap().is_some());
    }
}
