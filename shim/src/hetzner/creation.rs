//! Creating a server with a volume: the candidates, each a server type in a location, are
//! tried in order until one is available.
//!
//! Server, volume and firewall are created at the same time. Invariant: unless all of them
//! are there, what was created for a candidate is deleted before the next one is tried or
//! the command fails. What cannot be deleted, or was created by a call that was interrupted,
//! has our labels: the next command adopts it, else it is deleted when it expires.

use burst_hcloud::action::Action;
use burst_hcloud::pricing::Pricing;
use burst_hcloud::server::{NewServer, Server, ServerStatus};
use burst_hcloud::volume::Volume;
use burst_hcloud::{Error as ApiError, Made};

use super::announcement;
use super::deletion::{DELETION_DEADLINE, Deletion, LockWait, delete};
use super::error;
use super::inventory::Stock;
use super::naming::{FIREWALL, shared_identity};
use super::orders::{self, ServerChoice};
use super::provision::{Pair, Provision};
use super::refusal::{Reason, Rejections, check_names, check_price, image_for, is_volume_busy};
use super::throwaway_key;
use crate::error::{Error, ErrorKind};

/// Why there is no server and volume of a candidate.
enum Failure {
    /// Another candidate may be available.
    Rejected(Reason, String),
    /// The command fails.
    Final(Error),
}

/// A server, and whether it was created with its volume: one that is busy is attached later.
type MadeServer = (Made<Server>, bool);

