//! Pages of the documentation that no longer exist.
//!
//! `cargo doc` removes a crate's old pages before it writes new ones. A page that was fetched
//! earlier and is missing from the agent's offer no longer exists there.

use std::collections::HashSet;

use burst_protocol::RelativePath;
use burst_protocol::message::Artifact;
use burst_sync::clock::Moment;
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::hash_file;
use burst_sync::stat_cache::StatCache;

/// The pages of `cache`, which were fetched earlier, that are not among the `artifacts` and are in
/// the directories with pages that are. The cache forgets them. A page that was edited here is
/// none.
pub(super) fn stale(
    target: &RootDirectory,
    artifacts: &[Artifact],
    cache: &mut StatCache,
) -> Vec<RelativePath> {
    let offered: HashSet<&[u8]> = artifacts.iter().map(|page| page.path.as_bytes()).collect();
    let roots: HashSet<&[u8]> = offered.iter().filter_map(|page| root_of(page)).collect();
    let is_stale = |page: &[u8]| {
        !offered.contains(page) && root_of(page).is_some_and(|root| roots.contains(root))
    };
    let stale: Vec<Vec<u8>> =
        cache.paths().filter(|page| is_stale(page)).map(<[u8]>::to_vec).collect();
    let mut found = Vec::new();
    for page in stale {
        if let Ok(path) = RelativePath::new(&page)
            && let Some(fetched) = cache.get(&page)
            && let Ok(Some(here)) = hash_file(target, &path, Moment::coarse_now())
            && here.digest == fetched.digest
        {
            found.push(path);
        }
        cache.remove(&page);
    }
    found
}

/// Removes a file, and the directories that this leaves empty.
pub(super) fn remove(target: &RootDirectory, path: &RelativePath) {
    // One that cannot be removed does no harm; another command tries again.
    drop(target.remove_file(path));
    let mut above = path.parent();
    while let Some(directory) = above {
        drop(target.remove_directory(&directory));
        above = directory.parent();
    }
}

/// The documentation directory of a page: `doc`, or `TRIPLE/doc` of a cross build.
fn root_of(page: &[u8]) -> Option<&[u8]> {
    let mut names = page.split(|byte| *byte == b'/');
    let (first, second) = (names.next()?, names.next()?);
    match (first, second) {
        (b"doc", _) => Some(first),
        (triple, b"doc") => page.get(..triple.len() + "/doc".len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_directory() {
        assert_eq!(root_of(b"doc/a/index.html"), Some(b"doc".as_slice()));
        assert_eq!(root_of(b"x86/doc/a.html"), Some(b"x86/doc".as_slice()));
        for other in [b"debug/app".as_slice(), b"doc", b"debug/examples/doc"] {
            assert_eq!(root_of(other), None);
        }
    }
}
