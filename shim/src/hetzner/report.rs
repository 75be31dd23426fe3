//! The report of `cargo burst status`: resources, their cost so far, and when they expire.
//!
//! It only reads. The keeper sends it to commands, so it is serialisable.

use std::time::Instant;

use burst_hcloud::pricing::Pricing;
use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use serde::{Deserialize, Serialize};

use super::account::{Account, LIST_RESOURCES};
use super::audit::{self, Spent};
use super::cost_model::Life;
use super::error;
use super::holding::Holding;
use super::inventory::{Inventory, is_of};
use super::lease::{self, HOUR};
use super::naming::{self, HOST, IMAGE, Owner, PROJECT_NAME};
use super::server::ServerSummary;
use crate::error::Error;

/// All resources of an account. Times are unix seconds, prices are without tax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The time of the report by the API's clock.
    pub(crate) now: i64,
    /// The currency of all prices, such as `EUR`.
    pub(crate) currency: String,
    /// Servers, billed by the started hour.
    pub(crate) servers: Vec<ServerLine>,
    /// Volumes, billed by the month and the started hour.
    pub(crate) volumes: Vec<VolumeLine>,
    /// Images that servers are created from.
    pub(crate) images: Vec<ImageLine>,
    /// The names of what the last reaping could not delete.
    pub(crate) stuck: Vec<String>,
    /// What everything cost in this calendar month, also what does not exist any more.
    pub(crate) this_month: Spent,
}

/// A server in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerLine {
    /// Its name at Hetzner.
    pub(crate) name: String,
    /// Whether this installation created it.
    pub(crate) own: bool,
    /// The host name of the machine that created it.
    pub(crate) host: String,
    /// Its server type, such as `ccx63`.
    pub(crate) server_type: String,
    /// Its location, such as `hel1`.
    pub(crate) location: String,
    /// Its state in the API's terms, such as `running`.
    pub(crate) status: String,
    /// Its creation.
    pub(crate) created: i64,
    /// Its last use.
    pub(crate) last_use: i64,
    /// Whether a command uses it now.
    pub(crate) in_use: bool,
    /// The end of its paid hour.
    pub(crate) paid_until: i64,
    /// Whether it is protected against deletion in the console.
    pub(crate) protected: bool,
    /// Its deletion if no command uses it from now on, also where one does now: the earliest
    /// that is possible. `None`: only by hand, or not while it is protected.
    pub(crate) deleted_at: Option<i64>,
    /// What deletes it; `None`: nothing does, or, of other owners, it is not known.
    pub(crate) deleted_by: Option<DeletedBy>,
    /// Whether it is kept until `cargo burst down`.
    pub(crate) kept: bool,
    /// When it deletes itself if no keeper renews its lease; `None`: it does not.
    pub(crate) deletes_itself_at: Option<i64>,
    /// Its cost so far, including the address.
    pub(crate) cost: f64,
    /// The cost of each started hour, including the address.
    pub(crate) hourly: f64,
}

/// A volume in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeLine {
    /// Its name at Hetzner.
    pub(crate) name: String,
    /// Whether this installation created it.
    pub(crate) own: bool,
    /// The name of its project's directory.
    pub(crate) project: String,
    /// Its location, such as `hel1`.
    pub(crate) location: String,
    /// Its size in GB.
    pub(crate) gb: f64,
    /// Whether it is attached to a server.
    pub(crate) attached: bool,
    /// Its last use.
    pub(crate) last_use: i64,
    /// Whether a command uses it now.
    pub(crate) in_use: bool,
    /// As of a server.
    pub(crate) protected: bool,
    /// As of a server.
    pub(crate) deleted_at: Option<i64>,
    /// As of a server.
    pub(crate) deleted_by: Option<DeletedBy>,
    /// As of a server.
    pub(crate) kept: bool,
    /// Its cost so far.
    pub(crate) cost: f64,
}

/// An image in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageLine {
    /// Its id at Hetzner.
    pub(crate) id: u64,
    /// Its description.
    pub(crate) description: String,
    /// Its creation.
    pub(crate) created: i64,
    /// Its stored size in GB.
    pub(crate) gb: f64,
    /// Its cost per month.
    pub(crate) monthly: f64,
}

/// What deletes a server or volume when it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeletedBy {
    /// The keeper.
    Keeper,
    /// The timer of `cargo burst reap --install-timer`.
    Timer,
    /// The server itself, by its dead man's switch.
    Server,
}

