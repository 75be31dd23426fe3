//! The files by which the kernel's control groups are read and set.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::limit;

/// Writes a control file, which must exist already.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
    };
    let mut file = File::options().write(true).open(path).map_err(named)?;
    file.write_all(text.as_bytes()).map_err(named)
}

/// Writes a control file if this kernel has it.
pub(super) fn write_if_known(path: &Path, text: &str) -> io::Result<()> {
    match write(path, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The number in a file; none if it is missing or says `max`.
pub(super) fn read_number(path: &Path) -> Option<u64> {
    limit::number(&fs::read_to_string(path).ok()?)
}
