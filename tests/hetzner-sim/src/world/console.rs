//! Changes that somebody makes by hand, in the vendor's console: at once, without an action,
//! and whatever is locked or protected.

use super::{Effect, World};
use crate::refusal::Refusal;

impl World {
    /// Deletes a server; its volumes are detached.
    pub fn delete_server_by_hand(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        self.servers.get(&id).ok_or_else(|| Refusal::not_found("server"))?;
        self.remove_server(id, now);
        Ok(())
    }

    /// Detaches a volume from its server.
    pub fn detach_volume_by_hand(&mut self, id: u64) -> Result<(), Refusal> {
        self.volumes.get(&id).ok_or_else(|| Refusal::not_found("volume"))?;
        self.detach(id);
        Ok(())
    }

    /// Deletes a volume, which is detached first.
    pub fn delete_volume_by_hand(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        self.detach_volume_by_hand(id)?;
        self.remove_volume(id, now);
        Ok(())
    }

    /// Detaches a volume, without an action.
    pub(super) fn detach(&mut self, volume: u64) {
        let Some(held) = self.volumes.get_mut(&volume) else { return };
        if let Some(server) = held.server.take() {
            self.effects.push(Effect::Unplug { volume, server });
        }
    }
}
