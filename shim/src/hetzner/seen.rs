//! The servers and volumes that an account has seen. Ids are unique over all of Hetzner, so two
//! tokens that see one resource belong to one Hetzner project.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burst_hcloud::Id;

use super::holding::Holding;
use super::inventory::Inventory;

/// What the last list of the API held, and what was created since.
#[derive(Debug, Default)]
pub(super) struct SeenResources(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    servers: BTreeSet<Id>,
    volumes: BTreeSet<Id>,
}

impl SeenResources {
    /// Notes a list of the API. An empty one does not replace the last one: what was deleted
    /// still tells projects apart.
    pub(super) fn note(&self, inventory: &Inventory) {
        if inventory.servers.is_empty() && inventory.volumes.is_empty() {
            return;
        }
        *self.lock() = Ids {
            servers: inventory.servers.iter().map(|server| server.id).collect(),
            volumes: inventory.volumes.iter().map(|volume| volume.id).collect(),
        };
    }

    /// Adds a server and its volume.
    pub(super) fn add(&self, server: Id, volume: Id) {
        let mut ids = self.lock();
        ids.servers.insert(server);
        ids.volumes.insert(volume);
    }

    /// Whether there was any.
    pub(super) fn is_any(&self) -> bool {
        let ids = self.lock();
        !ids.servers.is_empty() || !ids.volumes.is_empty()
    }

    /// Whether one of them is in a list of the API.
    pub(super) fn is_any_in(&self, inventory: &Inventory) -> bool {
        let ids = self.lock();
        inventory.servers.iter().any(|server| ids.servers.contains(&server.id))
            || inventory.volumes.iter().any(|volume| ids.volumes.contains(&volume.id))
    }

    /// Whether one of them is in a holding.
    pub(super) fn is_any_of(&self, holding: &Holding) -> bool {
        let ids = self.lock();
        holding.servers.iter().any(|server| ids.servers.contains(&Id(server.id)))
            || holding.volumes.iter().any(|volume| ids.volumes.contains(&Id(volume.id)))
    }

    /// The ids are consistent between any two statements, so a panic elsewhere does not make
    /// them unusable.
    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::holding::{HeldServerName, HeldVolumeName};

    #[test]
    fn a_holding_is_recognised_by_ids() {
        let seen = SeenResources::default();
        seen.add(Id(7), Id(70));
        let server = |id| HeldServerName { id, name: "s".into(), deletes_itself_at: None };
        let with_server = |id| Holding { servers: vec![server(id)], ..Holding::default() };
        let volume = |id| HeldVolumeName { id, name: "v".into() };
        let with_volume = |id| Holding { volumes: vec![volume(id)], ..Holding::default() };
        assert!(seen.is_any_of(&with_server(7)) && seen.is_any_of(&with_volume(70)));
        // Each project has a server and volumes of these names.
        assert!(!seen.is_any_of(&with_server(70)) && !seen.is_any_of(&with_volume(7)));
        assert!(!seen.is_any_of(&Holding::default()));
    }
}
