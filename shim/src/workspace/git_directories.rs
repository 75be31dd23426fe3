//! Puts the small git directories ([`super::git_store`]) in the tree of the [`Sources`], at the
//! places of the real ones: of the repository of the workspace, of those of packages, which can be
//! submodules or lie elsewhere, and of all others in directories that are sent.
//!
//! Where a repository gets none, git must not answer with what it finds above. There a git
//! directory stands that git refuses by name, and the repository around it counts its entry as
//! unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burst_protocol::tree::{Directory, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::git_directory::Repository;
use burst_sync::ignore_rules::RuleWarning;

use super::git_copy::NotMade;
use super::git_places::{self, Nested};
use super::git_store::{self, Made};
use super::sources::{Root, Sources, below_root};
use super::state::WorkspaceState;
use crate::settings::Settings;
use crate::workspace::Workspace;

/// How many repositories get a git directory beside those of the workspace and its packages.
const NESTED_MAX: usize = 64;

/// The size of all git directories together, in bytes; one that exceeds it is not sent.
const BYTES_MAX: u64 = 64 << 20;

/// As many repositories are named in a warning.
const NAMED_MAX: usize = 3;

/// The files of a git directory that git refuses, whatever it is asked: it names what it does not
/// understand.
const REFUSED: [(&[u8], &[u8]); 2] = [
    (b"HEAD", b"ref: refs/heads/not-sent\n"),
    (
        b"config",
        b"[core]\n\trepositoryformatversion = 1\n[extensions]\n\tnot-sent-by-cargo-burst = true\n",
    ),
];

/// Its directories.
const REFUSED_DIRECTORIES: [&[u8]; 2] = [b"objects", b"refs"];

/// Why a repository has no git directory in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// There are too many.
    Many,
    /// Of one of them, or of all together.
    NotMade(NotMade),
}

impl Lack {
    /// What users are told.
    fn reason(self) -> Option<String> {
        let lack = match self {
            Self::Many => return Some(format!("more than {NESTED_MAX} of them are not sent")),
            Self::NotMade(lack) => lack,
        };
        let reason = match lack {
            NotMade::Large => "it is too large",
            NotMade::Elsewhere => "its git directory does not name this working tree",
            NotMade::Leads => "its git directory leads to files outside of it",
            NotMade::Alternates => "its objects lie in another repository",
            NotMade::NoBranch => "its `HEAD` is neither a branch nor a commit",
            NotMade::Failed => return None,
        };
        Some(reason.to_owned())
    }

    /// Whether users take the repository for usable where none lies around it.
    fn is_of_its_own(self) -> bool {
        use NotMade::{Alternates, Elsewhere, Leads, NoBranch};
        matches!(self, Self::NotMade(Elsewhere | Leads | Alternates | NoBranch))
    }
}

/// The repositories of one scan, by the tops of their working trees.
type Tops = BTreeMap<RelativePath, Result<Repository, Lack>>;

