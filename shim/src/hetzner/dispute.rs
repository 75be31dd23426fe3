//! Servers of this installation's owner whose keys are not here: a cloned machine has created
//! them, or the keys are lost.
//!
//! Such a server may be warm or in use, so this installation leaves it alone: it takes another
//! owner before it creates a server, and until then counts the owner's resources among those of
//! other owners, which expire by their labels.

use burst_hcloud::server::{Server, ServerStatus};

use super::account::Account;
use super::inventory::{Inventory, facts};
use super::keys::KeyStore;
use super::lease::{self, Facts};
use super::naming::{HOST, Owner};
use super::progress::Progress;
use crate::error::Error;
use crate::terminal::span;

impl Account {
    /// The owner whose resources in this list this process may use and delete: this
    /// installation's, or none while one of its servers is in dispute.
    pub(super) fn undisputed_owner(&self, inventory: &Inventory) -> Owner {
        let owner = self.installation.owner();
        match disputed(inventory, &owner, &self.installation.keys()) {
            Some(_) => Owner::nobody(),
            None => owner,
        }
    }

    /// Takes in a list of the API: what the account has seen, and which owner it has there.
    pub(super) fn note_list(&self, inventory: &Inventory) {
        self.seen.note(inventory);
        self.installation.recognise(inventory);
    }

    /// Leaves a server in dispute to the installation that has its keys: takes another owner,
    /// and says so.
    pub(super) fn leave_to_other(
        &self,
        inventory: &Inventory,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let found = || disputed(inventory, &self.installation.owner(), &self.installation.keys());
        while let Some(server) = found() {
            self.installation.renew()?;
            let now = self.client.now().as_second();
            let facts = lease::of_others(facts(&server.labels, server.created.as_second()));
            let host = server.labels.get(HOST).map_or("an unknown host", String::as_str);
            progress.warn(&warning(&server.name, host, facts, now));
        }
        Ok(())
    }

    /// Warns that a server in dispute is not deleted with the others.
    pub(super) fn warn_of_kept(&self, inventory: &Inventory, progress: &dyn Progress) {
        let owner = self.installation.owner();
        if let Some(server) = disputed(inventory, &owner, &self.installation.keys()) {
            progress.warn(&format!(
                "the server {} is not deleted: its keys are not on this machine, so another \
                 machine may be using it; `cargo burst down --all` deletes it",
                server.name
            ));
        }
    }
}

/// The server of the owner whose keys are not here.
fn disputed<'a>(inventory: &'a Inventory, owner: &Owner, keys: &KeyStore) -> Option<&'a Server> {
    let server = inventory.server_of(owner)?;
    (server.status != ServerStatus::Deleting && !keys.has_that_of(server)).then_some(server)
}

/// What the user is told of a server that is left alone.
fn warning(name: &str, host: &str, facts: Facts, now: i64) -> String {
    let end = match lease::deletion(facts, lease::server, now) {
        Some(at) => format!("it is deleted in {} if it stays idle", span(at - now)),
        None => "it stays until `cargo burst down --all`".to_owned(),
    };
    format!(
        "the keys of the server {name} of {host}, last used {} ago, are not on this machine: \
         this machine may be a clone of the one that uses it, so it gets a server and volumes of \
         its own and leaves that one alone; {end}",
        span((now - facts.last_use).max(0))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_left_alone_is_named_with_host_use_and_end() {
        let facts = Facts {
            created: 0,
            last_use: 100,
            in_use: false,
            keep_alive: Some(300),
            keep_paid_hour: true,
        };
        assert_eq!(
            warning("cargo-burst-1", "laptop", facts, 220),
            "the keys of the server cargo-burst-1 of laptop, last used 2 min ago, are not on this \
             machine: this machine may be a clone of the one that uses it, so it gets a server \
             and volumes of its own and leaves that one alone; it is deleted in 54 min 20 s if it \
             stays idle"
        );
        let kept = warning("cargo-burst-1", "laptop", Facts { keep_alive: None, ..facts }, 220);
        assert!(kept.ends_with("; it stays until `cargo burst down --all`"), "{kept}");
    }
}
