//! Reads and writes the files of records.
//!
//! Invariant: whatever stands in the place of such a file, a read neither waits, nor follows a
//! link, nor takes more memory than the largest record needs.

use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use burst_sync::regular_file::{self, Links};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::atomic_file;

/// The mode of the files of a run.
pub(super) const PRIVATE: u32 = 0o600;

/// The version of what is recorded. Another one is not read.
const VERSION: u32 = 1;

/// Most bytes of a file that is read: far more than a command line takes.
const BYTES_MAX: u64 = 1 << 20;

/// What was found in a file of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<T> {
    /// There is no such file.
    Absent,
    /// What was written.
    Value(T),
    /// Why it cannot be read.
    Unreadable(String),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    value: T,
}

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular_file::open(path, Links::Refused).map_err(told)
}

/// The bytes of a file; `None` if there is none.
pub(super) fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match regular_file::read(path, BYTES_MAX, Links::Refused) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(told(error)),
    }
}

/// An error as users are told of it.
fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::other("it is no regular file"),
        io::ErrorKind::FileTooLarge => io::Error::other("it is too large"),
        _ => error,
    }
}

/// The text of a file, as far as it can be read.
pub(super) fn text(path: &Path) -> Option<String> {
    String::from_utf8(bytes(path).ok()??).ok()
}

/// The number that is alone in a file.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// Reads JSON that [`write()`] has written.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Content<T> {
    let text = match bytes(path) {
        Ok(None) => return Content::Absent,
        Ok(Some(text)) => text,
        Err(error) => return Content::Unreadable(error.to_string()),
    };
    match serde_json::from_slice(&text) {
        Ok(Version { version }) if version != VERSION => {
            Content::Unreadable(format!("another version of cargo-burst wrote it ({version})"))
        }
        Ok(_) => match serde_json::from_slice(&text) {
            Ok(Versioned { value, .. }) => Content::Value(value),
            Err(error) => Content::Unreadable(error.to_string()),
        },
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

/// Writes JSON.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(&Versioned { version: VERSION, value })?;
    atomic_file::write(path, &text, PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_told_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let found = || read::<u32>(&path);
        let unreadable = |why: &str| Content::Unreadable(why.to_owned());
        assert_eq!(found(), Content::Absent);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(found(), unreadable("it is no regular file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(found(), unreadable("it is no regular file"));
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(matches!(found(), Content::Unreadable(_)));
        std::fs::remove_file(&path).unwrap();
        let file = File::create(&path).unwrap();
        file.set_len(BYTES_MAX + 1).unwrap();
        assert_eq!(found(), unreadable("it is too large"));
        std::fs::write(&path, "{\"version\":2,\"at\":1}").unwrap();
        assert_eq!(found(), unreadable("another version of cargo-burst wrote it (2)"));
        std::fs::write(&path, "{\"versi").unwrap();
        assert!(matches!(found(), Content::Unreadable(_)));
    }
}
