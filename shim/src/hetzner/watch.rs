//! How a process looks after an account: when a reaping is due, what is known of the account, and
//! what is done with it when the process ends.

use std::time::Duration;

use burst_hcloud::server::Server;

use super::account::{Account, HeldServer};
use super::deletion::LockWait;
use super::holding::Holding;
use super::inventory::is_of;
use super::lease::{self, Verdict};

/// How long the agent of a server may take to stop when the keeper ends.
const STOP_DEADLINE: Duration = Duration::from_secs(4);

impl Account {
    /// Seconds until the next reaping is due, negative if it is overdue; `None` while
    /// nothing needs to be reaped.
    pub(crate) fn secs_until_reap(&self) -> Option<i64> {
        self.uses.next_reap().map(|at| at - self.client.now().as_second())
    }

    /// Whether a command uses the account or a reaping is due some time.
    pub(crate) fn needs_keeper(&self) -> bool {
        self.uses.is_any() || self.uses.next_reap().is_some()
    }

    /// Takes in what an earlier process has known of the account.
    pub(crate) fn remember(&self, holding: Holding) {
        self.uses.remember(holding, self.client.now().as_second());
    }

    /// What is known to exist, or may exist; `None` if that is nothing.
    pub(crate) fn holding(&self) -> Option<Holding> {
        let holding = self.uses.holding()?;
        Some(Holding { endpoint: self.endpoint.digest(), ..holding })
    }

    /// Looks after what the account has, though no command uses it.
    pub(crate) fn watch(&self) {
        self.uses.watch(self.client.now().as_second());
    }

    /// Leaves what the account has to another account of the same project at Hetzner.
    pub(crate) fn give_up(&self) {
        self.uses.give_up();
    }

    /// The keeper ends before its time, and no other may follow: an idle server is deleted. One
    /// that a command uses, or that cannot be deleted, deletes itself when the lease ends that it
    /// gets here. Volumes stay, and are in the [`holding`](Self::holding).
    pub(crate) async fn end_watch(&self) {
        // A command that is preparing the server may fail, and leave an idle one behind.
        let mut held = self.server.lock().await;
        self.renew_lease(held.as_ref()).await;
        if self.uses.is_any() {
            return;
        }
        let inventory = match self.inventory().await {
            Ok(inventory) => inventory,
            Err(error) => {
                tracing::warn!("cannot delete the idle server: {}", error.one_line());
                return;
            }
        };
        let now = self.client.now().as_second();
        let owner = self.undisputed_owner(&inventory);
        let is_own = |server: &&Server| is_of(&server.labels, &owner);
        for server in inventory.servers.iter().filter(is_own) {
            let facts = self.uses.server_facts(server, &owner);
            if lease::server(facts, now) == Verdict::Keep {
                continue;
            }
            if self.has_runs(held.as_ref(), server).await {
                self.renew_lease(held.as_ref()).await;
                continue;
            }
            let deleted = self
                .delete_stopped(&mut held, server, "idle", STOP_DEADLINE, LockWait::Reaping)
                .await;
            if let Err(error) = deleted {
                tracing::warn!("{}", error.one_line());
            }
        }
        // What is left is written down.
        if let Ok(left) = self.inventory().await {
            self.uses.listed(&left, &owner, now, self.uses.changes());
        }
    }

    /// Renews the lease of the server that this process is connected to.
    async fn renew_lease(&self, held: Option<&HeldServer>) {
        if let Some(HeldServer { server, agent, .. }) = held {
            drop(self.renewal(server).renew(agent).await);
        }
    }
}
