//! What the copies of projects take on this machine, as `status` shows it.

use burst_agent::ProjectCopy;

/// The copies of projects on this machine, in all.
pub(super) struct Copies {
    /// How many there are.
    pub(super) projects: u64,
    /// The bytes that they take, as last measured.
    pub(super) bytes: u64,
    /// The GB that they may take.
    pub(super) limit_gb: u64,
}

impl Copies {
    /// The sum of these copies.
    pub(super) fn of(copies: &[ProjectCopy], limit_gb: u64) -> Self {
        let bytes = copies.iter().map(|copy| copy.bytes).sum();
        Self { projects: copies.len() as u64, bytes, limit_gb }
    }
}
