//! Files that are sent and lie in no directory that is: those that the settings name, main files of
//! targets, and cargo's own above the workspace.
//!
//! A link is followed. Only what cargo reads itself is taken into memory, without its credentials.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::tree::{Directory, File as FileEntry, FileMode, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::regular_file::{self, Links};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::add_paths;

use super::clean_configuration;
use super::configured_sources::configures_sources;
use super::sources::{Scanning, Sources, below_root};
use super::state::WorkspaceState;

/// The largest file of cargo's that is sent, in bytes.
const CARGOS_BYTES_MAX: u64 = 64 << 20;

impl Sources {
    /// Adds a file of any size; one that is gone meanwhile is none.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        scanning: Scanning<'_>,
        state: &mut WorkspaceState,
    ) -> Result<(), SyncError> {
        let place = below_root(path)?;
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        let (Some(directory), Some(name), Some(shown)) =
            (real.parent(), real.file_name(), path.parent())
        else {
            return Ok(());
        };
        if self.tree.get(&place).is_some() {
            return Ok(());
        }
        let name = RelativePath::new(name.as_bytes())
            .map_err(|source| SyncError::Path { path: path.to_owned(), source })?;
        let handle = RootDirectory::open_as(directory, shown)?;
        let mut found = Directory::new();
        let (prefix, files) = (place.parent(), std::iter::once(&name));
        add_paths(&handle, prefix.as_ref(), files, &mut state.scanned, scanning.now, &mut found)?;
        if let Some(file) = found.file(&name) {
            self.tree.put(&place, Node::File(*file))?;
            self.mounts.push(place.clone());
            self.single_files.insert(place, (handle, name));
        }
        Ok(())
    }

    /// Adds a file of cargo's, without credentials.
    pub(super) fn add_cargos_file(&mut self, path: &Path) -> Result<(), SyncError> {
        let place = below_root(path)?;
        if self.tree.get(&place).is_some() {
            return Ok(());
        }
        let bytes = regular_file::read(path, CARGOS_BYTES_MAX, Links::Followed)
            .map_err(|source| SyncError::Read { path: path.to_owned(), source })?;
        self.configures_sources |= configures_sources(&bytes);
        let bytes = clean_configuration::without_credentials(&bytes).unwrap_or(bytes);
        self.mounts.push(place.clone());
        self.put_text(place, bytes)
    }

    /// Adds a file that is sent from memory.
    pub(super) fn put_text(&mut self, place: RelativePath, text: Vec<u8>) -> Result<(), SyncError> {
        let (size, digest) = (text.len() as u64, Digest::of(&text));
        let file = FileEntry { size, digest, mode: FileMode::REGULAR };
        self.tree.put(&place, Node::File(file))?;
        self.in_memory.insert(place, text);
        Ok(())
    }
}
