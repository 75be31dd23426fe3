//! The whole target directory of a run, as a list of which only the difference travels.
//!
//! cargo decides by its fingerprints, and by the order of file times, what is fresh. So the list
//! has times. Another run may write meanwhile: cargo empties a fingerprint before it writes the
//! outputs, and writes it again after them. So fingerprints are read before all outputs and once
//! more after them: what is listed is as it was all the time, and a unit of which a fingerprint is
//! another one by then is listed without any. Files by which cargo and rustc of one machine agree
//! among themselves are left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use burst_protocol::message::{TargetFile, Timestamp};
use burst_protocol::tree::{Directory, File, LinkTarget, Node};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::clock::Moment;
use burst_sync::fingerprint::{is_fingerprint, unit_of};
use burst_sync::root_directory::RootDirectory;
use burst_sync::scan::{Filter, scan, scan_further};
use burst_sync::stat_cache::{StatCache, read_record, write_record};
use burst_sync::tally::Tally;
use serde::Deserialize;

use super::open_target;
use crate::error::AgentError;

/// The record of the list that was offered last, in the directory of the project.
const RECORD: &str = "offered-target";

/// The name of cargo's record of the compiler.
const COMPILER: &[u8] = b".rustc_info.json";

/// Bytes of the largest record of the compiler that is read.
const COMPILER_BYTES_MAX: u64 = 1 << 20;

/// A list of all files, and what the client lacks of it.
#[derive(Debug)]
pub(crate) struct Whole {
    /// All files, in the order of their paths.
    pub(crate) files: Vec<TargetFile>,
    /// The digest of the list that the client has; none if it has none that is known here.
    pub(crate) base: Option<Digest>,
    /// The digest of `files`.
    pub(crate) list: Digest,
    /// What is new or different.
    pub(crate) changed: Vec<TargetFile>,
    /// What is gone.
    pub(crate) gone: Vec<RelativePath>,
    /// Symbolic links, whatever the client has of them.
    pub(crate) links: Vec<(RelativePath, LinkTarget)>,
    /// What `rustc -vV` says, as far as cargo has recorded it.
    pub(crate) compiler: Option<String>,
}

/// Lists a target directory, as [`collect`](super::collect) does; `base` is the digest of the list
/// that the client has. `records` is where the list is remembered. The cache of the target
/// directory keeps what is there now: each incremental build names its files anew.
pub(crate) fn list(
    target: &Path,
    seen_at: &Path,
    base: Option<Digest>,
    records: &Path,
    cache: &mut StatCache,
) -> Result<Whole, AgentError> {
    let handle = open_target(target, seen_at)?;
    let tally = Tally::default();
    let filter = OneKind { fingerprints: true };
    let scanned = scan(&handle, None, &filter, cache, Moment::coarse_now(), &tally)?;
    let fingerprints = timed(&scanned.tree, cache);
    let filter = OneKind { fingerprints: false };
    let scanned = scan_further(&handle, None, &filter, cache, Moment::coarse_now(), &tally)?;
    let outputs = timed(&scanned.tree, cache);
    let links = links(&scanned.tree);
    let filter = OneKind { fingerprints: true };
    let scanned = scan_further(&handle, None, &filter, cache, Moment::coarse_now(), &tally)?;
    let mut found = unchanged(fingerprints, &timed(&scanned.tree, cache));
    found.extend(outputs);
    cache.forget_unseen(None);
    let files: Vec<TargetFile> = found
        .into_iter()
        .map(|(path, (file, modified))| TargetFile { path, file, modified })
        .collect();
    let list = TargetFile::digest_of(&files).map_err(SyncError::from)?;
    let path = records.join(RECORD);
    let offered: (Vec<u8>, Vec<TargetFile>) = read_record(&path).unwrap_or_default();
    let key = seen_at.as_os_str().as_encoded_bytes().to_vec();
    let held = match base {
        Some(base)
            if offered.0 == key
                && TargetFile::digest_of(&offered.1).map_err(SyncError::from)? == base =>
        {
            Some(base)
        }
        _ => None,
    };
    let before = if held.is_some() { offered.1.as_slice() } else { &[] };
    let (changed, gone) = difference(before, &files);
    let compiler = compiler(&handle);
    let record = (key, files);
    write_record(&path, &record)?;
    Ok(Whole { files: record.1, base: held, list, changed, gone, links, compiler })
}

/// Files, with their modification times.
type Timed = BTreeMap<RelativePath, (File, Timestamp)>;

/// The files of a tree, with the times at which their status was read.
fn timed(tree: &Directory, cache: &StatCache) -> Timed {
    let mut found = Timed::new();
    tree.visit(&mut |path, node| {
        if let (Node::File(file), Some(cached)) = (node, cache.get(path.as_bytes())) {
            let Moment { seconds, nanoseconds } = cached.signature.modified();
            found.insert(path.clone(), (*file, Timestamp { seconds, nanoseconds }));
        }
    });
    found
}

