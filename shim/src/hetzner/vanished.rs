//! Finds out that a server which commands use does not exist any more.
//!
//! The packets that keep a connection alive arrive every few seconds. Where none does, the API
//! is asked once whether the server exists: if it was deleted by hand, the connection is closed
//! at once, and nothing waits for it. Over TCP there is no connection between two streams; there
//! the next stream tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use burst_agent::transport::IdleTimeout;
use burst_hcloud::server::ServerStatus;
use burst_hcloud::{Client, Id};
use tokio::time::Instant;

use super::uses::Uses;
use crate::connection::server::ServerConnection;

/// The shortest silence that is looked into.
const LIMIT_MIN: Duration = Duration::from_secs(2);

/// Whether a server was found not to exist any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether it was.
    pub(super) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches a connection to a server as long as it is open. Has to be called within a tokio
/// runtime.
pub(super) fn begin(
    agent: &Arc<ServerConnection>,
    server: Id,
    client: &Client,
    uses: &Arc<Uses>,
    idle_timeout: IdleTimeout,
) -> Gone {
    let gone = Gone::default();
    let watch = Watch {
        agent: Arc::downgrade(agent),
        server,
        client: client.clone(),
        uses: uses.clone(),
        gone: gone.clone(),
    };
    tokio::spawn(watch.run(idle_timeout.keep_alive_interval()));
    gone
}

struct Watch {
    agent: Weak<ServerConnection>,
    server: Id,
    client: Client,
    uses: Arc<Uses>,
    gone: Gone,
}

impl Watch {
    async fn run(self, interval: Duration) {
        let mut silence = Silence::new((interval * 2).max(LIMIT_MIN), Instant::now());
        loop {
            tokio::time::sleep(interval / 2).await;
            let Some(agent) = self.agent.upgrade() else { return };
            let Some(heard) = agent.datagrams_heard() else { return };
            let is_used = self.uses.is_any();
            if !silence.is_suspicious(heard, is_used, Instant::now()) {
                continue;
            }
            let found = self.client.server(self.server).await;
            match found.map(|found| found.map(|found| found.status)) {
                Ok(None | Some(ServerStatus::Deleting)) => {
                    tracing::warn!("the server was deleted, not by this process");
                    self.gone.0.store(true, Ordering::Relaxed);
                    agent.abort();
                    return;
                }
                Ok(Some(_)) => tracing::info!("the server is silent, and exists at Hetzner"),
                Err(error) => tracing::info!("cannot look up the silent server: {error}"),
            }
        }
    }
}

/// Decides when the silence of a connection is suspicious: once for each silence.
struct Silence {
    limit: Duration,
    /// The packets that have arrived so far.
    heard: u64,
    since: Instant,
    is_reported: bool,
}

impl Silence {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: 0, since: now, is_reported: false }
    }

    /// Whether this silence is to be looked into, now that so many packets have arrived.
    fn is_suspicious(&mut self, heard: u64, is_used: bool, now: Instant) -> bool {
        if heard != self.heard {
            *self = Self { heard, ..Self::new(self.limit, now) };
        }
        let is_new = !self.is_reported && is_used && now - self.since >= self.limit;
        self.is_reported |= is_new;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_silence_of_a_used_server_is_looked_into_once() {
        let began = Instant::now();
        let at = |secs| began + Duration::from_secs(secs);
        let mut silence = Silence::new(Duration::from_secs(6), began);
        let mut seen = |heard, is_used, secs| silence.is_suspicious(heard, is_used, at(secs));
        assert!(!seen(1, true, 3) && !seen(2, true, 8));
        assert!(!seen(2, true, 13) && seen(2, true, 14) && !seen(2, true, 100));
        assert!(!seen(3, false, 101) && !seen(3, false, 200) && seen(3, true, 201));
    }
}
