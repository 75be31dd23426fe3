//! What is there, what it has cost, and what will be deleted when.

use burst_hcloud::pricing::Pricing;
use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::error;
use super::inventory::{Inventory, is_of};
use super::lease::{self, HOUR, Verdict};
use super::naming::{self, HOST, IMAGE, PROJECT_NAME};
use super::server::ServerSummary;
use crate::error::Error;

/// Hours by which a month's storage is billed.
const HOURS_OF_MONTH: f64 = 730.0;

/// What is there. All times are unix seconds, all prices without tax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The API's time.
    pub(crate) now: i64,
    /// Of all prices.
    pub(crate) currency: String,
    /// Servers.
    pub(crate) servers: Vec<ServerLine>,
    /// Volumes.
    pub(crate) volumes: Vec<VolumeLine>,
    /// Images.
    pub(crate) images: Vec<ImageLine>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerLine {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is this installation's.
    pub(crate) own: bool,
    /// The machine that made it.
    pub(crate) host: String,
    /// Its type.
    pub(crate) server_type: String,
    /// Where it is.
    pub(crate) location: String,
    /// How it is, in the API's words.
    pub(crate) status: String,
    /// When it was created.
    pub(crate) created: i64,
    /// When it was last used.
    pub(crate) last_use: i64,
    /// Whether a command uses it now.
    pub(crate) in_use: bool,
    /// Until when it is paid.
    pub(crate) paid_until: i64,
    /// When it is deleted if nobody uses it; none: by hand.
    pub(crate) deleted_at: Option<i64>,
    /// What it has cost so far, with its address.
    pub(crate) cost: f64,
    /// What each further hour costs.
    pub(crate) hourly: f64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeLine {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is this installation's.
    pub(crate) own: bool,
    /// The name of its project's directory.
    pub(crate) project: String,
    /// Where it is.
    pub(crate) location: String,
    /// GB.
    pub(crate) gb: f64,
    /// Whether it is attached.
    pub(crate) attached: bool,
    /// When it was last used.
    pub(crate) last_use: i64,
    /// When it is deleted if nobody uses it; none: by hand.
    pub(crate) deleted_at: Option<i64>,
    /// What it has cost so far.
    pub(crate) cost: f64,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageLine {
    /// Its number.
    pub(crate) id: u64,
    /// Its description.
    pub(crate) description: String,
    /// When it was made.
    pub(crate) created: i64,
    /// GB that are stored.
    pub(crate) gb: f64,
    /// What it costs in a month.
    pub(crate) monthly: f64,
}

/// What a server has cost: every started hour.
pub(crate) fn server_cost(created: i64, now: i64, hourly: f64) -> f64 {
    let hours = (lease::paid_until(created, now) - created) / HOUR;
    hours as f64 * hourly
}

impl Account {
    /// What is there; `all` also shows what other owners have made with this token.
    pub(crate) async fn report(&self, all: bool) -> Result<Report, Error> {
        let images = naming::ours(Some(IMAGE));
        let asked = tokio::try_join!(
            Inventory::ask(&self.client),
            self.client.snapshots(&images),
            self.client.pricing()
        );
        let (inventory, images, pricing) =
            asked.map_err(|error| error::api("ask Hetzner what is there", &error))?;
        let now = self.client.now().as_second();
        let is_meant = |labels| all || is_of(labels, &self.owner);
        let servers = inventory.servers.iter().filter(|one| is_meant(&one.labels));
        let volumes = inventory.volumes.iter().filter(|one| is_meant(&one.labels));
        let per_gb = pricing.image.price_per_gb_month.net();
        let images = images.iter().map(|image| ImageLine {
            id: image.id.0,
            description: image.description.clone(),
            created: image.created.as_second(),
            gb: image.image_size.unwrap_or(0.0),
            monthly: image.image_size.unwrap_or(0.0) * per_gb,
        });
        Ok(Report {
            now,
            servers: servers.map(|one| self.server_line(one, &pricing, now)).collect(),
            volumes: volumes.map(|one| self.volume_line(one, &pricing, now)).collect(),
            images: images.collect(),
            currency: pricing.currency,
        })
    }

    fn server_line(&self, server: &Server, pricing: &Pricing, now: i64) -> ServerLine {
        let facts = self.server_facts(server);
        let summary = ServerSummary::of(server);
        let hourly = summary.hourly + pricing.ipv4_hourly(&summary.location);
        ServerLine {
            name: server.name.clone(),
            own: is_of(&server.labels, &self.owner),
            host: server.labels.get(HOST).cloned().unwrap_or_default(),
            server_type: summary.server_type,
            location: summary.location,
            status: server.status.to_string(),
            created: facts.created,
            last_use: if facts.in_use { now } else { facts.last_use },
            in_use: facts.in_use,
            paid_until: lease::paid_until(facts.created, now),
            deleted_at: deleted_at(|at| lease::server(facts, at), now),
            cost: server_cost(facts.created, now, hourly),
            hourly,
        }
    }

    fn volume_line(&self, volume: &Volume, pricing: &Pricing, now: i64) -> VolumeLine {
        let facts = self.volume_facts(volume);
        let hours = (now - facts.created).max(0) as f64 / HOUR as f64;
        let per_gb = pricing.volume.price_per_gb_month.net();
        VolumeLine {
            name: volume.name.clone(),
            own: is_of(&volume.labels, &self.owner),
            project: volume.labels.get(PROJECT_NAME).cloned().unwrap_or_default(),
            location: volume.location.name.clone(),
            gb: volume.size,
            attached: volume.server.is_some(),
            last_use: if facts.in_use { now } else { facts.last_use },
            deleted_at: deleted_at(|at| lease::volume(facts, at), now),
            cost: volume.size * per_gb * hours / HOURS_OF_MONTH,
        }
    }
}

/// When a verdict becomes deletion, if nothing happens until then.
fn deleted_at(verdict: impl Fn(i64) -> Verdict, now: i64) -> Option<i64> {
    // Idle, then the end of the paid hour; one more where an hour begins in between.
    const STEPS_MAX: usize = 4;
    let mut at = now;
    for _ in 0..STEPS_MAX {
        match verdict(at) {
            Verdict::Keep => return None,
            Verdict::Delete => return Some(at),
            Verdict::KeepUntil(then) => at = then,
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::lease::Facts;

    #[test]
    fn the_day_of_deletion_is_told_ahead() {
        let facts = Facts {
            created: 0,
            last_use: 100,
            in_use: false,
            keep_alive: Some(300),
            keep_paid_hour: true,
        };
        assert_eq!(deleted_at(|at| lease::server(facts, at), 200), Some(3480));
        let late = Facts { last_use: 3500, ..facts };
        assert_eq!(deleted_at(|at| lease::server(late, at), 3500), Some(7080));
        assert_eq!(deleted_at(|_| Verdict::Keep, 0), None);
        assert!((server_cost(0, 3600, 0.5) - 1.0).abs() < 1e-9);
        assert!((server_cost(0, 3599, 0.5) - 0.5).abs() < 1e-9);
    }
}
