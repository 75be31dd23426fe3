//! cargo-burst's own directories, by the XDG rules, and errors of files in them.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::error::{Error, ErrorKind};

/// The mode of a directory that only its owner may use.
const PRIVATE: u32 = 0o700;

/// The working directory of this process.
pub(crate) fn current_directory() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(|source| {
        Error::new(
            ErrorKind::Workspace,
            "cannot find the current directory",
            "it may have been deleted: change to an existing directory",
        )
        .caused_by(&source)
    })
}

/// The directories of this program. Where one is inside a workspace, it holds no sources.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    /// `$XDG_CONFIG_HOME`, which other programs share.
    pub(crate) config_home: PathBuf,
    /// `$XDG_CACHE_HOME/cargo-burst`: files that can be made again.
    pub(crate) cache: PathBuf,
    /// `$XDG_STATE_HOME/cargo-burst`: keys, addresses, logs, the audit record.
    pub(crate) state: PathBuf,
}

impl Directories {
    /// Finds them by the environment. Fails if there is neither a home directory nor a
    /// complete set of XDG variables.
    pub(crate) fn find() -> Result<Self, Error> {
        let base = etcetera::base_strategy::Xdg::new().map_err(|error| {
            Error::new(
                ErrorKind::State,
                "cannot find your home directory",
                "set HOME, or XDG_CONFIG_HOME, XDG_CACHE_HOME and XDG_STATE_HOME",
            )
            .caused_by(&error)
        })?;
        Ok(Self {
            config_home: base.config_dir(),
            cache: base.cache_dir().join("cargo-burst"),
            state: base
                .state_dir()
                .unwrap_or_else(|| base.home_dir().join(".local/state"))
                .join("cargo-burst"),
        })
    }

    /// The directories that are this program's alone, with the one in the configuration home.
    pub(crate) fn own(&self) -> [PathBuf; 3] {
        [self.config_home.join("cargo-burst"), self.cache.clone(), self.state.clone()]
    }

    /// Closes what exists of these directories to other users: those of an earlier version
    /// were open. Everything in them is below one that this covers.
    pub(crate) fn close_to_others(&self) -> Result<(), Error> {
        const OTHERS: u32 = 0o077;
        for path in [&self.cache, &self.state] {
            let Ok(found) = path.symlink_metadata() else { continue };
            let is_ours = found.uid() == rustix::process::geteuid().as_raw();
            if found.is_dir() && is_ours && found.mode() & OTHERS != 0 {
                let private = Permissions::from_mode(PRIVATE);
                std::fs::set_permissions(path, private)
                    .map_err(|source| unusable("protect", path, &source))?;
            }
        }
        Ok(())
    }

    /// The state of the Hetzner provider: keys of servers, the owner, the audit record.
    pub(crate) fn hetzner(&self) -> PathBuf {
        self.state.join("hetzner")
    }
}

/// Creates a directory and those above it, for the user alone, if it does not exist.
pub(crate) fn create_private(path: &Path) -> Result<(), Error> {
    let created = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    created.map_err(|source| unusable("create", path, &source))
}

/// The error of an operation on a file or directory of our own: `action` completes
/// "cannot ", as in "create" or "write".
pub(crate) fn unusable(action: &str, path: &Path, source: &io::Error) -> Error {
    let shown = path.display();
    let hint = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("free disk space where `{shown}` is, then run the command again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
            "let your user read and write `{shown}`, or set XDG_STATE_HOME, XDG_CACHE_HOME and \
             XDG_CONFIG_HOME to directories where it may"
        ),
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists => {
            format!("move away the file or directory in the way of `{shown}`")
        }
        _ => format!("check the disk and the file system of `{shown}`"),
    };
    Error::new(ErrorKind::State, format!("cannot {action} `{shown}`"), hint).caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_for_their_owner_and_older_ones_corrected() {
        let home = tempfile::tempdir().unwrap();
        let below = |name: &str| home.path().join(name);
        let directories = Directories {
            config_home: below("config"),
            cache: below("cache"),
            state: below("state"),
        };
        directories.close_to_others().unwrap();
        assert!(!directories.cache.exists());
        std::fs::create_dir(&directories.cache).unwrap();
        std::fs::set_permissions(&directories.cache, Permissions::from_mode(0o755)).unwrap();
        create_private(&directories.state.join("local")).unwrap();
        directories.close_to_others().unwrap();
        for path in [&directories.cache, &directories.state, &directories.state.join("local")] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700, "{path:?}");
        }
    }

    #[test]
    fn hints_fit_the_cause() {
        let hint = |kind: io::ErrorKind| {
            unusable("write", Path::new("/x"), &kind.into()).hint().to_owned()
        };
        assert!(hint(io::ErrorKind::StorageFull).starts_with("free disk space"));
        assert!(hint(io::ErrorKind::PermissionDenied).starts_with("let your user"));
        assert!(hint(io::ErrorKind::NotADirectory).starts_with("move away"));
        assert!(hint(io::ErrorKind::InvalidData).starts_with("check the disk"));
    }
}
