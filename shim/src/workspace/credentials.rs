//! Credentials in cargo's files, which never leave this machine.
//!
//! cargo reads `.cargo/config.toml` in every directory above the one it runs in, so such files
//! are cleaned ([`super::clean_configuration`]) wherever they are in a tree;
//! `.cargo/credentials.toml` is left out. A symbolic link is followed inside the tree, since its
//! target is what cargo reads.

use std::collections::BTreeSet;
use std::io;

use burst_protocol::tree::{Directory, File, Node};
use burst_protocol::{Digest, FileName, RelativePath};
use burst_sync::SyncError;

use super::clean_configuration::without_credentials;

/// The directory of cargo's configuration in each directory.
const CARGO: &[u8] = b".cargo";

/// The names of files in it that hold nothing but credentials.
const CREDENTIALS: [&[u8]; 2] = [b"credentials", b"credentials.toml"];

/// The longest chain of symbolic links that is followed.
const LINKS_MAX: usize = 8;

/// Cargo's files in a tree.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Files that may hold credentials beside other things.
    configurations: BTreeSet<RelativePath>,
    /// Files and links that hold nothing else.
    credentials: BTreeSet<RelativePath>,
}

/// Whether a file is one of cargo's that holds nothing but credentials.
pub(crate) fn is_credentials(path: &RelativePath) -> bool {
    let in_cargo = path.parent().is_some_and(|parent| parent.split().1 == CARGO);
    in_cargo && CREDENTIALS.contains(&path.split().1)
}

/// Removes credentials from a tree below `/`: files of credentials leave it, configurations get the
/// content that is returned with their paths. `read` reads a file of at most so many bytes.
/// `cargo_home` is cargo's home, if it lies in the tree; `named` are configurations that need not
/// lie in a `.cargo`.
pub(super) fn remove(
    tree: &mut Directory,
    cargo_home: Option<&RelativePath>,
    named: &[RelativePath],
    read: impl Fn(&RelativePath, u64) -> io::Result<Vec<u8>>,
) -> Result<Vec<(RelativePath, Vec<u8>)>, SyncError> {
    let found = find(tree, cargo_home, named);
    for path in &found.credentials {
        tree.remove(path)?;
    }
    let mut cleaned = Vec::new();
    for path in found.configurations {
        let Some(file) = tree.file(&path).copied() else { continue };
        let text = read(&path, file.size).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SyncError::Changed(path.absolute()),
            _ => SyncError::Read { path: path.absolute(), source },
        })?;
        if let Some(text) = without_credentials(&text) {
            let (size, digest) = (text.len() as u64, Digest::of(&text));
            tree.put(&path, Node::File(File { size, digest, ..file }))?;
            cleaned.push((path, text));
        }
    }
    Ok(cleaned)
}

fn find(tree: &Directory, cargo_home: Option<&RelativePath>, named: &[RelativePath]) -> Found {
    let mut found = Found::default();
    let mut search = Search { tree, found: &mut found };
    search.below(tree, None);
    if let Some(home) = cargo_home
        && let Some(Node::Directory(directory)) = tree.get(home)
    {
        search.cargos(directory, home);
    }
    let named = named.iter().filter_map(|path| search.follow(path.clone()));
    let named: Vec<RelativePath> = named.collect();
    found.configurations.extend(named);
    found
}

struct Search<'a> {
    tree: &'a Directory,
    found: &'a mut Found,
}

