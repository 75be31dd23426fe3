//! Keeping the record of an account's resources: what this process creates and deletes, and
//! what each listing of the API shows beside that.
//!
//! Nothing here decides when something is created or deleted. A record that cannot be read or
//! written does not stop a command; it is logged.

use std::sync::Arc;
use std::time::Duration;

use burst_hcloud::Client;
use burst_hcloud::image::Image;
use burst_hcloud::pricing::Pricing;
use burst_hcloud::server::{Server, ServerStatus};
use burst_hcloud::server_type::Price;
use burst_hcloud::volume::Volume;

use super::audit::{
    AuditLog, Closed, Entry, Kind, Listing, Month, Rate, Resource, Spent, has_unknown_end,
    reconcile, recorded, spent, with_deletions,
};
use super::inventory::{Inventory, is_of};
use super::owner::Installation;

/// The record, as an account keeps it.
#[derive(Clone, Debug)]
pub(super) struct Books {
    /// The file.
    pub(super) log: AuditLog,
    /// The account, by the digest that names it.
    pub(super) account: String,
    /// The owner of what this installation creates.
    pub(super) installation: Arc<Installation>,
}

impl Books {
    /// A server was created.
    pub(super) fn server_created(&self, server: &Server, pricing: &Pricing) {
        let resource = self.server(server, pricing);
        self.log.append(&[Entry::Opened(Box::new(resource))]);
    }

    /// A volume was created.
    pub(super) fn volume_created(&self, volume: &Volume, pricing: &Pricing) {
        let resource = self.volume(volume, pricing);
        self.log.append(&[Entry::Opened(Box::new(resource))]);
    }

    /// A server was deleted by this process.
    pub(super) fn server_deleted(&self, server: &Server, at: i64, reason: &str) {
        self.deleted(Kind::Server, server.id.0, at, reason);
    }

    /// A volume was deleted by this process.
    pub(super) fn volume_deleted(&self, volume: &Volume, at: i64, reason: &str) {
        self.deleted(Kind::Volume, volume.id.0, at, reason);
    }

    fn deleted(&self, kind: Kind, id: u64, at: i64, reason: &str) {
        let reason = reason.to_owned();
        self.log.append(&[Entry::Closed(Closed { kind, id, at, seen: None, reason })]);
    }

