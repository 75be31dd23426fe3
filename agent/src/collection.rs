//! The collection of projects that are no longer used, on the user's machine.
//!
//! It happens when an agent starts, before it listens: then no run uses a project, since the
//! lock of the agent's keys excludes another agent. A project whose workspace is gone is kept
//! for some days, because a disk that is not mounted looks the same, and a run may have left
//! results there that have not been fetched. Directories are moved aside at once and deleted on a
//! thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::log;
use crate::project::Project;

/// Seconds of a day.
const DAY_SECS: u64 = 24 * 60 * 60;

/// How long the project of a workspace that does not exist is kept after its last use.
const GONE_KEPT: Duration = Duration::from_secs(7 * DAY_SECS);

/// How long any project is kept after its last use.
const KEPT: Duration = Duration::from_secs(90 * DAY_SECS);

/// Whether what is kept of a workspace is deleted if it was last used so long ago.
pub fn is_collected(workspace_exists: bool, unused: Duration) -> bool {
    unused > if workspace_exists { KEPT } else { GONE_KEPT }
}

/// Deletes the projects below `disk` that are no longer used at the time `now`. A project
/// that cannot be deleted stays until the next start.
pub(crate) fn collect(disk: &Path, now: SystemTime) {
    let trash = disk.join("deleted");
    let moved = move_aside(&disk.join("projects"), &trash, now);
    if !moved.is_empty() {
        tracing::info!("deleting {} projects that are no longer used: {moved:?}", moved.len());
    }
    // An earlier process may not have finished.
    if trash.exists() {
        log::spawn(move || {
            if let Err(error) = fs::remove_dir_all(&trash) {
                tracing::warn!("cannot delete `{}`: {error}", trash.display());
            }
        });
    }
}

/// Moves the projects to delete into `trash`. Returns their workspaces.
fn move_aside(projects: &Path, trash: &Path, now: SystemTime) -> Vec<PathBuf> {
    let mut moved = Vec::new();
    for entry in fs::read_dir(projects).into_iter().flatten().flatten() {
        let directory = entry.path();
        let Some(name) = Project::name_of(&directory) else { continue };
        let used = Project::last_used(&directory);
        let unused = used.and_then(|used| now.duration_since(used).ok()).unwrap_or_default();
        let workspace = name.absolute();
        if !is_collected(workspace.exists(), unused) {
            continue;
        }
        let aside = trash.join(entry.file_name());
        match fs::create_dir_all(trash).and_then(|()| fs::rename(&directory, aside)) {
            Ok(()) => moved.push(workspace),
            Err(error) => tracing::warn!("cannot move `{}`: {error}", directory.display()),
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use burst_protocol::RelativePath;
    use burst_sync::stat_cache::write_record;

    use super::*;

    #[test]
    fn a_project_is_kept_by_its_workspace_and_its_use() {
        let days = |days: u64| Duration::from_secs(days * DAY_SECS);
        assert!(!is_collected(true, days(90)));
        assert!(is_collected(true, days(91)));
        assert!(!is_collected(false, days(7)));
        assert!(is_collected(false, days(8)));
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
        assert!(move_aside(&projects, &trash, after(1)).is_empty());
        assert_eq!(move_aside(&projects, &trash, after(10)), [gone.absolute()]);
        assert!(projects.join("here").exists() && trash.join("gone/tree").exists());
        assert_eq!(move_aside(&projects, &trash, after(100)), [here.absolute()]);
        assert!(projects.join("other").exists());
    }
}