impl Search<'_> {
    /// Looks for directories `.cargo`. Paths are made only for directories: most entries are
    /// files.
    fn below(&mut self, directory: &Directory, at: Option<&RelativePath>) {
        for (name, node) in directory.entries() {
            let is_cargos = name.as_bytes() == CARGO;
            match node {
                Node::Directory(below) => {
                    let Some(path) = join(at, name) else { continue };
                    if is_cargos {
                        self.cargos(below, &path);
                    }
                    self.below(below, Some(&path));
                }
                Node::Link(_) if is_cargos => {
                    let Some(target) = join(at, name).and_then(|path| self.follow(path)) else {
                        continue;
                    };
                    if let Some(Node::Directory(below)) = self.tree.get(&target) {
                        self.cargos(below, &target);
                    }
                }
                Node::Link(_) | Node::File(_) => {}
            }
        }
    }

    /// Notes the files of a directory `.cargo`.
    fn cargos(&mut self, directory: &Directory, at: &RelativePath) {
        for (name, node) in directory.entries() {
            let Some(path) = join(Some(at), name) else { continue };
            let is_credentials = CREDENTIALS.contains(&name.as_bytes());
            let is_configuration =
                name.as_bytes() == b"config" || name.as_bytes().ends_with(b".toml");
            if matches!(node, Node::Directory(_)) || !(is_credentials || is_configuration) {
                continue;
            }
            if is_credentials {
                self.found.credentials.insert(path.clone());
            }
            // The target of a link may have a name of any kind.
            if let Some(target) = self.follow(path)
                && !self.found.credentials.contains(&target)
            {
                self.found.configurations.insert(target);
            }
        }
    }

    /// The path behind symbolic links; none if it leaves the tree.
    fn follow(&self, mut path: RelativePath) -> Option<RelativePath> {
        for _ in 0..LINKS_MAX {
            let Some(Node::Link(target)) = self.tree.get(&path) else { return Some(path) };
            let mut names: Vec<&[u8]> = path.names().collect();
            names.pop();
            if target.as_bytes().starts_with(b"/") {
                names.clear();
            }
            for name in target.as_bytes().split(|byte| *byte == b'/') {
                match name {
                    b"" | b"." => {}
                    b".." => drop(names.pop()?),
                    name => names.push(name),
                }
            }
            path = RelativePath::new(&names.join(&b'/')).ok()?;
        }
        None
    }
}

fn join(at: Option<&RelativePath>, name: &FileName) -> Option<RelativePath> {
    match at {
        Some(at) => at.join(name).ok(),
        None => Some(name.clone().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use burst_protocol::tree::{FileMode, LinkTarget};

    use super::*;

    #[test]
    fn files_are_cleaned_wherever_cargo_reads_them() {
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let secret = b"[registry]\ntoken = 'a'\n".as_slice();
        let (size, digest) = (secret.len() as u64, Digest::of(secret));
        let file = Node::File(File { size, digest, mode: FileMode::REGULAR });
        let link = |to: &str| Node::Link(LinkTarget::new(to.as_bytes()).unwrap());
        let mut tree = Directory::new();
        for name in [
            ".cargo/config.toml",
            ".cargo/credentials.toml",
            "member/.cargo/config",
            "member/.cargo/credentials",
            "member/.cargo/included.toml",
            "shared/cargo.cfg",
            "linked/config.toml",
            "home/credentials.toml",
            "config.toml",
            "ci/cargo.toml",
        ] {
            tree.put(&path(name), file.clone()).unwrap();
        }
        tree.put(&path("other/.cargo/config.toml"), link("../../shared/./cargo.cfg")).unwrap();
        tree.put(&path("third/.cargo"), link("../linked")).unwrap();
        tree.put(&path("fourth/.cargo/config.toml"), link("/etc/cargo.toml")).unwrap();
        let read = |_: &RelativePath, most: u64| {
            assert_eq!(most, size);
            Ok(secret.to_vec())
        };
        let texts = remove(&mut tree, Some(&path("home")), &[path("ci/cargo.toml")], read).unwrap();
        let texts: HashMap<RelativePath, Vec<u8>> = texts.into_iter().collect();
        for name in [
            ".cargo/config.toml",
            "member/.cargo/config",
            "member/.cargo/included.toml",
            "shared/cargo.cfg",
            "linked/config.toml",
            "ci/cargo.toml",
        ] {
            assert_eq!(texts[&path(name)], b"[registry]\n", "{name}");
            assert_eq!(tree.file(&path(name)).unwrap().digest, Digest::of(b"[registry]\n"));
        }
        assert_eq!(texts.len(), 6);
        for gone in
            [".cargo/credentials.toml", "member/.cargo/credentials", "home/credentials.toml"]
        {
            assert_eq!(tree.get(&path(gone)), None, "{gone}");
        }
        assert_eq!(tree.get(&path("config.toml")), Some(&file));
    }
}
