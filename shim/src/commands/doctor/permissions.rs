//! The check of who may read and write the files of cargo-burst. Pure.

use std::path::PathBuf;

use super::check::Check;
use crate::error::ErrorKind;

/// What a file or directory of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A directory, or a key, for its owner alone.
    Private,
    /// The user config or its directory, which others may read if no token is in it: that is
    /// checked where it is read.
    Config,
}

/// A file or directory of ours that exists.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    /// Its path.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) role: Role,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Whether it belongs to this user.
    pub(super) is_ours: bool,
}

/// Others cannot read what is private, nor write what is ours.
pub(super) fn permissions(found: &[Owned]) -> Check {
    const NAME: &str = "permissions";
    let error = |finding, step| Check::error(NAME, ErrorKind::State, finding, step);
    if found.is_empty() {
        return Check::ok(NAME, "nothing of cargo-burst is on this machine yet");
    }
    for Owned { path, role, mode, is_ours } in found {
        let shown = path.display();
        if !is_ours {
            return error(
                format!("`{shown}` belongs to another user"),
                format!("`sudo chown -R \"$(id -u):$(id -g)\" '{shown}'`"),
            );
        }
        let (forbidden, cure) = match role {
            Role::Private => (0o077, "go-rwx"),
            Role::Config => (0o022, "go-w"),
        };
        if mode & forbidden != 0 {
            let what = if mode & forbidden & 0o055 == 0 { "write" } else { "read" };
            return error(
                format!("other users may {what} `{shown}` (mode {:o})", mode & 0o777),
                format!(
                    "`chmod {cure} '{shown}'`; if others may have read a key, `cargo burst down`"
                ),
            );
        }
    }
    Check::ok(NAME, "state, cache and keys are readable only for you")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::State;

    fn owned(role: Role, mode: u32) -> Owned {
        Owned { path: "/s/x".into(), role, mode, is_ours: true }
    }

    #[test]
    fn private_files_are_for_their_owner_alone() {
        let check = |role, mode| permissions(&[owned(Role::Private, 0o700), owned(role, mode)]);
        assert_eq!(check(Role::Private, 0o600).state, State::Ok);
        for (role, mode, finding) in [
            (Role::Private, 0o640, "other users may read `/s/x` (mode 640)"),
            (Role::Private, 0o701, "other users may read `/s/x` (mode 701)"),
            (Role::Private, 0o602, "other users may write `/s/x` (mode 602)"),
            (Role::Config, 0o664, "other users may write `/s/x` (mode 664)"),
        ] {
            let check = check(role, mode);
            assert_eq!(check.state, State::Error(ErrorKind::State));
            assert_eq!(check.finding, finding);
        }
        assert_eq!(check(Role::Config, 0o644).state, State::Ok);
    }

    #[test]
    fn what_belongs_to_another_user_is_an_error() {
        let check = permissions(&[Owned { is_ours: false, ..owned(Role::Private, 0o700) }]);
        assert_eq!(check.finding, "`/s/x` belongs to another user");
        assert_eq!(permissions(&[]).state, State::Ok);
    }
}
