//! Reading of manifests, lock files and other files of cargo, which are not trusted.

use std::path::Path;

use burst_sync::regular_file::{self, Links};
use toml::Table;

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// The content of a file; none if it is missing, or cargo would not read it.
pub(super) fn table(file: &Path) -> Option<Table> {
    let text = regular_file::read(file, BYTES_MAX, Links::Followed).ok()?;
    str::from_utf8(&text).ok()?.parse().ok()
}
