//! Files that runs have made and that git ignores. They are sent, so that programs find them as
//! with cargo.
//!
//! The user may put something else in the place of such a file, even a secret. When that is sent
//! for the first time the user is told, once per path.

use std::collections::BTreeSet;

use burst_protocol::RelativePath;
use burst_protocol::tree::Node;
use burst_sync::stat_cache::{read_record, write_record};

use super::error::unreadable;
use super::large_files::pattern;
use super::sources::Sources;
use super::state::{TOLD, WorkspaceState};
use crate::background::lock;
use crate::error::Error;
use crate::terminal::Terminal;

/// The number of files that are named at once; the others are counted.
const NAMED_MAX: usize = 8;

/// Tells of files that differ from what a run has left, before they are sent. `left` is what
/// runs have left at a path of the manifest.
pub(crate) fn tell(
    terminal: &Terminal,
    sources: &Sources,
    state: &WorkspaceState,
    left: impl Fn(&RelativePath) -> Option<Node>,
) -> Result<(), Error> {
    let record = state.directory().join(TOLD);
    if sources.ignored.is_empty() && !record.exists() {
        return Ok(());
    }
    let _lock = lock::take(&record.with_extension("lock"))?;
    let before: BTreeSet<RelativePath> = read_record(&record).unwrap_or_default();
    let mut told = before.clone();
    // A path that a run makes again is told again.
    told.retain(|path| state.generated_files.contains(path));
    let is_new = |path: &&RelativePath| {
        let Ok(place) = sources.project.join_path(path) else { return false };
        let here = sources.tree.get(&place);
        !told.contains(*path) && here.is_some_and(|here| has_other_content(here, left(&place)))
    };
    let new: Vec<&RelativePath> = sources.ignored.iter().filter(is_new).collect();
    for path in new.iter().take(NAMED_MAX) {
        terminal.warn(&format!(
            "`{}` is ignored by git, but a run has made it, so the one here is sent too; \
             `extra_excludes = [{}]` keeps it here",
            path.display(),
            toml::Value::from(pattern(path))
        ));
    }
    if let more @ 1.. = new.len().saturating_sub(NAMED_MAX) {
        terminal.warn(&format!("{more} more files that git ignores and runs have made are sent"));
    }
    told.extend(new.into_iter().cloned());
    match told == before {
        true => Ok(()),
        false => write_record(&record, &told).map_err(unreadable),
    }
}

/// Whether a file or link has other content than what a run has left.
fn has_other_content(here: &Node, left: Option<Node>) -> bool {
    match (here, left) {
        (Node::File(here), Some(Node::File(left))) => here.digest != left.digest,
        (Node::Directory(_), _) => false,
        (here, left) => Some(here) != left.as_ref(),
    }
}