impl Provision<'_> {
    /// Creates a server of the first type in the first location that has one.
    pub(super) async fn create(
        &self,
        stock: &Stock,
        volume: Option<Volume>,
    ) -> Result<Pair, Error> {
        if stock.images.is_empty() {
            return Err(Error::new(
                ErrorKind::NoImage,
                "there is no image to create a server from",
                "cargo-burst cannot create images yet; plain `cargo` builds on this machine",
            ));
        }
        let (keys, user_data) = self.keys.make(self.request.gone_after_secs)?;
        let warm_location = volume.as_ref().map(|volume| volume.location.name.as_str());
        let in_stock = |name: &str, location: &str| {
            let known = stock.types.iter().find(|known| known.name == name);
            known.is_none_or(|known| known.is_available_in(location))
        };
        let mut rejections = Rejections::default();
        for (name, location) in self.request.candidates(warm_location, in_stock) {
            // Before anything is created: a volume costs money, too.
            let server_type = check_names(&stock.types, name, location)?;
            let candidate = (server_type, location);
            if rejections.cover(candidate) {
                continue;
            }
            let image = match image_for(server_type, location, &stock.images) {
                Ok(image) => image.id,
                Err(rejected) => {
                    rejections.add(candidate, rejected);
                    continue;
                }
            };
            if let Some(limit) = self.request.spend_at_most {
                check_price(server_type, location, limit)?;
            }
            let here = volume.clone().filter(|volume| volume.location.name == location);
            let (prices, is_fresh) = (stock.prices(), here.is_none());
            self.progress.say(&announcement::server(
                self.request,
                prices,
                name,
                location,
                is_fresh,
            ));
            self.progress.step(&format!("creating a {name} server in {location}"));
            let ours = self.owner.server_name();
            self.progress.pays_for(&announcement::interrupted(self.request, &ours, location));
            let new = self.orders().server(&ServerChoice {
                server_type: name,
                location,
                image,
                volume: here.as_ref().map(|volume| volume.id),
                keys: &keys,
                user_data: &user_data,
            });
            match self.try_create(stock, new, here).await {
                Ok(pair) => return Ok(pair),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Rejected(reason, cause)) => {
                    tracing::info!(name, location, ?reason, "rejected: {cause}");
                    rejections.add(candidate, (reason, cause));
                }
            }
        }
        Err(rejections.into_error())
    }

    /// Creates server, volume and firewall at the same time; `here` is the project's volume if
    /// it exists in this location.
    async fn try_create(
        &self,
        stock: &Stock,
        new: NewServer,
        here: Option<Volume>,
    ) -> Result<Pair, Failure> {
        let volume = async {
            match &here {
                Some(_) => Ok(None),
                None => self.create_volume(&new.location).await.map(Some),
            }
        };
        let firewall = async {
            match stock.firewall {
                Some(_) => Ok(()),
                None => {
                    let ours = shared_identity(FIREWALL);
                    self.client.create_firewall(&orders::firewall(), &ours).await.map(drop)
                }
            }
        };
        let (server, volume, firewall) =
            tokio::join!(self.create_server(new.clone()), volume, firewall);
        let firewall =
            firewall.map_err(|error| Failure::Final(self.api("create the firewall", &error)));
        let volume = volume.map_err(|error| match Reason::of_volume(&error) {
            Some(reason) => Failure::Rejected(reason, error.to_string()),
            None => Failure::Final(self.api("create a volume", &error)),
        });
        match (server, volume, firewall) {
            (Ok(server), Ok(volume), Ok(())) => pair(server, volume, here),
            (server, volume, firewall) => {
                let (server, failed) = split(server);
                let (volume, volume_failed) = split(volume);
                self.take_back(server, volume.flatten(), &stock.pricing).await;
                let failed = failed.or(volume_failed).or_else(|| firewall.err());
                Err(failed.unwrap_or_else(|| Failure::Final(no_volume())))
            }
        }
    }

    /// Creates a server, once a previous one of the same name is deleted.
    async fn create_server(&self, mut new: NewServer) -> Result<MadeServer, Failure> {
        let ours = self.orders().server_identity();
        loop {
            let key = throwaway_key::new_public_key().map_err(Failure::Final)?;
            let made =
                throwaway_key::create_server(self.client, self.owner, key, new.clone(), &ours);
            match made.await {
                Ok(Made::Adopted(server)) if server.status == ServerStatus::Deleting => {
                    self.until_deleted(&server).await.map_err(Failure::Final)?;
                }
                Ok(made) => return Ok((made, !new.volumes.is_empty())),
                Err(error) if is_volume_busy(&error) && !new.volumes.is_empty() => {
                    new.volumes.clear();
                }
                Err(error) => {
                    return Err(match Reason::of_server(&error) {
                        Some(reason) => Failure::Rejected(reason, error.to_string()),
                        None => Failure::Final(self.api("create a server", &error)),
                    });
                }
            }
        }
    }

    /// Creates the project's volume in a location.
    pub(super) async fn create_volume(&self, location: &str) -> Result<Made<Volume>, ApiError> {
        let orders = self.orders();
        self.client.create_volume(&orders.volume(location), &orders.volume_identity()).await
    }

    /// Deletes what was created for a candidate that is not available, and waits until it does
    /// not exist any more: the next server has the same name.
    async fn take_back(
        &self,
        server: Option<MadeServer>,
        volume: Option<Made<Volume>>,
        pricing: &Pricing,
    ) {
        let server = async {
            let Some((Made::Created(server, actions), _)) = server else { return };
            self.progress.step(&format!("deleting the server in {}", server.location.name));
            if let Err(error) = self.delete_server(&server, actions, pricing).await {
                tracing::warn!("cannot delete {}: {}", server.name, error.one_line());
            }
        };
        let volume = async {
            let Some(Made::Created(volume, actions)) = volume else { return };
            drop(self.client.wait(actions, DELETION_DEADLINE).await);
            self.books.volume_created(&volume, pricing);
            if let Err(error) = self.delete_volume(&volume, "not available").await {
                tracing::warn!("cannot delete {}: {}", volume.name, error.one_line());
            }
        };
        tokio::join!(server, volume);
    }

    /// Deletes a server that was just created, once the actions that lock it are completed.
    async fn delete_server(
        &self,
        server: &Server,
        actions: Vec<Action>,
        pricing: &Pricing,
    ) -> Result<(), Error> {
        self.books.server_created(server, pricing);
        drop(self.client.wait(actions, DELETION_DEADLINE).await);
        let (what, lock_wait) = (format!("the server {}", server.name), LockWait::Reaping);
        let resource = Deletion::Server(server.id);
        delete(self.client, self.endpoint, resource, &what, lock_wait).await?;
        self.until_deleted(server).await?;
        self.books.server_deleted(server, self.client.now().as_second(), "not available");
        Ok(())
    }

    /// Deletes a volume that this command does not use.
    pub(super) async fn delete_volume(&self, volume: &Volume, reason: &str) -> Result<(), Error> {
        let (what, lock_wait) = (format!("the volume {}", volume.name), LockWait::Reaping);
        let resource = Deletion::Volume(volume.id);
        delete(self.client, self.endpoint, resource, &what, lock_wait).await?;
        self.books.volume_deleted(volume, self.client.now().as_second(), reason);
        Ok(())
    }
}

/// A server with its volume: the one that was created, or else the one that is `here`.
fn pair(
    (server, with_volume): MadeServer,
    volume: Option<Made<Volume>>,
    here: Option<Volume>,
) -> Result<Pair, Failure> {
    let fresh_server = matches!(server, Made::Created(..));
    let (server, mut actions) = server.into_parts();
    let (volume, fresh_volume, attached) = match (volume, here) {
        (Some(made), _) => {
            let (volume, creation) = made.into_parts();
            actions.extend(creation);
            (volume, true, false)
        }
        (None, Some(volume)) => (volume, false, fresh_server && with_volume),
        (None, None) => return Err(Failure::Final(no_volume())),
    };
    Ok(Pair { server, volume, actions, attached, fresh_server, fresh_volume })
}

fn no_volume() -> Error {
    error::incomplete("the project has no volume")
}

fn split<T, E>(result: Result<T, E>) -> (Option<T>, Option<E>) {
    match result {
        Ok(done) => (Some(done), None),
        Err(error) => (None, Some(error)),
    }
}
