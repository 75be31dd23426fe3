//! What the copies of projects take on this machine, as `status` shows it.

use burst_agent::ProjectCopy;

/// The copies of projects on this machine, in all.
pub(super) struct Copies {
    /// How many there are.
    pub(super) projects: u64,
    /// The bytes that they take, as last measured; `None` while one was not measured yet.
    pub(super) bytes: Option<u64>,
    /// The GB that they may take.
    pub(super) limit_gb: u64,
}

impl Copies {
    /// The sum of these copies.
    pub(super) fn of(copies: &[ProjectCopy], limit_gb: u64) -> Self {
        // A copy that was measured takes more than nothing.
        let measured = copies.iter().map(|copy| Some(copy.bytes).filter(|bytes| *bytes > 0));
        let bytes = measured.sum();
        Self { projects: copies.len() as u64, bytes, limit_gb }
    }
}