impl Sources {
    /// Adds the small git directories, unless the settings exclude or send them.
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
        let mut tops = Tops::new();
        let packages = workspace.inputs.packages.iter().map(PathBuf::as_path);
        for directory in git_places::with_repositories(&workspace.root, packages) {
            let Some((repository, top)) = git_places::around(directory) else { continue };
            let top = below_root(top)?;
            // On this machine a run sees the one above what is sent.
            if workspace.inputs.is_for_server || self.root_around(&top).is_some() {
                tops.insert(top, own(repository));
            }
        }
        self.add_nested(&mut tops);
        let attributes = self.attributes();
        let (mut bytes, mut kept) = (0, BTreeSet::new());
        let (mut lacking, mut said) = (BTreeMap::new(), BTreeMap::new());
        // Those in others come first: what an outer one says depends on them.
        for (top, repository) in tops.into_iter().rev() {
            let Ok(place) = top.join_path(&git()?) else { continue };
            if self.tree.get(&place).is_some() {
                continue;
            }
            kept.insert(place.absolute());
            let made = match repository {
                Ok(repository) => {
                    let attributes = attributes.iter().filter(|(path, _)| path.is_within(&top));
                    let attributes: Vec<_> = attributes.collect();
                    let depends_on =
                        (&settings.extra_excludes, &self.mounts, attributes, lacking.keys());
                    let depends_on = Digest::of(format!("{depends_on:?}").as_bytes());
                    self.made(&repository, (&top, &place), &depends_on, (state, &lacking))?
                }
                Err(lack) => Err(lack),
            };
            let made = made.and_then(|made| {
                bytes += bytes_of(&made.tree);
                if bytes > BYTES_MAX { Err(Lack::NotMade(NotMade::Large)) } else { Ok(made) }
            });
            match made {
                Ok(made) => self.put_git(place, made)?,
                Err(lack) => {
                    // Without another one above, git finds none.
                    let is_in_other = top.parent().is_some_and(|above| is_in_repository(&above));
                    if is_in_other {
                        self.put_refused(&place)?;
                    }
                    if is_in_other || lack.is_of_its_own() {
                        said.insert(top.clone(), lack);
                    }
                    lacking.insert(top, lack);
                }
            }
        }
        git_store::forget_others(state.directory(), &kept);
        self.warnings.extend(warning(&said, &self.project).map(RuleWarning));
        Ok(())
    }

    /// Adds the repositories whose working trees begin in what is sent.
    fn add_nested(&self, tops: &mut Tops) {
        let mut found = BTreeSet::new();
        for root in &self.roots {
            let Some(Node::Directory(tree)) = self.tree.get(&root.prefix) else { continue };
            found.insert(root.prefix.clone());
            tree.visit(&mut |path, node| {
                if let (Node::Directory(_), Ok(path)) = (node, root.prefix.join_path(path)) {
                    found.insert(path);
                }
            });
        }
        let mut left = NESTED_MAX;
        for directory in found {
            if tops.contains_key(&directory) {
                continue;
            }
            let repository = match git_places::nested(&directory.absolute()) {
                Nested::Repository(_) if left == 0 => Err(Lack::Many),
                Nested::Repository(repository) => {
                    left -= 1;
                    own(repository)
                }
                Nested::Unusable => Err(Lack::NotMade(NotMade::Failed)),
                Nested::None => continue,
            };
            tops.insert(directory, repository);
        }
    }

    /// The small git directory of a repository, whose working tree is at `top`.
    fn made(
        &self,
        repository: &Repository,
        (top, place): (&RelativePath, &RelativePath),
        depends_on: &Digest,
        (state, lacking): (&WorkspaceState, &BTreeMap<RelativePath, Lack>),
    ) -> Result<Result<Made, Lack>, SyncError> {
        let is_unsent = |path: &RelativePath| {
            let Ok(sent) = top.join_path(path) else { return true };
            let is_sent = self.tree.get(&sent).is_some() && !lacking.contains_key(&sent);
            !is_sent && path.in_directory(&repository.work_tree).symlink_metadata().is_ok()
        };
        let seen_at = place.absolute();
        let places = (state.directory(), seen_at.as_path());
        let made = git_store::bring_up_to_date(repository, places, depends_on, is_unsent)?;
        Ok(made.map_err(Lack::NotMade))
    }

    fn put_git(&mut self, place: RelativePath, made: Made) -> Result<(), SyncError> {
        self.tree.put(&place, Node::Directory(made.tree))?;
        if self.root_around(&place).is_none() {
            self.mounts.push(place.clone());
        }
        // Before the root around it.
        self.roots.insert(0, Root { prefix: place, handle: made.directory });
        Ok(())
    }

    /// Adds a git directory that git refuses.
    fn put_refused(&mut self, place: &RelativePath) -> Result<(), SyncError> {
        let in_place = |name: &[u8]| {
            let name = RelativePath::new(name).and_then(|name| place.join_path(&name));
            name.map_err(|source| SyncError::Path { path: place.absolute(), source })
        };
        for name in REFUSED_DIRECTORIES {
            self.tree.put(&in_place(name)?, Node::Directory(Directory::new()))?;
        }
        for (name, text) in REFUSED {
            self.put_text(in_place(name)?, text.to_vec())?;
        }
        if self.root_around(place).is_none() {
            self.mounts.push(place.clone());
        }
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

fn git() -> Result<RelativePath, SyncError> {
    RelativePath::new(b".git").map_err(|source| SyncError::Path { path: ".git".into(), source })
}

/// git does nothing in a repository of another user.
fn own(repository: Repository) -> Result<Repository, Lack> {
    if repository.is_own() { Ok(repository) } else { Err(Lack::NotMade(NotMade::Failed)) }
}

fn is_in_repository(directory: &RelativePath) -> bool {
    Repository::around(&directory.absolute()).is_some()
}

fn bytes_of(tree: &Directory) -> u64 {
    let mut bytes = 0;
    tree.visit(&mut |_, node| {
        if let Node::File(file) = node {
            bytes += file.size;
        }
    });
    bytes
}

/// The line about repositories that users take for usable.
fn warning(lacking: &BTreeMap<RelativePath, Lack>, project: &RelativePath) -> Option<String> {
    let reasons: Vec<(&RelativePath, String)> =
        lacking.iter().filter_map(|(top, lack)| Some((top, lack.reason()?))).collect();
    if reasons.is_empty() {
        return None;
    }
    let shown = |top: &RelativePath| match top.below(project) {
        Some(below) => below.display().to_string(),
        None => format!("/{}", top.display()),
    };
    let named = reasons.iter().take(NAMED_MAX);
    let named = named.map(|(top, reason)| format!("`{}` ({reason})", shown(top)));
    let mut named: Vec<String> = named.collect();
    if let Some(more) = reasons.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    Some(format!("git fails in the run in {}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_first_repositories_without_a_git_directory() {
        let path = |path: &str| RelativePath::new(path.as_bytes()).unwrap();
        let lacking = [
            ("w/a", Lack::NotMade(NotMade::Failed)),
            ("w/b", Lack::NotMade(NotMade::Large)),
            ("w/c", Lack::Many),
            ("x", Lack::NotMade(NotMade::Elsewhere)),
            ("y", Lack::Many),
        ];
        let lacking = lacking.map(|(top, lack)| (path(top), lack));
        let line = |lacking: &[_]| warning(&lacking.iter().cloned().collect(), &path("w"));
        assert_eq!(line(&lacking[..1]), None);
        assert_eq!(line(&lacking[1..2]).unwrap(), "git fails in the run in `b` (it is too large)");
        assert_eq!(
            line(&lacking).unwrap(),
            "git fails in the run in `b` (it is too large), `c` (more than 64 of them are not \
             sent), `/x` (its git directory does not name this working tree), 1 more"
        );
    }
}
