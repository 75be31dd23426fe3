//! Connecting again to the server of a run whose connection has broken.
//!
//! Each command tries this every few seconds, for as long as its run waits. So the address that is
//! known is dialled first, and the API is asked only if nothing answers there: at once after a
//! break, then with growing pauses, whatever the number of commands. What the API has said since
//! the break is newer than the address of the broken connection.

use std::sync::Arc;

use tokio::time::Instant;

use super::account::{Account, HeldServer, LIST_RESOURCES, ReachedServer};
use super::dial::{self, RETURN_DEADLINE};
use super::error;
use super::inventory::Inventory;
use super::lookups::KnownServer;
use super::request::ServerRequest;
use super::volume;
use crate::error::Error;

impl Account {
    /// Connects again to the server of a run whose connection has broken, and which has the
    /// project's volume. Creates nothing; `None` if there is no such server any more.
    pub(crate) async fn rejoin(
        &self,
        request: &ServerRequest,
    ) -> Result<Option<ReachedServer>, Error> {
        let project_use = self.uses.begin(request, &self.client);
        let mut held = self.server.lock().await;
        let is_open = match &*held {
            Some(found) => found.agent.is_open().await,
            None => false,
        };
        if !is_open {
            self.dial_again(&mut held, request).await?;
        }
        let Some(found) = &*held else { return Ok(None) };
        let Some(volume) = found.volumes.get(&request.project) else { return Ok(None) };
        Ok(Some(self.reached(found, volume, (false, false), request, project_use)))
    }

    /// Connects to the server that the API has named last, or that is held; if it does not answer,
    /// to the one that the API names now. Nothing is held then if there is none.
    async fn dial_again(
        &self,
        held: &mut Option<HeldServer>,
        request: &ServerRequest,
    ) -> Result<(), Error> {
        if held.take_if(|held| held.gone.is_known()).is_some() {
            return Ok(());
        }
        let told = self.lookups.lock().found.clone();
        let known = told.or_else(|| held.as_ref().map(known_of));
        let mut failure = error::silent("the server does not answer");
        let mut dialled = None;
        if let Some(known) = known {
            dialled = Some(known.address);
            match self.dial(known, request).await {
                Ok(found) => {
                    *held = Some(found);
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        if !self.lookups.lock().may_ask(Instant::now()) {
            return Err(failure);
        }
        tracing::info!("the server does not answer: asking the API whether it still exists");
        let found = self.find_server().await?;
        self.lookups.lock().found.clone_from(&found);
        match found {
            None => *held = None,
            Some(found) if dialled == Some(found.address) => return Err(failure),
            Some(found) => *held = Some(self.dial(found, request).await?),
        }
        Ok(())
    }

    async fn dial(&self, known: KnownServer, request: &ServerRequest) -> Result<HeldServer, Error> {
        let KnownServer { server, address, volumes } = known;
        let keys = self.installation.keys();
        let keys = keys.of_server(&server).map_err(|error| error::missing_keys(&error))?;
        let idle_timeout = request.idle_timeout();
        let agent =
            dial::connect(address, &keys, idle_timeout, RETURN_DEADLINE, &self.networks).await?;
        let agent = Arc::new(agent);
        let gone = self.watch_connection(&server, &agent, request);
        Ok(HeldServer { server, agent, volumes, keys, gone })
    }

    /// The server of ours that exists; `None` if there is none.
    async fn find_server(&self) -> Result<Option<KnownServer>, Error> {
        let inventory = Inventory::ask(&self.client)
            .await
            .map_err(|error| error::api(&self.endpoint, LIST_RESOURCES, &error))?;
        self.note_list(&inventory);
        let owner = self.installation.owner();
        let Some(server) = inventory.server_of(&owner) else { return Ok(None) };
        let address = server
            .address()
            .ok_or_else(|| error::unusable_server("the server has no public address"))?;
        let volumes = volume::attached(&inventory, &owner);
        Ok(Some(KnownServer { server: server.clone(), address, volumes }))
    }
}

fn known_of(held: &HeldServer) -> KnownServer {
    let HeldServer { server, agent, volumes, .. } = held;
    let (server, volumes) = (server.clone(), volumes.clone());
    KnownServer { server, address: agent.address().ip(), volumes }
}
