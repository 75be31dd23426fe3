//! Operations on images: snapshots, and the system images of the vendor.

use serde_json::Value;

use super::{World, labels_of, text};
use crate::catalogue::{SYSTEM_IMAGES, SystemImage};
use crate::ledger::Item;
use crate::refusal::Refusal;
use crate::selector::Labels;

/// Size in GB of a snapshot that is created from a server.
const MADE_GB: f64 = 2.5;

/// The size in GB of the disk that a system image needs.
const SYSTEM_DISK_GB: u32 = 5;

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The id.
    pub id: u64,
    /// The system image that it is; `None` for a snapshot.
    pub system: Option<&'static SystemImage>,
    /// The description for the user.
    pub description: String,
    /// The labels.
    pub labels: Labels,
    /// The CPU architecture.
    pub architecture: String,
    /// The least size of a server's disk in GB.
    pub disk_gb: u32,
    /// The stored size in GB; `None` while it is being created, and of a system image.
    pub image_gb: Option<f64>,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
    /// Whether its deletion is refused.
    pub is_protected: bool,
    /// The id and name of the server that it was created from.
    pub from: Option<(u64, String)>,
}

impl Image {
    /// `system` or `snapshot`.
    pub const fn kind(&self) -> &'static str {
        if self.system.is_some() { "system" } else { "snapshot" }
    }

    /// `available` or `creating`.
    pub const fn status(&self) -> &'static str {
        let is_available = self.system.is_some() || self.image_gb.is_some();
        if is_available { "available" } else { "creating" }
    }

    /// The name, which only a system image has.
    pub fn name(&self) -> Option<&'static str> {
        self.system.map(|system| system.name)
    }
}

impl World {
    /// Adds the images that exist at the start.
    pub(super) fn add_images(&mut self, now: i64) {
        let image = |id: u64, architecture: &str, disk_gb: u32| Image {
            id,
            system: None,
            description: "snapshot".into(),
            labels: Labels::new(),
            architecture: architecture.to_owned(),
            disk_gb,
            image_gb: None,
            created: now,
            is_protected: false,
            from: None,
        };
        for system in &SYSTEM_IMAGES {
            let description = format!("{} {}", system.flavor, system.version);
            let made = image(system.id, system.architecture, SYSTEM_DISK_GB);
            let made = Image { system: Some(system), description, ..made };
            self.images.insert(system.id, made);
        }
        for snapshot in self.scenario.snapshots.clone() {
            let id = self.new_id();
            let item = Item::Storage { gb: snapshot.image_gb, is_image: true };
            self.ledger.open(id, "snapshot", item, now);
            let made = image(id, &snapshot.architecture, snapshot.disk_gb);
            let image_gb = Some(snapshot.image_gb);
            self.images.insert(id, Image { labels: snapshot.labels, image_gb, ..made });
        }
    }

    /// Validates the image for a server with a disk of this size; returns its id. The name of
    /// a system image stands for that of the server's architecture.
    pub(super) fn image_for(
        &self,
        wanted: &str,
        architecture: &str,
        disk_gb: u32,
    ) -> Result<u64, Refusal> {
        let named = self
            .images
            .values()
            .find(|image| image.name() == Some(wanted) && image.architecture == architecture);
        let image = wanted.parse().ok().and_then(|id: u64| self.images.get(&id)).or(named);
        let image = image.ok_or_else(|| Refusal::invalid("image", "image not found"))?;
        if image.status() != "available" {
            return Err(Refusal::invalid("image", "image is not available"));
        }
        if image.architecture != architecture {
            return Err(Refusal::invalid("image", "image has another architecture"));
        }
        if image.disk_gb > disk_gb {
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
                system: None,
                description: text(body, "description").to_owned(),
                labels,
                architecture: from.kind.architecture().into(),
                disk_gb: from.disk_gb,
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
        let image = self.images.get(&id).ok_or_else(|| Refusal::not_found("image"))?;
        if image.system.is_some() {
            return Err(Refusal::new("forbidden", "system images cannot be deleted"));
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
