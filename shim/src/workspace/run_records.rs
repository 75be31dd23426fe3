//! What is remembered of the runs of a workspace, in its [`WorkspaceState`]: the files that they
//! have lacked, and the sources that they have written.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_sync::stat_cache::{read_record, write_record};

use super::error::unreadable;
use super::state::{INPUTS, WRITTEN, WorkspaceState, name_of};
use crate::agent::provider;
use crate::background::lock;
use crate::error::Error;

impl WorkspaceState {
    /// The files that failed runs have lacked, below `/`: they are sent whatever git says.
    pub(crate) fn inputs(&self) -> BTreeSet<RelativePath> {
        read_record(&self.directory().join(INPUTS)).unwrap_or_default()
    }

    /// Remembers further files of that kind.
    pub(crate) fn note_inputs(&self, more: &BTreeSet<RelativePath>) -> Result<(), Error> {
        let _lock = lock::take(&self.directory().join("inputs.lock"))?;
        let inputs: BTreeSet<RelativePath> = self.inputs().union(more).cloned().collect();
        write_record(&self.directory().join(INPUTS), &inputs).map_err(unreadable)
    }

    /// Whether a run has written a file here, which has this absolute path: a run of any workspace
    /// around it, with any provider.
    pub(crate) fn is_written_by_run(&self, file: &Path) -> bool {
        let states = self.directory().parent().unwrap_or_else(|| self.directory());
        let has_written = |file: &Path, workspace: &Path| {
            let path = file.strip_prefix(workspace).map(|path| path.as_os_str().as_bytes());
            let Some(path) = path.ok().and_then(|path| RelativePath::new(path).ok()) else {
                return false;
            };
            provider::NAMES.iter().any(|provider| {
                let record = states.join(name_of(workspace, provider)).join(WRITTEN);
                let written: BTreeSet<RelativePath> = read_record(&record).unwrap_or_default();
                written.contains(&path)
            })
        };
        // A command in the other workspace may have come to it without the link.
        let paths = std::iter::once(file.to_owned()).chain(file.canonicalize());
        paths
            .into_iter()
            .any(|file| file.ancestors().skip(1).any(|workspace| has_written(&file, workspace)))
    }

    /// The files that runs have written here, below the workspace root.
    fn written_by_runs(&self) -> BTreeSet<RelativePath> {
        read_record(&self.directory().join(WRITTEN)).unwrap_or_default()
    }

    /// Remembers further files of that kind.
    pub(crate) fn note_written(&self, more: BTreeSet<RelativePath>) -> Result<(), Error> {
        if more.is_empty() {
            return Ok(());
        }
        let _lock = lock::take(&self.directory().join("written.lock"))?;
        let written: BTreeSet<RelativePath> =
            self.written_by_runs().into_iter().chain(more).collect();
        write_record(&self.directory().join(WRITTEN), &written).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file below the workspace root is not one below `/`.
    #[test]
    fn a_record_of_another_meaning_does_not_count() {
        let cache = tempfile::tempdir().unwrap();
        let state = WorkspaceState::load(cache.path(), "local", Path::new("/w")).unwrap();
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let earlier = BTreeSet::from([path("etc/passwd")]);
        write_record(&state.directory().join("inputs"), &earlier).unwrap();
        assert_eq!(state.inputs(), BTreeSet::new());
        let lacked = BTreeSet::from([path("w/gen.rs")]);
        state.note_inputs(&lacked).unwrap();
        assert_eq!(state.inputs(), lacked);
    }
}
