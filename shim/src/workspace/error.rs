//! Errors of reading the workspace, and of what is remembered about it.

use burst_sync::SyncError;

use crate::directories::unusable;
use crate::error::{Error, ErrorKind};
use crate::settings::PROJECT_FILE;

/// An error of scanning, reading or remembering the workspace.
pub(crate) fn unreadable(error: SyncError) -> Error {
    let of = |kind, hint: String| {
        let message = match kind {
            ErrorKind::WorkspaceChanged => "the workspace keeps changing while it is read",
            _ => "the workspace cannot be sent",
        };
        Error::new(kind, message, hint).caused_by(&error)
    };
    match &error {
        SyncError::Changed(_) => of(
            ErrorKind::WorkspaceChanged,
            format!(
                "wait until no program writes to the workspace, or add the files that change to \
                 `extra_excludes` in {PROJECT_FILE}"
            ),
        ),
        SyncError::Read { path, .. } => of(
            ErrorKind::Workspace,
            format!(
                "make `{}` readable, or add it to `extra_excludes` in {PROJECT_FILE}",
                path.display()
            ),
        ),
        SyncError::Path { .. } => of(
            ErrorKind::Workspace,
            format!("shorten or rename the path, or add it to `extra_excludes` in {PROJECT_FILE}"),
        ),
        SyncError::Root { path, .. } => of(
            ErrorKind::Workspace,
            format!("check that the directory `{}` exists and is readable", path.display()),
        ),
        SyncError::Store { path, source } => unusable("use", path, source),
        _ => of(ErrorKind::Workspace, "run the command again with `-v` to see more".into()),
    }
}
