//! The locks that a cargo here holds while it builds in a target directory.
//!
//! cargo locks the directory of each profile that it builds in. Without these locks it could write
//! a fingerprint between the moment at which it is removed and that at which the output that it
//! vouches for is replaced. They are taken as cargo takes them, before anything of a unit is
//! replaced, and only then: programs at the top of a profile's directory are replaced without.
//!
//! Source: `cargo::core::compiler::layout`. A file system without locks has none, as for cargo.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use burst_protocol::RelativePath;
use burst_sync::SyncError;
use burst_sync::fingerprint::unit_of;
use burst_sync::root_directory::RootDirectory;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The name of the lock in the directory of a profile.
const NAME: &[u8] = b".cargo-lock";

/// The locks that are held.
#[derive(Debug)]
pub(super) struct CargoLocks {
    /// Closing a file releases its lock.
    _held: Vec<File>,
}

impl CargoLocks {
    /// Takes the locks of the profiles to whose units these paths belong, in the order of their
    /// names. Blocks while a cargo builds there, which `waits` is told of, with the directory.
    pub(super) fn take<'p>(
        target: &RootDirectory,
        paths: impl Iterator<Item = &'p RelativePath>,
        waits: &dyn Fn(&str),
    ) -> Result<Self, SyncError> {
        let profiles: BTreeSet<Vec<u8>> =
            paths.filter_map(unit_of).map(|unit| unit.profile).collect();
        let mut held = Vec::new();
        for profile in profiles {
            let parts = [profile.as_slice(), NAME].into_iter().filter(|part| !part.is_empty());
            let Ok(path) = RelativePath::new(&parts.collect::<Vec<_>>().join(b"/".as_slice()))
            else {
                continue;
            };
            let taken = lock(target, &path, waits);
            held.extend(taken.map_err(|source| target.unwritable(&path, source))?);
        }
        Ok(Self { _held: held })
    }
}

/// Takes one lock; `None` if the file system has none.
fn lock(
    target: &RootDirectory,
    path: &RelativePath,
    waits: &dyn Fn(&str),
) -> io::Result<Option<File>> {
    if let Some(profile) = path.parent() {
        target.create_directories(&profile, false)?;
    }
    let file = match target.create_file(path, 0o644) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => target.open_file(path)?,
        created => created?,
    };
    let taken = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            let profile = path.parent().unwrap_or_else(|| path.clone());
            waits(&target.absolute(&profile).display().to_string());
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
        }
        taken => taken,
    };
    match taken {
        Ok(()) => Ok(Some(file)),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_profiles_of_units_are_locked_and_others_are_not() {
        let disk = tempfile::tempdir().unwrap();
        let target = RootDirectory::open(disk.path()).unwrap();
        let paths = [
            path("debug/app"),
            path("x86/release/deps/libapp-0123456789abcdef.rlib"),
            path("x86/release/deps/libkit-0123456789abcdee.rlib"),
        ];
        let waited = RefCell::new(Vec::new());
        let waits = |profile: &str| waited.borrow_mut().push(profile.to_owned());
        let locks = CargoLocks::take(&target, paths.iter(), &waits).unwrap();
        assert!(!disk.path().join("debug").exists());
        let lock = disk.path().join("x86/release/.cargo-lock");
        let other = File::open(&lock).unwrap();
        let try_lock = || rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(try_lock(), Err(Errno::WOULDBLOCK));
        drop(locks);
        try_lock().unwrap();
        assert_eq!(*waited.borrow(), [""; 0]);
        // Another one holds it.
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let waits = |profile: &str| send.send(profile.to_owned()).unwrap();
                CargoLocks::take(&target, paths.iter(), &waits).unwrap();
            });
            let profile = lock.parent().unwrap().display().to_string();
            assert_eq!(receive.recv().unwrap(), profile);
            drop(other);
        });
    }
}
