//! Reading of files that anybody may have made: a pipe is not waited for, a device not read, and a
//! large file not taken into memory.

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

/// Reads a regular file of at most so many bytes.
pub fn read(path: &Path, most: u64, links: Links) -> std::io::Result<Vec<u8>> {
    let flags = match links {
        Links::Followed => OFlags::empty(),
        Links::Refused => OFlags::NOFOLLOW,
    };
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    if found.len() > most {
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
