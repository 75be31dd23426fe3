//! Puts the small git directories ([`super::git_store`]) in the tree of the [`Sources`], at the
//! places of the real ones.

use std::path::PathBuf;

use burst_protocol::tree::Node;
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::git_directory::Repository;

use super::git_places;
use super::git_store::{self, Made};
use super::sources::{Root, Sources, below_root};
use super::state::WorkspaceState;
use crate::settings::Settings;
use crate::workspace::Workspace;

impl Sources {
    /// Adds small git directories in place of those of the workspace and of its packages, which can
    /// be submodules or lie elsewhere, unless the settings exclude or send them.
    pub(super) fn add_git(
        &mut self,
        workspace: &Workspace,
        settings: &Settings,
        state: &WorkspaceState,
    ) -> Result<(), SyncError> {
        let has_files = match self.tree.get(&self.project) {
            Some(Node::Directory(project)) => project.count_files() > 0,
            _ => false,
        };
        if self.excludes_git || !has_files {
            return Ok(());
        }
        let is_for_server = workspace.inputs.is_for_server;
        let packages = workspace.inputs.packages.iter().map(PathBuf::as_path);
        for directory in git_places::with_repositories(&workspace.root, packages) {
            let Some((repository, top)) = git_places::around(directory) else { continue };
            let place = below_root(&top.join(".git"))?;
            // On this machine a run sees the one above what is sent.
            let is_there = self.root_around(&place).is_none() && !is_for_server;
            if !is_there && self.tree.get(&place).is_none() {
                self.add_git_directory(&repository, (&below_root(top)?, place), settings, state)?;
            }
        }
        Ok(())
    }

    /// Adds the small git directory of a repository, whose working tree is at `top`.
    fn add_git_directory(
        &mut self,
        repository: &Repository,
        (top, place): (&RelativePath, RelativePath),
        settings: &Settings,
        state: &WorkspaceState,
    ) -> Result<(), SyncError> {
        let is_unsent = |path: &RelativePath| {
            let is_sent = top.join_path(path).is_ok_and(|path| self.tree.get(&path).is_some());
            !is_sent && path.in_directory(&repository.work_tree).symlink_metadata().is_ok()
        };
        let depends_on = (&settings.extra_excludes, &self.mounts, self.attributes());
        let depends_on = Digest::of(format!("{depends_on:?}").as_bytes());
        let seen_at = place.absolute();
        let places = (state.directory(), seen_at.as_path());
        let made = git_store::bring_up_to_date(repository, places, &depends_on, is_unsent)?;
        let Some(Made { directory: handle, tree }) = made else { return Ok(()) };
        self.tree.put(&place, Node::Directory(tree))?;
        if self.root_around(&place).is_none() {
            self.mounts.push(place.clone());
        }
        // Before the root around it.
        self.roots.insert(0, Root { prefix: place, handle });
        Ok(())
    }

    /// The files that give attributes to git.
    fn attributes(&self) -> Vec<(RelativePath, Digest)> {
        let mut found = Vec::new();
        self.tree.visit(&mut |path, node| {
            if let (Node::File(file), b".gitattributes") = (node, path.file_name()) {
                found.push((path.clone(), file.digest));
            }
        });
        found
    }
}
