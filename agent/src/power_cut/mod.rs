//! Repair of target directories after the sudden end of a server.
//!
//! A server can be deleted while cargo runs. Data that the kernel had not yet written is then
//! missing. ext4 can keep the name and time of a file without its content, and cargo would
//! take an empty library for a fresh one. Therefore a mark is written and forced to the disk
//! before a run, and removed after everything that the run has written is on the disk. If a
//! volume has a mark when it is mounted, the fingerprints (`.fingerprint/CRATE-HASH/`) that
//! are as new as the mark are removed, so that cargo compiles those crates again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The mark's name in a project's directory.
const MARK: &str = "running";

/// Directories between a target directory and `.fingerprint`: `TRIPLE/PROFILE`.
const PROFILE_DEPTH: usize = 3;

/// Sets the mark before a run.
pub(crate) fn set_mark(project: &Path) -> io::Result<()> {
    let path = project.join(MARK);
    if path.exists() {
        // Another run has set it.
        return Ok(());
    }
    File::create(&path)?.sync_all()?;
    File::open(project)?.sync_all()
}

/// Clears the mark after the last run, once everything is written to the disk.
pub(crate) fn clear_mark(project: &Path) -> io::Result<()> {
    flush(project)?;
    match fs::remove_file(project.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes everything that is still in memory to the disk of a path.
pub(crate) fn flush(place: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(place)?)?)
}

/// Removes the fingerprints of an interrupted run from a volume that was just mounted.
/// Returns their number; zero if no run was interrupted.
pub(crate) fn invalidate_interrupted(project: &Path) -> io::Result<usize> {
    let mark = project.join(MARK);
    let since = match fs::metadata(&mark) {
        Ok(found) => found.modified()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut invalidated = 0;
    for target in entries(&project.join("targets")) {
        invalidated += invalidate_below(&target, since, PROFILE_DEPTH)?;
    }
    clear_mark(project)?;
    Ok(invalidated)
}

fn invalidate_below(directory: &Path, since: SystemTime, depth: usize) -> io::Result<usize> {
    let mut invalidated = 0;
    for record in entries(&directory.join(".fingerprint")) {
        let is_new = |path: &PathBuf| {
            let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
            modified.is_ok_and(|modified| modified >= since)
        };
        if is_new(&record) || entries(&record).iter().any(is_new) {
            fs::remove_dir_all(&record)?;
            invalidated += 1;
        }
    }
    if depth > 0 {
        for below in entries(directory) {
            let is_directory = fs::symlink_metadata(&below).is_ok_and(|found| found.is_dir());
            let name = below.file_name().unwrap_or_default();
            if is_directory
                && !["deps", "build", "incremental", ".fingerprint"]
                    .iter()
                    .any(|other| name == *other)
            {
                invalidated += invalidate_below(&below, since, depth - 1)?;
            }
        }
    }
    Ok(invalidated)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(project: &Path, name: &str, age: Duration) -> PathBuf {
        let record = project.join("targets/t/debug/.fingerprint").join(name);
        fs::create_dir_all(&record).unwrap();
        let file = File::create(record.join("lib-x")).unwrap();
        let time = SystemTime::now() - age;
        file.set_modified(time).unwrap();
        File::open(&record).unwrap().set_modified(time).unwrap();
        record
    }

    #[test]
    fn fingerprints_of_an_interrupted_run_are_removed_once() {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        let old = record(project, "old-1", Duration::from_secs(60));
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
        set_mark(project).unwrap();
        let new = record(project, "new-2", Duration::ZERO);
        assert_eq!(invalidate_interrupted(project).unwrap(), 1);
        assert!(old.exists() && !new.exists());
        // Neither a second mount nor a run that has ended removes anything.
        record(project, "new-2", Duration::ZERO);
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
        set_mark(project).unwrap();
        clear_mark(project).unwrap();
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
    }
}
