//! The collection of what is remembered of workspaces that are no longer used.
//!
//! Each directory of state has a file `root` with the path of its workspace. A command holds it
//! locked, shared, for as long as it uses the state, and sets its time; a collection deletes a
//! directory only while it holds that lock alone. So nothing in use is deleted, and a command
//! that comes at that moment makes a new directory.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burst_agent::is_collected;
use rustix::fs::FlockOperation;

use crate::directories::{create_private, unusable};
use crate::error::Error;

/// The file with the path of the workspace.
const ROOT: &str = "root";

/// The beginning of the name of a directory that is being deleted.
const DELETED: &str = "deleted-";

/// Creates the directory of a workspace's state if it does not exist. It is in use until the
/// result is dropped.
pub(super) fn claim(directory: &Path, workspace: &Path, now: SystemTime) -> Result<File, Error> {
    let path = directory.join(ROOT);
    loop {
        create_private(directory)?;
        match claim_file(&path, workspace, now) {
            Ok(Some(file)) => return Ok(file),
            // Deleted before it was locked.
            Ok(None) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(unusable("use", &path, &source)),
        }
    }
}

fn claim_file(path: &Path, workspace: &Path, now: SystemTime) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockShared))?;
    if fs::metadata(path)?.ino() != file.metadata()?.ino() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    // Commands that do this at once write the same.
    if text != workspace.as_os_str().as_bytes() {
        file.rewind()?;
        file.write_all(workspace.as_os_str().as_bytes())?;
    }
    file.set_modified(now)?;
    Ok(Some(file))
}

/// Deletes the states below `cache` that are no longer used at the time `now`. One that
/// cannot be deleted stays until the next collection.
pub(crate) fn collect(cache: &Path, now: SystemTime) {
    let states = cache.join("workspaces");
    for entry in fs::read_dir(&states).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let deleted = match name.as_bytes().starts_with(DELETED.as_bytes()) {
            // Another command did not finish.
            true => Ok(Some(entry.path())),
            false => move_aside(&states, &name, now),
        };
        if let Ok(Some(directory)) = deleted {
            tracing::info!(directory = %directory.display(), "deleting the state of a workspace");
            drop(fs::remove_dir_all(directory));
        }
    }
}

/// Moves a state that is no longer used aside; returns where it is then.
fn move_aside(states: &Path, name: &OsString, now: SystemTime) -> io::Result<Option<PathBuf>> {
    let directory = states.join(name);
    // An earlier version made none; the next command in the workspace does.
    let mut file = File::open(directory.join(ROOT))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let unused = now.duration_since(file.metadata()?.modified()?).unwrap_or_default();
    let mut workspace = Vec::new();
    file.read_to_end(&mut workspace)?;
    if !is_collected(Path::new(&OsString::from_vec(workspace)), unused) {
        return Ok(None);
    }
    let mut aside = OsString::from(DELETED);
    aside.push(name);
    let aside = states.join(aside);
    fs::rename(directory, &aside)?;
    Ok(Some(aside))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unused_states_are_deleted_and_others_stay() {
        let cache = tempfile::tempdir().unwrap();
        let states = cache.path().join("workspaces");
        let (here, gone) = (states.join("here-local"), states.join("gone-local"));
        let now = SystemTime::now();
        let in_use = claim(&here, cache.path(), now).unwrap();
        let last = claim(&gone, Path::new("/no/such/workspace"), now).unwrap();
        let after = |days: u64| now + Duration::from_secs(days * 24 * 60 * 60);
        collect(cache.path(), after(10));
        assert!(here.exists() && gone.exists(), "it is in use");
        drop(last);
        collect(cache.path(), after(5));
        assert!(gone.exists());
        collect(cache.path(), after(10));
        assert!(here.exists() && !gone.exists());
        collect(cache.path(), after(100));
        assert!(here.exists(), "it is in use");
        drop(in_use);
        // A use counts from its own time.
        drop(claim(&here, cache.path(), after(90)).unwrap());
        collect(cache.path(), after(100));
        assert!(here.exists());
        collect(cache.path(), after(200));
        assert_eq!(fs::read_dir(&states).unwrap().count(), 0);
        drop(claim(&here, cache.path(), now).unwrap());
        assert_eq!(fs::read(here.join(ROOT)).unwrap(), cache.path().as_os_str().as_bytes());
    }
}
