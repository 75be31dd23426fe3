//! The symbolic links below what the user has named to be fetched.
//!
//! Invariants: a link is made only if its text leads to a place in the directory that was named,
//! or, if the link itself was, in the directory that it is in; a link of the user there may lead
//! further. It replaces nothing but an earlier such link below the target directory. The user is
//! told of all others that are not here. Such an earlier link makes way for a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::message::NamedLink;
use burst_protocol::path::display;
use burst_protocol::tree::{Change, Entry, LinkTarget, Node};
use burst_sync::SyncError;

use super::Download;
use crate::transfer::boundary::Verdict;
use crate::transfer::local_files::{LocalFiles, Replaced};
use crate::transfer::target::obstacle;
use crate::workspace::sources::below_root;

/// How many links are named to the user.
const SHOWN_MAX: usize = 3;

impl Download<'_> {
    /// Makes links. `named` is what the user has named, `target` the target directory, all paths
    /// below `/`.
    pub(crate) fn links(
        &mut self,
        links: &[NamedLink],
        named: &[&RelativePath],
        target: &RelativePath,
    ) -> Result<(), SyncError> {
        let mut refused = Vec::new();
        let changed = self.changed();
        for link in links.iter().filter(|link| !changed.contains(&link.path)) {
            if !named.iter().any(|directory| stays_in(directory, &link.path, &link.target)) {
                refused.extend((!self.is_here(link, target)).then_some(link));
                continue;
            }
            let is_made = match (link.path.below(target), &self.results.target) {
                (Some(path), Some(files)) => {
                    let is_earlier = |here: &Node| match here {
                        Node::Link(here) => {
                            named.iter().any(|directory| stays_in(directory, &link.path, here))
                        }
                        _ => false,
                    };
                    make(files, &path, &link.target, is_earlier)?
                }
                _ => self.make_source(link)?,
            };
            if !is_made {
                let shown = display(&link.path.absolute()).to_string();
                self.results.returned.notes.push(format!(
                    "`{shown}` is something else here and stays: remove it to have the run's link"
                ));
            }
        }
        self.results.returned.notes.extend(not_fetched(&refused));
        Ok(())
    }

    /// Removes a link above a path of the target directory that leads to a place in it: it is an
    /// earlier run's, and a later one has made a directory of it.
    pub(super) fn make_way(&self, path: &RelativePath) -> Result<(), SyncError> {
        let Some(files) = &self.results.target else { return Ok(()) };
        let root = files.root();
        let Some(parent) = path.parent() else { return Ok(()) };
        while let Some((link, _)) = obstacle(root, &parent) {
            let place = below_root(&root.absolute(&link))?;
            let names = link.names().count();
            let top = std::iter::successors(Some(place.clone()), RelativePath::parent).nth(names);
            let leads_to = root.read_link(&link).ok().and_then(|to| LinkTarget::new(&to).ok());
            match (top, leads_to) {
                (Some(top), Some(to)) if stays_in(&top, &place, &to) => {
                    let removed = root.remove_file(&link);
                    removed.map_err(|error| root.unwritable(&link, error))?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether a link is here.
    fn is_here(&self, link: &NamedLink, target: &RelativePath) -> bool {
        let workspace = &self.receiving.sources.project;
        let here = match (link.path.below(target), &self.results.target) {
            (Some(path), Some(files)) => files.entry(&path),
            _ => match link.path.below(workspace) {
                Some(path) => self.results.workspace.entry(&path),
                None => return false,
            },
        };
        here.is_ok_and(|here| here == Some(Node::Link(link.target.clone())))
    }

    /// Makes a link in the workspace.
    fn make_source(&mut self, link: &NamedLink) -> Result<bool, SyncError> {
        let entry = Entry::Link(link.target.clone());
        let change = Change::Put { path: link.path.clone(), entry };
        let path = match self.boundary.judge(&change) {
            Verdict::Source(path) => path,
            refused => {
                self.refuse(&change, &refused);
                return Ok(true);
            }
        };
        let is_made = make(&self.results.workspace, &path, &link.target, |_| false)?;
        if is_made {
            self.results.note_code(&path, true);
            self.results.note_ignore_file(&path);
        }
        Ok(is_made)
    }
}

/// Makes a link; returns whether it is there then. What is at its path is replaced only if it may
/// be.
fn make(
    files: &LocalFiles,
    path: &RelativePath,
    target: &LinkTarget,
    may_replace: impl FnOnce(&Node) -> bool,
) -> Result<bool, SyncError> {
    let here = match files.is_reachable(path) {
        true => files.entry(path)?,
        false => return Ok(false),
    };
    match &here {
        Some(here) if *here == Node::Link(target.clone()) => return Ok(true),
        Some(here) if !may_replace(here) => return Ok(false),
        _ => {}
    }
    Ok(files.replace_by_link(path, target, here.as_ref())? == Replaced::Expected)
}

/// Whether a link at `path` leads to a place in a named directory, or the named path is the link
/// and it leads to a place in the directory that it is in. A `..` behind a name could lead out of
/// it, if that name is a link, too.
fn stays_in(named: &RelativePath, path: &RelativePath, target: &LinkTarget) -> bool {
    let parent = named.parent().filter(|_| path == named);
    let directory = parent.as_ref().unwrap_or(named);
    let Some(below) = path.below(directory) else { return false };
    let target = target.as_bytes();
    let names = target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    let names: Vec<&[u8]> = names.collect();
    if target.starts_with(b"/") {
        let is_plain = !names.contains(&b"..".as_slice());
        let beginning: Vec<&[u8]> = directory.names().collect();
        return is_plain && names.starts_with(&beginning);
    }
    let ups = names.iter().take_while(|name| **name == b"..").count();
    ups < below.names().count() && !names[ups..].contains(&b"..".as_slice())
}

/// What is told of links that are not made.
fn not_fetched(links: &[&NamedLink]) -> Option<String> {
    let shown = |link: &&NamedLink| {
        let target = Path::new(OsStr::from_bytes(link.target.as_bytes()));
        format!("`{}` -> `{}`", display(&link.path.absolute()), display(target))
    };
    let named: Vec<String> = links.iter().take(SHOWN_MAX).map(shown).collect();
    let (are, more) = match links.len() {
        0 => return None,
        1 => ("a symbolic link is not fetched, since it leads", String::new()),
        all => (
            "symbolic links are not fetched, since they lead",
            match all - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            },
        ),
    };
    Some(format!("{are} out of what `--fetch` names: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text.as_bytes()).unwrap()
    }

    fn link(at: &str, target: &str) -> NamedLink {
        NamedLink { path: path(at), target: LinkTarget::new(target.as_bytes()).unwrap() }
    }

    #[test]
    fn links_stay_in_the_directory_whatever_other_links_do() {
        for (at, target, expected) in [
            ("w/d/link", "file", true),
            ("w/d/link", "./deep//file", true),
            ("w/d/link", ".", true),
            ("w/d/deep/link", "../file", true),
            ("w/d/deep/link", "..", true),
            ("w/d/link", "..", false),
            ("w/d/link", "../d/file", false),
            ("w/d/deep/link", "../../x", false),
            ("w/d/deep/link", "other/../x", false),
            ("w/d/link", "/w/d/file", true),
            ("w/d/link", "/w/./d", true),
            ("w/d/link", "/w/d/other/../file", false),
            ("w/d/link", "/w/dd", false),
            ("w/d/link", "/w", false),
            // The link itself is named.
            ("w/d", "file", true),
            ("w/d", "/w/file", true),
            ("w/d", "../file", false),
            ("w/e/link", "file", false),
        ] {
            let NamedLink { path: at_path, target: to } = link(at, target);
            assert_eq!(stays_in(&path("w/d"), &at_path, &to), expected, "{at} -> {target}");
        }
    }

    #[test]
    fn links_that_are_not_made_are_told() {
        assert_eq!(not_fetched(&[]), None);
        let one = link("w/a", "/etc/x");
        assert_eq!(
            not_fetched(&[&one]).unwrap(),
            "a symbolic link is not fetched, since it leads out of what `--fetch` names: `/w/a` -> \
             `/etc/x`"
        );
        assert_eq!(
            not_fetched(&[&one; 5]).unwrap(),
            "symbolic links are not fetched, since they lead out of what `--fetch` names: `/w/a` \
             -> `/etc/x`, `/w/a` -> `/etc/x`, `/w/a` -> `/etc/x` and 2 more"
        );
    }
}
