//! Validated paths: bytes from a peer become a path only here.
//!
//! A [`RelativePath`] is a sequence of names below a directory that the context defines.
//! It is never absolute, has no `.`, `..`, empty name or NUL, and keeps the limits of
//! [`limit`](crate::limit). Names are bytes and need not be UTF-8. This module does not
//! look at the file system: code that opens a path must not follow symbolic links.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limit::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// A path or file name that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is empty, or has two separators in a row or one at its end.
    #[error("a name in the path is empty")]
    Empty,
    /// The path begins with `/` but has to be relative.
    #[error("the path is absolute")]
    Absolute,
    /// The path does not begin with `/` but has to be absolute.
    #[error("the path is not absolute")]
    NotAbsolute,
    /// A name is `.` or `..`.
    #[error("the path contains `.` or `..`")]
    Dots,
    /// The path contains a NUL byte, or a single name contains a separator.
    #[error("the path contains a NUL byte, or a file name contains a separator")]
    Forbidden,
    /// The path is longer than [`PATH_BYTES_MAX`], or a name is longer than
    /// [`NAME_BYTES_MAX`].
    #[error(
        "the path is longer than {PATH_BYTES_MAX} bytes, or a name in it is longer than \
         {NAME_BYTES_MAX} bytes"
    )]
    TooLong,
    /// The path has more names than [`PATH_DEPTH_MAX`].
    #[error("the path is nested deeper than {PATH_DEPTH_MAX} directories")]
    TooDeep,
}

/// A validated file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct FileName(Box<[u8]>);

impl FileName {
    /// Checks `bytes` and keeps a copy.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        check_name(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The name as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for FileName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<serde_bytes::ByteBuf> for FileName {
    type Error = PathError;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, PathError> {
        check_name(&bytes)?;
        Ok(Self(bytes.into_vec().into_boxed_slice()))
    }
}

impl From<FileName> for serde_bytes::ByteBuf {
    fn from(name: FileName) -> Self {
        Self::from(name.0.into_vec())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A validated path below a directory, of at least one name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct RelativePath(Box<[u8]>);

impl RelativePath {
    /// Checks `bytes` and keeps a copy.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        check_path(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The path below `/` of an absolute path.
    pub fn below_root(absolute: &[u8]) -> Result<Self, PathError> {
        Self::new(absolute.strip_prefix(b"/").ok_or(PathError::NotAbsolute)?)
    }

    /// The path as bytes, its names separated by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names, beginning at the top.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The last name.
    pub fn file_name(&self) -> &[u8] {
        self.split().1
    }

    /// The path without its last name; `None` if it has only one.
    pub fn parent(&self) -> Option<Self> {
        self.split().0.map(|parent| Self(parent.into()))
    }

    /// Appends a name. Fails if the result exceeds a limit.
    pub fn join(&self, name: &FileName) -> Result<Self, PathError> {
        self.join_bytes(name.as_bytes())
    }

    /// Appends a path. Fails if the result exceeds a limit.
    pub fn join_path(&self, below: &Self) -> Result<Self, PathError> {
        self.join_bytes(below.as_bytes())
    }

    /// The rest of this path below `ancestor`; `None` if it does not lie below it.
    pub fn below(&self, ancestor: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(ancestor.as_bytes())?.strip_prefix(b"/")?;
        Some(Self(rest.into()))
    }

    /// Whether this is the path `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.below(other).is_some()
    }

    /// This path below `directory`, as the operating system knows it.
    pub fn in_directory(&self, directory: &Path) -> PathBuf {
        directory.join(OsStr::from_bytes(&self.0))
    }

    /// The absolute path, for a path whose root is `/`.
    pub fn absolute(&self) -> PathBuf {
        self.in_directory(Path::new("/"))
    }

    /// Formats the path for messages, as [`display`] does.
    pub fn display(&self) -> impl fmt::Display + '_ {
        Shown(&self.0)
    }

    /// Splits off the last name.
    pub fn split(&self) -> (Option<&[u8]>, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (Some(&self.0[..at]), &self.0[at + 1..]),
            None => (None, &self.0),
        }
    }

    fn join_bytes(&self, below: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + below.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(below);
        check_path(&bytes)?;
        Ok(Self(bytes.into_boxed_slice()))
    }
}

impl From<FileName> for RelativePath {
    fn from(name: FileName) -> Self {
        Self(name.0)
    }
}

impl TryFrom<serde_bytes::ByteBuf> for RelativePath {
    type Error = PathError;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, PathError> {
        check_path(&bytes)?;
        Ok(Self(bytes.into_vec().into_boxed_slice()))
    }
}

impl From<RelativePath> for serde_bytes::ByteBuf {
    fn from(path: RelativePath) -> Self {
        Self::from(path.0.into_vec())
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// The path without `.` and `..`; symbolic links are not resolved.
pub fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// Formats a path for messages: control characters and bytes that are not UTF-8 are
/// escaped, so that a file name cannot send commands to a terminal.
pub fn display(path: &Path) -> impl fmt::Display + '_ {
    Shown(path.as_os_str().as_bytes())
}

struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(formatter, "{}", character.escape_default())?;
                } else {
                    write!(formatter, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(formatter, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
        _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(PathError::Forbidden),
        _ => Ok(()),
    }
}

fn check_path(path: &[u8]) -> Result<(), PathError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if path.first() == Some(&b'/') {
        return Err(PathError::Absolute);
    }
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        check_name(name)?;
        depth += 1;
    }
    if depth > PATH_DEPTH_MAX { Err(PathError::TooDeep) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_leave_the_tree_are_rejected() {
        for (bytes, why) in [
            (&b""[..], PathError::Empty),
            (b"/etc/passwd", PathError::Absolute),
            (b"a//b", PathError::Empty),
            (b"a/", PathError::Empty),
            (b"../a", PathError::Dots),
            (b"a/../b", PathError::Dots),
            (b"./a", PathError::Dots),
            (b"a\0b", PathError::Forbidden),
        ] {
            assert_eq!(RelativePath::new(bytes), Err(why), "{bytes:?}");
        }
        assert_eq!(RelativePath::new(&[b'a'; 256]), Err(PathError::TooLong));
        assert_eq!(RelativePath::new(&b"a/".repeat(200)[..399]).map(|_| ()), Ok(()));
        assert_eq!(RelativePath::new(&b"a/".repeat(256)[..511]), Err(PathError::TooDeep));
    }

    #[test]
    fn a_path_is_within_itself_and_those_above() {
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        for (inner, outer, expected) in
            [("a/b", "a/b", true), ("a/b", "a", true), ("a", "a/b", false), ("ab", "a", false)]
        {
            assert_eq!(path(inner).is_within(&path(outer)), expected, "{inner} {outer}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_survive() {
        let path = RelativePath::new(b"src/\xff\xfe.rs").unwrap();
        assert_eq!(path.as_bytes(), b"src/\xff\xfe.rs");
        assert_eq!(path.display().to_string(), "src/\\xff\\xfe.rs");
        assert_eq!(path.file_name(), b"\xff\xfe.rs");
        assert_eq!(display(&path.absolute()).to_string(), "/src/\\xff\\xfe.rs");
        assert_eq!(
            path.in_directory(Path::new("/a")).as_os_str().as_bytes(),
            b"/a/src/\xff\xfe.rs"
        );
    }

    proptest! {
        #[test]
        fn an_accepted_path_never_climbs(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(path) = RelativePath::new(&bytes) {
                let mut depth = 0i32;
                for name in path.names() {
                    prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                    depth += 1;
                }
                prop_assert!(depth >= 1);
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
            }
        }
    }
}
