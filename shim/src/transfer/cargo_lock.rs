//! The locks that a cargo here holds while it builds in a target directory.
//!
//! cargo locks the directory of each profile that it builds in. Without these locks it could write
//! a fingerprint between the moment at which it is removed and that at which the output that it
//! vouches for is replaced. They are taken before anything of a unit is replaced, and only then:
//! programs at the top of a profile's directory are replaced without. No lock is held while another
//! one is waited for: cargo has orders of its own, and a build script can start a cargo in another
//! profile.
//!
//! Source: `cargo::core::compiler::layout`. A file system without locks has none, as for cargo;
//! where cargo's file is no regular one, nothing is locked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use burst_protocol::RelativePath;
use burst_sync::root_directory::RootDirectory;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::held_units::join;

/// The name of the lock in the directory of a profile.
const NAME: &[u8] = b".cargo-lock";

/// The locks that are held.
#[derive(Debug)]
pub(super) struct CargoLocks {
    /// Closing a file releases its lock.
    _held: Vec<File>,
}

impl CargoLocks {
    /// Takes the locks of these profiles. Blocks while a cargo builds in one of them, which `waits`
    /// is told of, with the directory.
    pub(super) fn take(
        target: &RootDirectory,
        profiles: &BTreeSet<Vec<u8>>,
        waits: &dyn Fn(&str),
    ) -> Self {
        let files: Vec<(RelativePath, File)> =
            profiles.iter().filter_map(|profile| lock_file(target, profile)).collect();
        // The one that was waited for.
        let mut first: Option<usize> = None;
        loop {
            let blocked = files.iter().enumerate().position(|(index, (_, file))| {
                let is_held = first == Some(index);
                !is_held && try_lock(file) == Err(Errno::WOULDBLOCK)
            });
            let Some(blocked) = blocked else { break };
            for (_, file) in &files {
                rustix::fs::flock(file, FlockOperation::Unlock).ok();
            }
            let (path, file) = &files[blocked];
            let profile = path.parent().unwrap_or_else(|| path.clone());
            waits(&target.absolute(&profile).display().to_string());
            rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::LockExclusive))
                .ok();
            first = Some(blocked);
        }
        Self { _held: files.into_iter().map(|(_, file)| file).collect() }
    }
}

fn try_lock(file: &File) -> rustix::io::Result<()> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// The file of a profile's lock, created if it does not exist.
fn lock_file(target: &RootDirectory, profile: &[u8]) -> Option<(RelativePath, File)> {
    let path = RelativePath::new(&join(profile, NAME)).ok()?;
    if let Some(profile) = path.parent() {
        target.create_directories(&profile, false).ok()?;
    }
    let file = match target.create_file(&path, 0o644) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => target.open_file(&path),
        created => created,
    };
    Some((path, file.ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn profiles(names: &[&str]) -> BTreeSet<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn no_lock_is_held_while_another_one_is_waited_for() {
        let disk = tempfile::tempdir().unwrap();
        let target = RootDirectory::open(disk.path()).unwrap();
        let both = profiles(&["debug", "x86/release"]);
        let never = |profile: &str| panic!("{profile}");
        let locks = CargoLocks::take(&target, &both, &never);
        let [debug, release] = ["debug", "x86/release"].map(|profile| {
            let path = disk.path().join(profile);
            (path.display().to_string(), File::open(path.join(".cargo-lock")).unwrap())
        });
        assert_eq!(try_lock(&debug.1), Err(Errno::WOULDBLOCK));
        assert_eq!(try_lock(&release.1), Err(Errno::WOULDBLOCK));
        drop(locks);
        try_lock(&release.1).unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| {
                let waits = |profile: &str| send.send(profile.to_owned()).unwrap();
                CargoLocks::take(&target, &both, &waits)
            });
            assert_eq!(receive.recv().unwrap(), release.0);
            try_lock(&debug.1).unwrap();
            drop(release);
            assert_eq!(receive.recv().unwrap(), debug.0);
            let release = File::open(disk.path().join("x86/release/.cargo-lock")).unwrap();
            rustix::fs::flock(&release, FlockOperation::LockExclusive).unwrap();
            drop((debug, release));
            drop(taking.join().unwrap());
        });
    }

    #[test]
    fn what_is_no_lock_file_is_not_locked() {
        let disk = tempfile::tempdir().unwrap();
        let target = RootDirectory::open(disk.path()).unwrap();
        let lock = |profile: &str| disk.path().join(profile).join(".cargo-lock");
        for profile in ["fifo", "link", "directory"] {
            std::fs::create_dir(disk.path().join(profile)).unwrap();
        }
        nix::unistd::mkfifo(&lock("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("../elsewhere", lock("link")).unwrap();
        std::fs::create_dir(lock("directory")).unwrap();
        std::fs::write(disk.path().join("file"), "").unwrap();
        let waits = |profile: &str| panic!("{profile}");
        let all = profiles(&["fifo", "link", "directory", "file"]);
        assert_eq!(CargoLocks::take(&target, &all, &waits)._held.len(), 0);
        assert!(!disk.path().join("elsewhere").exists());
    }
}
