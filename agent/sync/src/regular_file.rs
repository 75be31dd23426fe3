//! Reading of files that are not trusted: a pipe is not waited for, a device not read, and a
//! large file not taken into memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Whether a symbolic link in the place of a file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed.
    Followed,
    /// It is an error.
    Refused,
}

/// Opens a regular file for reading. Any other file is an error of the kind `InvalidInput`.
pub fn open(path: &Path, links: Links) -> std::io::Result<File> {
    let flags = match links {
        Links::Followed => OFlags::empty(),
        Links::Refused => OFlags::NOFOLLOW,
    };
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// Reads a regular file of at most so many bytes. A longer one is an error of the kind
/// `FileTooLarge`.
pub fn read(path: &Path, most: u64, links: Links) -> std::io::Result<Vec<u8>> {
    let file = open(path, links)?;
    if file.metadata()?.len() > most {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_regular_file_is_read() {
        let disk = tempfile::tempdir().unwrap();
        let at = |name: &str| disk.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        assert_eq!(read(&at("link"), 4, Links::Followed).unwrap(), b"text");
        assert!(read(&at("link"), 4, Links::Refused).is_err());
        for name in ["zero", "pipe", "none"] {
            assert!(read(&at(name), 4, Links::Followed).is_err(), "{name}");
        }
        assert!(read(&at("file"), 3, Links::Refused).is_err());
    }
}