    /// Corrects the record by what the API has just listed, and returns what was spent in this
    /// calendar month. `images` and `pricing` are given where they were asked for, too;
    /// prices are asked for if something is new. `took` is how long the API took.
    pub(super) async fn correct(
        &self,
        client: &Client,
        inventory: &Inventory,
        images: Option<&[Image]>,
        pricing: Option<&Pricing>,
        took: Duration,
    ) -> Spent {
        let now = client.now().as_second();
        let month = Month::of(now);
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || log.read()).await;
        let entries = match read {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::warn!("cannot correct the record: {}", error.one_line());
                return Spent::default();
            }
            Err(_) => return Spent::default(),
        };
        let asked = match pricing {
            None if !is_known(&entries, inventory) => client.pricing().await.ok(),
            _ => None,
        };
        let prices = pricing.or(asked.as_ref());
        let Some(listing) = self.listing(inventory, images, prices, &entries) else {
            return spent(&entries, month, now);
        };
        let took = i64::try_from(took.as_secs()).unwrap_or(i64::MAX);
        let listing = Listing { asked_at: now.saturating_sub(took), now, ..listing };
        let mut lines = reconcile(&entries, &listing);
        // The API knows when a server was deleted, by whomever, for as long as it keeps actions.
        if has_unknown_end(&lines)
            && let Ok(deletions) = client.server_deletions().await
        {
            let known: Vec<(u64, i64)> =
                deletions.iter().map(|(id, at)| (id.0, at.as_second())).collect();
            with_deletions(&mut lines, &known);
        }
        for line in &lines {
            if let Entry::Opened(_) | Entry::Closed(_) = line {
                tracing::info!(?line, "the record differed from what the API lists");
            }
        }
        let (log, added) = (self.log.clone(), lines.clone());
        drop(tokio::task::spawn_blocking(move || log.append(&added)).await);
        spent(&[entries, lines].concat(), month, now)
    }

    /// What the API has listed, without the times; `None` if something is new and has no
    /// prices.
    fn listing(
        &self,
        inventory: &Inventory,
        images: Option<&[Image]>,
        pricing: Option<&Pricing>,
        entries: &[Entry],
    ) -> Option<Listing> {
        let known = recorded(entries);
        let of = |kind: Kind, id: u64, made: &dyn Fn(&Pricing) -> Resource| {
            let resource = known.get(&(kind, id)).map(|found| (*found).clone());
            resource
                .or_else(|| pricing.map(made))
                .map(|resource| Resource { account: self.account.clone(), ..resource })
        };
        let is_going = |server: &&Server| server.status == ServerStatus::Deleting;
        let going = inventory.servers.iter().filter(is_going).map(|one| (Kind::Server, one.id.0));
        let mut resources = Vec::new();
        for server in inventory.servers.iter().filter(|server| !is_going(server)) {
            let made = |pricing: &Pricing| self.server(server, pricing);
            resources.push(of(Kind::Server, server.id.0, &made)?);
        }
        for volume in &inventory.volumes {
            let made = |pricing: &Pricing| self.volume(volume, pricing);
            resources.push(of(Kind::Volume, volume.id.0, &made)?);
        }
        // The size of one that is being created is not known yet.
        for image in images.unwrap_or_default().iter().filter(|one| one.image_size.is_some()) {
            let made = |pricing: &Pricing| self.image(image, pricing);
            resources.push(of(Kind::Image, image.id.0, &made)?);
        }
        let mut kinds = vec![Kind::Server, Kind::Volume];
        kinds.extend(images.map(|_| Kind::Image));
        Some(Listing {
            account: self.account.clone(),
            asked_at: 0,
            now: 0,
            kinds,
            resources,
            going: going.collect(),
        })
    }

    /// A server as the record has it.
    pub(super) fn server(&self, server: &Server, pricing: &Pricing) -> Resource {
        let location = server.location.name.clone();
        let price = server.server_type.price_in(&location);
        let mut rates: Vec<Rate> = price
            .map(|price| Rate {
                hourly: Some(price.price_hourly.net()),
                monthly: Some(price.price_monthly.net()).filter(|monthly| *monthly > 0.0),
            })
            .into_iter()
            .collect();
        let address = server.public_net.ipv4.as_ref().and_then(|_| pricing.ipv4(&location));
        rates.extend(address.map(|price| Rate {
            hourly: Some(price.price_hourly.net()),
            monthly: price.price_monthly.as_ref().map(Price::net).filter(|monthly| *monthly > 0.0),
        }));
        Resource {
            kind: Kind::Server,
            id: server.id.0,
            name: server.name.clone(),
            account: self.account.clone(),
            own: is_of(&server.labels, &self.installation.owner()),
            server_type: Some(server.server_type.name.clone()),
            created: server.created.as_second(),
            location,
            rates,
        }
    }

    /// A volume as the record has it.
    pub(super) fn volume(&self, volume: &Volume, pricing: &Pricing) -> Resource {
        let monthly = volume.size * pricing.volume.price_per_gb_month.net();
        Resource {
            kind: Kind::Volume,
            id: volume.id.0,
            name: volume.name.clone(),
            account: self.account.clone(),
            own: is_of(&volume.labels, &self.installation.owner()),
            location: volume.location.name.clone(),
            server_type: None,
            created: volume.created.as_second(),
            rates: vec![Rate { hourly: None, monthly: Some(monthly) }],
        }
    }

    fn image(&self, image: &Image, pricing: &Pricing) -> Resource {
        let monthly = image.image_size.unwrap_or(0.0) * pricing.image.price_per_gb_month.net();
        Resource {
            kind: Kind::Image,
            id: image.id.0,
            name: image.description.clone(),
            account: self.account.clone(),
            own: false,
            location: String::new(),
            server_type: None,
            created: image.created.as_second(),
            rates: vec![Rate { hourly: None, monthly: Some(monthly) }],
        }
    }
}

/// Whether the record has all servers and volumes of a listing.
fn is_known(entries: &[Entry], inventory: &Inventory) -> bool {
    let known = recorded(entries);
    inventory.servers.iter().all(|one| known.contains_key(&(Kind::Server, one.id.0)))
        && inventory.volumes.iter().all(|one| known.contains_key(&(Kind::Volume, one.id.0)))
}
