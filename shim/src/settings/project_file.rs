//! The project file of a workspace: its content, whether that is trusted, and the error
//! where it is not.

use std::path::{Path, PathBuf};

use burst_protocol::Digest;

use super::request::Request;
use crate::error::{Error, ErrorKind};

/// The project file, relative to the workspace root.
pub(crate) const PROJECT_FILE: &str = ".config/cargo-burst.toml";

/// A project file with one content: what is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The file, below the workspace root without symbolic links.
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
}

impl Content {
    /// The project file of the workspace `root` with these bytes.
    pub(crate) fn new(root: &Path, bytes: &[u8]) -> Self {
        Self { path: file_of(root), digest: Digest::of(bytes) }
    }

    /// The digest of the bytes.
    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }
}

/// Whether the user trusts a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No.
    Unknown,
    /// No, but another content of this file.
    Changed,
    /// Yes, this content.
    Recorded,
    /// Yes, every content: the file is in a trusted directory.
    InDirectory,
}

impl Standing {
    /// Whether the content is trusted.
    pub(crate) const fn is_trusted(self) -> bool {
        matches!(self, Self::Recorded | Self::InDirectory)
    }
}

/// A project file that was read.
#[derive(Clone, Debug)]
pub(crate) struct ProjectFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its content, as it was read.
    pub(crate) content: Content,
    /// Whether the user trusts it.
    pub(crate) standing: Standing,
}

impl ProjectFile {
    /// What the file asks for beyond the user's own settings, in lines.
    pub(crate) fn asks_for(&self, requests: &[Request]) -> String {
        let lines: String = requests.iter().map(|request| format!("  {request}\n")).collect();
        format!("`{}` asks for more than your own settings:\n{lines}", self.path.display())
    }

    /// The error of a file that asks for what needs trust, and has none.
    pub(super) fn untrusted(&self, requests: &[Request]) -> Error {
        let path = self.path.display();
        let state = match self.standing {
            Standing::Changed => "has changed since you trusted it",
            Standing::Unknown | Standing::Recorded | Standing::InDirectory => "is not trusted",
        };
        let message = format!("`{path}` asks for more than your own settings and {state}");
        let hint = "read the file; `cargo burst trust` allows this content of it";
        let error = Error::new(ErrorKind::Untrusted, message, hint);
        requests.iter().fold(error, |error, request| error.cause(request.to_string()))
    }
}

/// The project file of a workspace by the one name that it has without symbolic links.
pub(super) fn file_of(root: &Path) -> PathBuf {
    root.canonicalize().unwrap_or_else(|_| root.to_owned()).join(PROJECT_FILE)
}
