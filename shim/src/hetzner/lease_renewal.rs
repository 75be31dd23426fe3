//! The renewal of the lease that the agent of a server has: one task for each connection.
//!
//! Invariant: a renewal waits neither for a command that prepares the server nor for a reaping.
//! The lease of a server in use lasts for several renewals.

use std::sync::{Arc, Weak};
use std::time::Duration;

use burst_hcloud::Client;
use burst_hcloud::server::Server;

use super::dead_man::{self, PAID_HOUR_MARGIN};
use super::dial::{self, ANSWER_DEADLINE};
use super::lease::HOUR_MARGIN;
use super::owner::Installation;
use super::uses::Uses;
use crate::connection::server::ServerConnection;
use crate::error::Error;

/// How often a lease is renewed.
const INTERVAL: Duration = Duration::from_secs(60);

/// The pause after a renewal that has failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

// A command that begins at the moment at which a keeper deletes the idle server has the lease
// renewed at once, before the server deletes itself by the last one. The regular renewals are
// further apart than these two moments, and do not have to cover that.
const _: () = assert!(
    HOUR_MARGIN - PAID_HOUR_MARGIN
        >= (ANSWER_DEADLINE.as_secs() + RETRY_PAUSE.as_secs()).cast_signed()
);

/// What a lease is decided by, and whom it is to name.
#[derive(Clone, Debug)]
pub(super) struct Renewal {
    pub(super) client: Client,
    pub(super) installation: Arc<Installation>,
    pub(super) uses: Arc<Uses>,
    pub(super) server: Server,
}

impl Renewal {
    /// Renews the lease, if a command has said how long the server is to live.
    pub(super) async fn renew(&self, agent: &Arc<ServerConnection>) -> Result<(), Error> {
        let Some(life) = self.uses.server_life() else { return Ok(()) };
        self.uses.renews_lease();
        let now = self.client.now().as_second();
        let facts = self.uses.server_facts(&self.server, &self.installation.owner());
        let facts = self.uses.lease_facts(self.server.id, facts);
        let (renewal, end) = dead_man::renewal(&self.client, self.server.id, facts, life, now);
        dial::ask(agent, renewal).await.inspect_err(|error| {
            tracing::warn!("cannot renew the lease, next attempt soon: {}", error.one_line());
        })?;
        self.uses.deletes_itself(&self.server, end);
        Ok(())
    }

    /// Renews the lease now, and then whenever it is due, as long as the connection is held and
    /// open. Has to be called within a tokio runtime.
    pub(super) fn begin(self, agent: &Arc<ServerConnection>) {
        tokio::spawn(self.run(Arc::downgrade(agent)));
    }

    async fn run(self, agent: Weak<ServerConnection>) {
        loop {
            let Some(held) = agent.upgrade() else { return };
            let renewed = self.renew(&held).await;
            if renewed.is_err() && !held.is_open().await {
                return;
            }
            drop(held);
            match renewed {
                Ok(()) => self.uses.until_lease_outdated(INTERVAL).await,
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}
