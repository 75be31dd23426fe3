//! The path of a background process's socket in its directory.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::directories::unusable;
use crate::error::Error;

/// Bytes of a socket's path: the size of `sun_path` without its final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The path of the socket in a directory, and the open directory that keeps it valid: a path
/// that is too long for a socket goes through `/proc/self/fd`.
pub(crate) fn path(directory: &Path) -> Result<(PathBuf, Option<File>), Error> {
    let path = directory.join("socket");
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let opened = File::open(directory).map_err(|source| unusable("open", directory, &source))?;
    let short = format!("/proc/self/fd/{}/socket", opened.as_raw_fd());
    Ok((PathBuf::from(short), Some(opened)))
}