/// The symbolic links of a tree.
fn links(tree: &Directory) -> Vec<(RelativePath, LinkTarget)> {
    let mut found = Vec::new();
    tree.visit(&mut |path, node| {
        if let Node::Link(target) = node {
            found.push((path.clone(), target.clone()));
        }
    });
    found
}

/// The fingerprints of the units of which each is the same later.
fn unchanged(mut fingerprints: Timed, later: &Timed) -> Timed {
    let paths: BTreeSet<&RelativePath> = fingerprints.keys().chain(later.keys()).collect();
    let differing = paths.into_iter().filter(|path| fingerprints.get(*path) != later.get(*path));
    let (mut units, mut others) = (HashSet::new(), HashSet::new());
    for path in differing.cloned() {
        match unit_of(&path) {
            Some(unit) => drop(units.insert(unit)),
            None => drop(others.insert(path)),
        }
    }
    fingerprints.retain(|path, _| match unit_of(path) {
        Some(unit) => !units.contains(&unit),
        None => !others.contains(path),
    });
    fingerprints
}

/// What is new or different in a list, and what is gone from it. Both are in the order of paths.
fn difference(before: &[TargetFile], now: &[TargetFile]) -> (Vec<TargetFile>, Vec<RelativePath>) {
    let old: BTreeMap<&RelativePath, &TargetFile> =
        before.iter().map(|file| (&file.path, file)).collect();
    let new: HashSet<&RelativePath> = now.iter().map(|file| &file.path).collect();
    let changed = now.iter().filter(|file| old.get(&file.path) != Some(file)).cloned();
    let gone = before.iter().filter(|file| !new.contains(&file.path));
    (changed.collect(), gone.map(|file| file.path.clone()).collect())
}

/// Selects fingerprints, or everything else.
struct OneKind {
    fingerprints: bool,
}

impl Filter for OneKind {
    type Context = ();

    fn root(&self) {}

    fn enter(&self, _: Option<&RelativePath>, _: &HashSet<&[u8]>, (): &()) -> Option<()> {
        Some(())
    }

    fn skips(&self, path: &RelativePath, is_directory: bool, (): &()) -> bool {
        !is_directory && (is_fingerprint(path) != self.fingerprints || is_of_one_machine(path))
    }

    /// What cannot be read is left out: another run replaces it, or has left it so.
    fn unreadable(
        &self,
        _: Option<&RelativePath>,
        _: SyncError,
    ) -> Result<Option<Node>, SyncError> {
        Ok(None)
    }
}

/// Whether a file belongs to cargo on one machine: its locks, on which a cargo there may wait, its
/// mark, and its record of the compiler.
fn is_of_one_machine(path: &RelativePath) -> bool {
    let name = path.file_name();
    let is_lock = name.starts_with(b".cargo-") && name.ends_with(b"lock");
    let is_top = path.names().count() == 1;
    is_lock || is_top && (name == COMPILER || name == b"CACHEDIR.TAG")
}

/// What cargo has recorded of `rustc -vV`.
fn compiler(target: &RootDirectory) -> Option<String> {
    #[derive(Deserialize)]
    struct Record {
        outputs: BTreeMap<String, Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        stdout: String,
    }
    let path = RelativePath::new(COMPILER).ok()?;
    let record: Record =
        serde_json::from_slice(&target.read(&path, COMPILER_BYTES_MAX).ok()?).ok()?;
    let mut said = record.outputs.into_values().map(|output| output.stdout);
    said.find(|text| text.starts_with("rustc ") && text.contains("\nhost: "))
}

#[cfg(test)]
mod tests {
    use burst_protocol::tree::FileMode;

    use super::*;

    fn file(path: &str, content: &str, seconds: i64) -> TargetFile {
        TargetFile {
            path: RelativePath::new(path.as_bytes()).unwrap(),
            file: File {
                size: content.len() as u64,
                digest: Digest::of(content.as_bytes()),
                mode: FileMode::REGULAR,
            },
            modified: Timestamp { seconds, nanoseconds: 0 },
        }
    }

    #[test]
    fn only_what_differs_travels() {
        let before = [file("a", "x", 1), file("b", "x", 1), file("c", "x", 1)];
        let now = [file("a", "x", 1), file("c", "x", 2), file("d", "y", 2)];
        let (changed, gone) = difference(&before, &now);
        assert_eq!(changed, now[1..]);
        assert_eq!(gone, [before[1].path.clone()]);
        assert_eq!(difference(&[], &before).0, before);
    }

