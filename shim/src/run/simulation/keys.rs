//! The keys of a simulated shim and its agents.

use burst_agent::identity::Identity;

/// Both ends' keys.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) shim: Identity,
    pub(super) agent: Identity,
}

impl Keys {
    /// New ones.
    pub(super) fn generate() -> Self {
        let (shim, agent) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        Self { shim, agent }
    }
}
