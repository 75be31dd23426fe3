//! The collection of projects that are no longer used, on the user's machine.
//!
//! It happens when an agent starts, before it listens: then no run uses a project, since the
//! lock of the agent's keys excludes another agent. A project whose workspace is gone is kept
//! for some days, because a disk that is not mounted looks the same. While the workspace exists, a
//! project stays for as long as it has results of runs that were not fetched. Directories are
//! moved aside at once and deleted on a thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::copies::{ProjectCopy, has_results, project_copies};
use crate::log;

/// The directory of a disk with projects that are being deleted.
const TRASH: &str = "deleted";

/// Seconds of a day.
const DAY_SECS: u64 = 24 * 60 * 60;

/// How long the project of a workspace that does not exist is kept after its last use.
const GONE_KEPT: Duration = Duration::from_secs(7 * DAY_SECS);

/// How long any project is kept after its last use.
const KEPT: Duration = Duration::from_secs(90 * DAY_SECS);

/// Whether what is kept of a workspace is deleted if it was last used so long ago.
/// A workspace is looked for only where that decides: it may be on a disk that does not answer.
pub fn is_collected(workspace: &Path, unused: Duration) -> bool {
    unused > KEPT || unused > GONE_KEPT && !workspace.exists()
}

/// Deletes the projects below `disk` that are no longer used at the time `now`. A project
/// that cannot be deleted stays until the next start.
pub(crate) fn collect(disk: &Path, now: SystemTime) {
    let moved = move_unused(disk, now);
    if !moved.is_empty() {
        tracing::info!("deleting {} projects that are no longer used: {moved:?}", moved.len());
    }
    // An earlier process may not have finished.
    let trash = disk.join(TRASH);
    if trash.exists() {
        log::spawn(move || {
            if let Err(error) = fs::remove_dir_all(&trash) {
                tracing::warn!("cannot delete `{}`: {error}", trash.display());
            }
        });
    }
}

/// Moves the projects to delete aside. Returns their workspaces.
fn move_unused(disk: &Path, now: SystemTime) -> Vec<PathBuf> {
    let mut moved = Vec::new();
    for copy in project_copies(disk) {
        let unused = copy.used.and_then(|used| now.duration_since(used).ok()).unwrap_or_default();
        if !is_collected(&copy.workspace, unused) || has_results(&copy) {
            continue;
        }
        let ProjectCopy { directory, workspace, .. } = copy;
        match move_aside(disk, &directory) {
            Ok(_) => moved.push(workspace),
            Err(error) => tracing::warn!("cannot move `{}`: {error}", directory.display()),
        }
    }
    moved
}

/// Moves a project to where the next start of an agent deletes it, if this process cannot.
/// Returns where it is then.
pub(crate) fn move_aside(disk: &Path, project: &Path) -> io::Result<PathBuf> {
    let trash = disk.join(TRASH);
    let aside = trash.join(project.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    fs::create_dir_all(trash)?;
    fs::rename(project, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use burst_protocol::RelativePath;
    use burst_sync::stat_cache::write_record;

    use super::*;

    #[test]
    fn a_project_is_kept_by_its_workspace_and_its_use() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let (here, gone) = (Path::new("/"), Path::new("/no/such/workspace"));
        let second = Duration::from_secs(1);
        assert!(!is_collected(here, days(90)));
        assert!(is_collected(here, days(90) + second));
        assert!(!is_collected(gone, days(7)));
        assert!(is_collected(gone, days(7) + second));
    }

    #[test]
    fn unused_projects_are_moved_aside_and_others_stay() {
        let disk = tempfile::tempdir().unwrap();
        let projects = disk.path().join("projects");
        let here = RelativePath::below_root(disk.path().as_os_str().as_encoded_bytes()).unwrap();
        let gone = RelativePath::new(b"no/such/workspace").unwrap();
        for (key, name) in [("here", &here), ("gone", &gone)] {
            fs::create_dir_all(projects.join(key).join("tree")).unwrap();
            write_record(&projects.join(key).join("name"), name).unwrap();
        }
        // Not one of ours.
        fs::create_dir(projects.join("other")).unwrap();
        let trash = disk.path().join("deleted");
        let after = |days: u64| SystemTime::now() + Duration::from_secs(days * DAY_SECS);
        assert!(move_unused(disk.path(), after(1)).is_empty());
        assert_eq!(move_unused(disk.path(), after(10)), [gone.absolute()]);
        assert!(projects.join("here").exists() && trash.join("gone/tree").exists());
        assert_eq!(move_unused(disk.path(), after(100)), [here.absolute()]);
        assert!(projects.join("other").exists());
    }

    #[test]
    fn a_collection_moves_projects_aside_and_logs_their_workspaces() {
        let disk = tempfile::tempdir().unwrap();
        let project = disk.path().join("projects/gone");
        fs::create_dir_all(&project).unwrap();
        let name = RelativePath::new(b"no/such/workspace").unwrap();
        write_record(&project.join("name"), &name).unwrap();
        let path = disk.path().join("log");
        let log = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(std::sync::Arc::new(fs::File::create(&path).unwrap()))
            .finish();
        tracing::subscriber::with_default(log, || {
            collect(disk.path(), SystemTime::now());
            assert!(project.exists());
            collect(disk.path(), SystemTime::now() + 2 * GONE_KEPT);
            assert!(!project.exists());
        });
        let expected = " INFO burst_agent::collection: \
                        deleting 1 projects that are no longer used: [\"/no/such/workspace\"]\n";
        assert_eq!(fs::read_to_string(path).unwrap(), expected);
    }
}
