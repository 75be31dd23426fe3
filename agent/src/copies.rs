//! The sizes of the projects on a disk that they share with the user, and their limit.
//!
//! Sizes are measured on a thread after an agent has started, and recorded in each project's
//! directory, so that a status need not walk the files. If the sum exceeds the limit, the
//! projects that were not used for the longest time are deleted, but never the one that was
//! used last, never one in use, and never one with results that its client has not taken,
//! while its workspace exists.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burst_sync::stat_cache::{read_record, write_record};

use crate::project::Project;

/// The file with the size of a project.
const SIZE: &str = "size";

/// Bytes of a block in a file's status.
const BLOCK_BYTES: u64 = 512;

/// The copy of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectCopy {
    /// The directory of the project on the disk.
    pub directory: PathBuf,
    /// Its workspace.
    pub workspace: PathBuf,
    /// The bytes that it takes on the disk, as last measured; 0 before that.
    pub bytes: u64,
    /// When it was last used.
    pub used: Option<SystemTime>,
}

/// The copies below a disk of this machine. Blocks, but walks no files.
pub fn project_copies(disk: &Path) -> Vec<ProjectCopy> {
    let entries = std::fs::read_dir(disk.join("projects")).into_iter().flatten().flatten();
    let copy = |directory: PathBuf| {
        let workspace = Project::name_of(&directory)?.absolute();
        let bytes = read_record(&directory.join(SIZE)).unwrap_or_default();
        let used = Project::last_used(&directory);
        Some(ProjectCopy { directory, workspace, bytes, used })
    };
    entries.filter_map(|entry| copy(entry.path())).collect()
}

/// Measures a copy and records its size, unless it was not used since the last time.
pub(crate) fn measure(copy: &mut ProjectCopy) {
    let measured = std::fs::metadata(copy.directory.join(SIZE)).and_then(|size| size.modified());
    if measured.is_ok_and(|measured| Some(measured) > copy.used) {
        return;
    }
    copy.bytes = bytes_below(&copy.directory);
    if let Err(error) = write_record(&copy.directory.join(SIZE), &copy.bytes) {
        tracing::debug!("cannot record a size: {error}");
    }
}

/// The copies to delete so that the others fit into `limit` bytes, the longest unused first.
/// `is_needed` tells which copies nothing can replace; it is asked only where that decides.
pub(crate) fn excess(
    mut copies: Vec<ProjectCopy>,
    limit: u64,
    is_needed: impl Fn(&ProjectCopy) -> bool,
) -> Vec<ProjectCopy> {
    copies.sort_by_key(|copy| copy.used);
    let last = copies.pop();
    let bytes = copies.iter().chain(&last).map(|copy| copy.bytes);
    let mut total = bytes.fold(0_u64, u64::saturating_add);
    copies.retain(|copy| {
        let is_excess = total > limit && !is_needed(copy);
        if is_excess {
            total = total.saturating_sub(copy.bytes);
        }
        is_excess
    });
    copies
}

/// Whether a copy has results of runs that can still be fetched.
pub(crate) fn has_results(copy: &ProjectCopy) -> bool {
    copy.workspace.exists() && Project::may_have_results(&copy.directory)
}

/// The bytes that the files below a directory take on the disk. Follows no link.
fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(status) = entry.metadata() else { continue };
        bytes += status.blocks() * BLOCK_BYTES;
        if status.is_dir() {
            bytes += bytes_below(&entry.path());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn copy(name: &str, bytes: u64, used: u64) -> ProjectCopy {
        ProjectCopy {
            directory: name.into(),
            workspace: name.into(),
            bytes,
            used: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(used)),
        }
    }

    #[test]
    fn the_longest_unused_copies_are_deleted_and_the_last_one_never() {
        let copies = || vec![copy("old", 5, 1), copy("new", 20, 3), copy("middle", 10, 2)];
        let names = |limit| {
            let excess = excess(copies(), limit, |_| false);
            excess.into_iter().map(|copy| copy.directory).collect::<Vec<_>>()
        };
        assert_eq!(names(35), Vec::<PathBuf>::new());
        assert_eq!(names(34), [PathBuf::from("old")]);
        assert_eq!(names(29), [PathBuf::from("old"), PathBuf::from("middle")]);
        assert_eq!(names(0), [PathBuf::from("old"), PathBuf::from("middle")]);
    }

    #[test]
    fn copies_with_results_are_not_deleted_for_their_size() {
        let copies = vec![copy("old", 5, 1), copy("new", 20, 3), copy("middle", 10, 2)];
        let excess = excess(copies, 25, |copy| copy.directory == Path::new("old"));
        assert_eq!(excess, [copy("middle", 10, 2)]);
    }

    #[test]
    fn a_measured_size_is_listed() {
        let disk = tempfile::tempdir().unwrap();
        let directory = disk.path().join("projects/key");
        std::fs::create_dir_all(directory.join("tree")).unwrap();
        let name = burst_protocol::RelativePath::new(b"home/app").unwrap();
        write_record(&directory.join("name"), &name).unwrap();
        std::fs::write(directory.join("tree/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", directory.join("tree/link")).unwrap();
        let mut copies = project_copies(disk.path());
        assert_eq!((copies.len(), copies[0].bytes), (1, 0));
        measure(&mut copies[0]);
        let bytes = project_copies(disk.path())[0].bytes;
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_copy_is_measured_again_only_if_it_was_used_since() {
        let disk = tempfile::tempdir().unwrap();
        std::fs::write(disk.path().join("file"), vec![1; 10_000]).unwrap();
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (measured, used, is_measured) in [(9, 10, true), (10, 10, true), (11, 10, false)] {
            let size = std::fs::File::create(disk.path().join(SIZE)).unwrap();
            size.set_modified(time(measured)).unwrap();
            let directory = disk.path().to_owned();
            let mut copy = ProjectCopy { directory, ..copy("", 7, used) };
            measure(&mut copy);
            assert_eq!(copy.bytes != 7, is_measured, "{measured}");
        }
    }

    #[test]
    fn the_blocks_of_files_and_directories_are_counted_and_links_are_not_followed() {
        let disk = tempfile::tempdir().unwrap();
        let entries = ["a", "a/b", "a/b/large", "a/small", "a/link"];
        let [directory, below, large, small, link] = entries.map(|path| disk.path().join(path));
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(&large, vec![1; 100_000]).unwrap();
        std::fs::write(&small, "1").unwrap();
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        let blocks = |path: &PathBuf| path.symlink_metadata().unwrap().blocks();
        let expected: u64 = [&directory, &below, &large, &small, &link].map(blocks).iter().sum();
        assert!(expected * 512 >= 100_000);
        assert_eq!(bytes_below(disk.path()), expected * 512);
    }
}
