//! What a server's sudden end may have spoilt in target directories.
//!
//! A server can be deleted while cargo runs. What the kernel had not yet written is then
//! missing, and ext4 keeps a file's name and time although its content is gone: cargo
//! would take an empty library for a fresh one. So a mark is written, and forced to the
//! disk, before a run; it is removed when all that the run has written is on the disk.
//! Where a mark is found on a volume that was just mounted, the records by which cargo
//! calls a crate fresh (`.fingerprint/CRATE-HASH/`) that are as new as the mark are
//! removed: cargo makes those crates again, and no others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The mark's name in a project's directory.
const MARK: &str = "running";

/// Directories between a target directory and `.fingerprint`: `TRIPLE/PROFILE`.
const PROFILE_DEPTH: usize = 3;

/// Before a run.
pub(crate) fn set_mark(project: &Path) -> io::Result<()> {
    let path = project.join(MARK);
    if path.exists() {
        // Another run is under way.
        return Ok(());
    }
    File::create(&path)?.sync_all()?;
    File::open(project)?.sync_all()
}

/// After the last run: writes all to the disk, then removes the mark.
pub(crate) fn clear_mark(project: &Path) -> io::Result<()> {
    flush(project)?;
    match fs::remove_file(project.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes all that is still in memory to the disk behind a path.
pub(crate) fn flush(place: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(place)?)?)
}

/// On a volume that was just mounted: takes back what a cut-off run has called fresh.
/// Returns how many crates have to be made again.
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
    fn what_a_cut_off_run_called_fresh_is_made_again() {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        let old = record(project, "old-1", Duration::from_secs(60));
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
        set_mark(project).unwrap();
        let new = record(project, "new-2", Duration::ZERO);
        assert_eq!(invalidate_interrupted(project).unwrap(), 1);
        assert!(old.exists() && !new.exists());
        // It is invalidated once, and a run that ended well leaves nothing to mend.
        record(project, "new-2", Duration::ZERO);
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
        set_mark(project).unwrap();
        clear_mark(project).unwrap();
        assert_eq!(invalidate_interrupted(project).unwrap(), 0);
    }
}
