//! Operations on snapshots.

use serde_json::Value;

use super::{Image, World, labels_of, text};
use crate::catalogue::ServerType;
use crate::ledger::Item;
use crate::refusal::Refusal;

/// Size in GB of a snapshot that is created from a server.
const MADE_GB: f64 = 2.5;

impl World {
    /// Validates the image for a new server; returns its id.
    pub(super) fn image_for(&self, wanted: &str, kind: &ServerType) -> Result<u64, Refusal> {
        let image = wanted.parse().ok().and_then(|id: u64| self.images.get(&id));
        let image = image.ok_or_else(|| Refusal::invalid("image", "image not found"))?;
        if image.image_gb.is_none() {
            return Err(Refusal::invalid("image", "image is not available"));
        }
        if image.architecture != kind.architecture() {
            return Err(Refusal::invalid("image", "image has another architecture"));
        }
        if image.disk_gb > kind.disk {
            let mut refusal =
                Refusal::invalid("image", "image disk is bigger than server type disk");
            refusal.message = "image disk is bigger than server type disk".into();
            return Err(refusal);
        }
        Ok(image.id)
    }

    /// Carries out `POST /servers/{id}/actions/create_image`; returns the ids of image and
    /// action.
    pub fn create_image(
        &mut self,
        server: u64,
        body: &Value,
        now: i64,
    ) -> Result<(u64, u64), Refusal> {
        let labels = labels_of(body)?.unwrap_or_default();
        let from = self.servers.get(&server).ok_or_else(|| Refusal::not_found("server"))?.clone();
        if self.is_locked("server", server) {
            return Err(Refusal::locked("server"));
        }
        let id = self.new_id();
        self.images.insert(
            id,
            Image {
                id,
                description: text(body, "description").to_owned(),
                labels,
                architecture: from.kind.architecture().into(),
                disk_gb: from.kind.disk,
                image_gb: None,
                created: now,
                is_protected: false,
                from: Some((from.id, from.name)),
            },
        );
        Ok((id, self.begin("create_image", vec![("image", id), ("server", server)], now)))
    }

    pub(super) fn complete_image(&mut self, id: u64, now: i64) {
        if let Some(image) = self.images.get_mut(&id) {
            image.image_gb = Some(MADE_GB);
            self.ledger.open(id, "snapshot", Item::Storage { gb: MADE_GB, is_image: true }, now);
        }
    }

    /// Carries out `PUT /images/{id}`.
    pub fn update_image(&mut self, id: u64, body: &Value) -> Result<(), Refusal> {
        let labels = labels_of(body)?;
        let image = self.images.get_mut(&id).ok_or_else(|| Refusal::not_found("image"))?;
        image.labels = labels.unwrap_or_else(|| std::mem::take(&mut image.labels));
        if let Some(description) = body["description"].as_str() {
            image.description = description.to_owned();
        }
        Ok(())
    }

    /// Carries out `DELETE /images/{id}`.
    pub fn delete_image(&mut self, id: u64, now: i64) -> Result<(), Refusal> {
        if !self.images.contains_key(&id) {
            return Err(Refusal::not_found("image"));
        }
        if self.is_locked("image", id) {
            return Err(Refusal::locked("image"));
        }
        self.check_deletion("image", id)?;
        self.images.remove(&id);
        self.ledger.close(id, now);
        Ok(())
    }
}
