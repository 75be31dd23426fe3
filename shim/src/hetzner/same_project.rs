//! Whether a token gives access to the Hetzner project of another one: after a rotation, or
//! where two shells have tokens of their own.
//!
//! The API does not tell which project a token belongs to. But it lists resources, and one that
//! an account of another token has seen as well is in the same project. Such tokens share that
//! account, and so its server, its uses and its reapings. Where nothing was seen yet there is
//! nothing to share.

use std::sync::Arc;

use super::account::{Account, LIST_RESOURCES};
use super::credentials::Credentials;
use super::error;
use super::holding::Holding;
use super::inventory::Inventory;
use crate::error::Error;

impl Account {
    /// Whether this is the account of these credentials.
    pub(crate) fn accepts(&self, credentials: &Credentials) -> bool {
        self.endpoint.url() == credentials.endpoint.url()
            && credentials.token().is_ok_and(|token| self.client.has_token(&token))
    }

    /// Whether this account has seen something of a holding, which so is of the same project.
    pub(crate) fn has_seen(&self, holding: &Holding) -> bool {
        holding.endpoint == self.endpoint.digest() && self.seen.is_any_of(holding)
    }

    /// The one of `others` that has the same Hetzner project as this account; `None` if there
    /// is none. The API is asked only if one of them has seen anything or is just preparing a
    /// server; one that is preparing the server that this token sees is waited for.
    pub(crate) async fn of_same_project(
        &self,
        others: Vec<Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, Error> {
        let at_same_endpoint = |other: &Arc<Self>| other.endpoint.url() == self.endpoint.url();
        let has_any = |other: &Arc<Self>| other.seen.is_any() || other.server.try_lock().is_err();
        let others: Vec<Arc<Self>> =
            others.into_iter().filter(at_same_endpoint).filter(has_any).collect();
        if others.is_empty() {
            return Ok(None);
        }
        let inventory = Inventory::ask(&self.client)
            .await
            .map_err(|error| error::api(&self.endpoint, LIST_RESOURCES, &error))?;
        for other in others {
            if inventory.server_of(&other.installation.owner()).is_some() {
                drop(other.server.lock().await);
            }
            if other.seen.is_any_in(&inventory) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Takes the token of an account that has the same Hetzner project. It is preferred to those
    /// that this account has only if it may write.
    pub(crate) async fn take_token(&self, newcomer: &Self, credentials: &Credentials) {
        let Ok(token) = credentials.token() else { return };
        let may_write = newcomer.client.check_write().await.is_ok();
        tracing::info!(may_write, "another token gives access to the same Hetzner project");
        match may_write {
            true => self.client.prefer_token(&token),
            false => self.client.add_token(&token),
        }
    }
}