    #[test]
    fn units_that_are_compiled_meanwhile_have_no_fingerprints() {
        let listed = |files: &[(&str, &str, i64)]| -> Timed {
            let files = files.iter().map(|(path, content, seconds)| file(path, content, *seconds));
            files.map(|file| (file.path, (file.file, file.modified))).collect()
        };
        let at = |name: &str, file: &str| format!("debug/.fingerprint/{name}/{file}");
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{name}-0123456789abcde{name}"));
        let [a_dep, a_lib] = ["dep-lib-a", "lib-a"].map(|name| at(&a, name));
        let [b_dep, b_lib] = ["dep-lib-b", "lib-b"].map(|name| at(&b, name));
        let c_lib = at(&c, "lib-c");
        let before = [
            (a_dep.as_str(), "x", 1),
            (a_lib.as_str(), "x", 1),
            (b_dep.as_str(), "x", 1),
            (b_lib.as_str(), "x", 1),
            (c_lib.as_str(), "x", 1),
        ];
        assert_eq!(unchanged(listed(&before), &listed(&before)), listed(&before));
        // Emptied; written again with the same content; gone; with a file more.
        for changed in [(b_lib.as_str(), "", 2), (b_lib.as_str(), "x", 2)] {
            let later = [before[0], before[1], before[2], changed, before[4]];
            let expected = [before[0], before[1], before[4]];
            assert_eq!(unchanged(listed(&before), &listed(&later)), listed(&expected));
        }
        assert_eq!(unchanged(listed(&before), &listed(&before[1..4])), listed(&before[2..4]));
        let messages = at(&a, "output-lib-a");
        let more = [before.as_slice(), &[(messages.as_str(), "x", 2)]].concat();
        assert_eq!(unchanged(listed(&before), &listed(&more)), listed(&before[2..]));
    }

    #[test]
    fn the_list_is_remembered_and_has_no_locks_and_links_of_their_own() {
        let disk = tempfile::tempdir().unwrap();
        let (target, records) = (disk.path().join("target"), disk.path());
        for name in [
            "debug/.cargo-lock",
            "debug/deps/a",
            "debug/.fingerprint/a-1/lib-a",
            ".rustc_info.json",
            "CACHEDIR.TAG",
        ] {
            let path = target.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("deps/a", target.join("debug/link")).unwrap();
        let mut cache = StatCache::default();
        let mut list = |base| list(&target, Path::new("/t"), base, records, &mut cache).unwrap();
        let first = list(None);
        let paths: Vec<String> =
            first.files.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, ["debug/.fingerprint/a-1/lib-a", "debug/deps/a"]);
        assert_eq!((first.changed.len(), first.base), (2, None));
        let links: Vec<String> =
            first.links.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(links, ["debug/link"]);
        let held = Some(first.list);
        let again = list(held);
        assert_eq!((again.changed.len(), again.gone.len(), again.base), (0, 0, held));
        std::fs::remove_file(target.join("debug/deps/a")).unwrap();
        let less = list(held);
        assert_eq!((less.changed.len(), less.gone.len(), less.base), (0, 1, held));
        // The client has not taken that list.
        let unknown = list(held);
        assert_eq!((unknown.changed.len(), unknown.base), (1, None));
    }

    #[test]
    fn the_cache_keeps_what_is_there() {
        let disk = tempfile::tempdir().unwrap();
        let target = disk.path().join("target");
        let sessions = target.join("debug/incremental/a");
        let fingerprint = target.join("debug/.fingerprint/a-1/lib-a");
        for path in [&sessions, fingerprint.parent().unwrap()] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(fingerprint, "x").unwrap();
        let mut cache = StatCache::default();
        for session in ["one", "two", "three"] {
            std::fs::write(sessions.join(session), session).unwrap();
            list(&target, Path::new("/t"), None, disk.path(), &mut cache).unwrap();
            std::fs::remove_file(sessions.join(session)).unwrap();
        }
        let mut paths: Vec<&[u8]> = cache.paths().collect();
        paths.sort_unstable();
        let expected: [&[u8]; 2] = [b"debug/.fingerprint/a-1/lib-a", b"debug/incremental/a/three"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn the_compiler_is_read_from_cargos_record() {
        let disk = tempfile::tempdir().unwrap();
        let target = RootDirectory::open(disk.path()).unwrap();
        assert_eq!(compiler(&target), None);
        let record = r#"{"rustc_fingerprint":1,"outputs":{"1":{"success":true,"stdout":"___\nlib___.rlib\n"},"2":{"stdout":"rustc 1.95.0 (x)\nhost: h\n"}},"successes":{}}"#;
        std::fs::write(disk.path().join(".rustc_info.json"), record).unwrap();
        assert_eq!(compiler(&target).unwrap(), "rustc 1.95.0 (x)\nhost: h\n");
    }
}
