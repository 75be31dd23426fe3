//! Protection of servers, volumes, images and addresses against deletion.

use serde_json::Value;

use super::World;
use super::actions::Change;
use crate::refusal::Refusal;

impl World {
    /// Carries out `POST /KIND/{id}/actions/change_protection`; returns the id of the action.
    pub fn change_protection(
        &mut self,
        kind: &'static str,
        id: u64,
        body: &Value,
        now: i64,
    ) -> Result<u64, Refusal> {
        let held = *self.protection_of(kind, id).ok_or_else(|| Refusal::not_found(kind))?;
        if self.is_locked(kind, id) {
            return Err(Refusal::locked(kind));
        }
        if kind == "server" && body["rebuild"] != body["delete"] {
            let message = "delete and rebuild protection must have the same value";
            return Err(Refusal::invalid("rebuild", message));
        }
        let change = Change::Protection(body["delete"].as_bool().unwrap_or(held));
        Ok(self.begin_change("change_protection", vec![(kind, id)], change, now))
    }

    /// Whether the deletion of a resource is refused; `None` if it does not exist.
    pub(super) fn protection_of(&mut self, kind: &str, id: u64) -> Option<&mut bool> {
        match kind {
            "server" => self.servers.get_mut(&id).map(|one| &mut one.is_protected),
            "volume" => self.volumes.get_mut(&id).map(|one| &mut one.is_protected),
            "primary_ip" => self.primary_ips.get_mut(&id).map(|one| &mut one.is_protected),
            "image" => self.images.get_mut(&id).map(|one| &mut one.is_protected),
            _ => None,
        }
    }

    /// Refuses the deletion of a protected resource.
    pub(super) fn check_deletion(&mut self, kind: &str, id: u64) -> Result<(), Refusal> {
        match self.protection_of(kind, id) {
            Some(true) => Err(Refusal::new("protected", format!("{kind} deletion is protected"))),
            _ => Ok(()),
        }
    }
}