impl Report {
    /// Decides what deletes each resource of this owner. `by` looks after all of them; `None`:
    /// nothing does. What the last reaping could not delete is promised by nothing.
    pub(crate) fn is_watched_by(&mut self, by: Option<DeletedBy>) {
        for server in self.servers.iter_mut().filter(|server| server.own) {
            let by = by.filter(|_| !self.stuck.contains(&server.name));
            match (by, server.deletes_itself_at.filter(|at| *at > self.now)) {
                _ if server.kept => {}
                (Some(by), _) => server.deleted_by = Some(by),
                (None, Some(at)) => {
                    server.deleted_by = Some(DeletedBy::Server);
                    server.deleted_at = Some(at);
                }
                (None, None) => server.deleted_at = None,
            }
        }
        for volume in self.volumes.iter_mut().filter(|volume| volume.own && !volume.kept) {
            volume.deleted_by = by.filter(|_| !self.stuck.contains(&volume.name));
            volume.deleted_at = volume.deleted_at.filter(|_| volume.deleted_by.is_some());
        }
    }
}

/// The cost of all started hours of a server that exists until `now`.
pub(crate) fn server_cost(created: i64, now: i64, hourly: f64) -> f64 {
    let hours = (lease::paid_until(created, now) - created) / HOUR;
    hours as f64 * hourly
}

impl Account {
    /// The report of this owner's resources, or with `all` of everything that the token can
    /// see. Images are always listed, since owners share them. What deletes the resources is left
    /// to [`Report::is_watched_by`].
    pub(crate) async fn report(&self, all: bool) -> Result<Report, Error> {
        let images = naming::ours(Some(IMAGE));
        let (began, changes) = (Instant::now(), self.uses.changes());
        let asked = tokio::try_join!(
            Inventory::ask(&self.client),
            self.client.snapshots(&images),
            self.client.pricing()
        );
        let (mut inventory, images, pricing) =
            asked.map_err(|error| error::api(&self.endpoint, LIST_RESOURCES, &error))?;
        self.note_list(&inventory);
        let now = self.client.now().as_second();
        let (listed, took) = (Some(images.as_slice()), began.elapsed());
        let corrected = self.books.correct(&self.client, &inventory, listed, Some(&pricing), took);
        let this_month = corrected.await;
        let owner = self.undisputed_owner(&inventory);
        self.uses.listed(&inventory, &owner, now, changes);
        let holding = self.holding().unwrap_or_default();
        if !all {
            inventory.keep_those_of(&self.installation.owner());
        }
        let Inventory { servers, volumes } = &inventory;
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
            servers: servers
                .iter()
                .map(|one| self.server_line(one, &owner, &holding, &pricing, now))
                .collect(),
            volumes: volumes
                .iter()
                .map(|one| self.volume_line(one, &owner, &pricing, now))
                .collect(),
            images: images.collect(),
            this_month,
            currency: pricing.currency,
            stuck: holding.trouble.map(|trouble| trouble.stuck).unwrap_or_default(),
        })
    }

    fn server_line(
        &self,
        server: &Server,
        owner: &Owner,
        holding: &Holding,
        pricing: &Pricing,
        now: i64,
    ) -> ServerLine {
        let facts = self.uses.server_facts(server, owner);
        let summary = ServerSummary::of(server);
        let address = server.has_ipv4().then(|| pricing.ipv4_hourly(&summary.location));
        let hourly = summary.hourly + address.unwrap_or(0.0);
        let life = Life { created: facts.created, deleted: now };
        ServerLine {
            name: server.name.clone(),
            own: is_of(&server.labels, owner),
            host: server.labels.get(HOST).cloned().unwrap_or_default(),
            server_type: summary.server_type,
            location: summary.location,
            status: server.status.to_string(),
            created: facts.created,
            last_use: facts.last_use_at(now),
            in_use: facts.in_use,
            paid_until: lease::paid_until(facts.created, now),
            protected: server.protection.delete,
            deleted_at: lease::deletion(facts, lease::server, now)
                .filter(|_| !server.protection.delete),
            deleted_by: None,
            kept: facts.keep_alive.is_none(),
            deletes_itself_at: holding.deletes_itself_at(server.id.0),
            cost: audit::cost(&self.books.server(server, pricing), life),
            hourly,
        }
    }

    fn volume_line(
        &self,
        volume: &Volume,
        owner: &Owner,
        pricing: &Pricing,
        now: i64,
    ) -> VolumeLine {
        let facts = self.uses.volume_facts(volume, owner);
        let life = Life { created: facts.created, deleted: now };
        VolumeLine {
            name: volume.name.clone(),
            own: is_of(&volume.labels, owner),
            project: volume.labels.get(PROJECT_NAME).cloned().unwrap_or_default(),
            location: volume.location.name.clone(),
            gb: volume.size,
            attached: volume.server.is_some(),
            last_use: facts.last_use_at(now),
            in_use: facts.in_use,
            protected: volume.protection.delete,
            deleted_at: lease::deletion(facts, lease::volume, now)
                .filter(|_| !volume.protection.delete),
            deleted_by: None,
            kept: facts.keep_alive.is_none(),
            cost: audit::cost(&self.books.volume(volume, pricing), life),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_started_hour_costs() {
        assert!((server_cost(0, 3600, 0.5) - 1.0).abs() < 1e-9);
        assert!((server_cost(0, 3599, 0.5) - 0.5).abs() < 1e-9);
    }
}
