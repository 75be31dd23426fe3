//! Which directory is at the path of a workspace: a path can belong to one workspace after
//! another, such as to a new clone.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use burst_protocol::Digest;

/// A number that another directory at the same path does not have: of the inode and the time
/// at which it was made.
pub(crate) fn identity(root: &Path) -> Option<u64> {
    let found = std::fs::metadata(root).ok()?;
    let made = found.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let bytes = [found.ino().to_le_bytes().as_slice(), &made.as_nanos().to_le_bytes()].concat();
    let digest = Digest::of(&bytes);
    Some(u64::from_le_bytes(*digest.as_bytes().first_chunk()?))
}
