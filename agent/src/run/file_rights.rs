//! Access to files with the rights of another user, for a moment, in a process of root.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// The rights of root, for what belongs to the agent.
pub(super) const ROOT: (u32, u32) = (0, 0);

/// Gives the rights back, also after a panic.
struct Former(Gid, Uid);

impl Drop for Former {
    fn drop(&mut self) {
        setfsuid(self.1);
        setfsgid(self.0);
    }
}

/// Does something with the file rights of a user and group. In a process that is not root,
/// the kernel leaves the rights as they are.
pub(super) fn with<T>((user, group): (u32, u32), work: impl FnOnce() -> T) -> T {
    let _former = Former(setfsgid(Gid::from_raw(group)), setfsuid(Uid::from_raw(user)));
    work()
}
