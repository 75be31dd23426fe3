//! The networks that block UDP, and whose users have been told.
//!
//! There, TCP is tried first for an hour; then QUIC gets its head start again. What counts is the
//! table in memory. The file carries it to the next process and to other accounts of this one: it
//! is read once and written with each change, on threads that may block. One that is missing,
//! damaged or cannot be written counts as empty, and a lost update costs another race.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::network::Network;
use super::race::First;
use crate::atomic_file;

/// The name of the file in the state directory of the Hetzner provider.
pub(crate) const FILE: &str = "tcp-networks.json";

/// How long TCP is tried first.
pub(super) const TCP_FIRST: Duration = Duration::from_secs(3600);

/// Networks that are remembered: those in which UDP was found to be blocked last.
const NETWORKS_MAX: usize = 50;

/// The table, and its file.
#[derive(Debug)]
pub(crate) struct TcpNetworks {
    path: PathBuf,
    known: OnceCell<Mutex<Known>>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
}

/// What is remembered of all networks.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known(BTreeMap<String, Blocked>);

/// A network that blocks UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Blocked {
    /// When that was found out, in unix seconds.
    at: u64,
    /// Whether the user was told.
    told: bool,
}

/// A change of the table.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// UDP is blocked, since this time.
    Remember(u64),
    /// UDP passes.
    Forget,
    /// The user has been told.
    Tell,
}

impl TcpNetworks {
    /// The table of the file at this path.
    pub(crate) const fn new(path: PathBuf) -> Self {
        let writing = tokio::sync::Mutex::const_new(());
        Self { path, known: OnceCell::const_new(), writing }
    }

    /// The transport to try first in a network.
    pub(super) async fn first(&self, network: &Network) -> First {
        self.known().await.first(network, now())
    }

    /// Whether UDP is known to be blocked in the network by which an address is reached.
    pub(crate) async fn blocks_udp(&self, towards: SocketAddr) -> bool {
        match Network::find(towards).await {
            Some(network) => self.first(&network).await == First::Tcp,
            None => false,
        }
    }

    /// UDP is blocked.
    pub(super) async fn remember(&self, network: &Network) {
        self.change(network, Change::Remember(now())).await;
    }

    /// UDP passes.
    pub(super) async fn forget(&self, network: &Network) {
        if self.change(network, Change::Forget).await {
            tracing::info!("UDP passes in this network again");
        }
    }

    /// Whether the user is to be told that a network blocks UDP: once.
    pub(crate) async fn is_news(&self, network: &Network) -> bool {
        self.change(network, Change::Tell).await
    }

    async fn known(&self) -> MutexGuard<'_, Known> {
        let path = self.path.clone();
        let read =
            || async { Mutex::new(spawn_blocking(move || read(&path)).await.unwrap_or_default()) };
        self.known.get_or_init(read).await.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the change has an effect.
    async fn change(&self, network: &Network, change: Change) -> bool {
        if !self.known().await.change(network, change) {
            return false;
        }
        let (path, network) = (self.path.clone(), network.clone());
        let _writing = self.writing.lock().await;
        let written = spawn_blocking(move || {
            // What other accounts have written meanwhile stays.
            let mut known = read(&path);
            known.change(&network, change);
            write(&path, &known)
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!("cannot remember the network: {error}");
        }
        true
    }
}

fn read(path: &Path) -> Known {
    let content = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

fn write(path: &Path, known: &Known) -> io::Result<()> {
    let content = serde_json::to_vec(known).map_err(io::Error::other)?;
    atomic_file::write(path, &content, 0o600)
}

impl Known {
    /// Makes a change; returns whether there was something to change.
    fn change(&mut self, network: &Network, change: Change) -> bool {
        match change {
            Change::Remember(now) => {
                self.remember(network, now);
                true
            }
            Change::Forget => self.0.remove(network.as_str()).is_some(),
            Change::Tell => self.tell(network),
        }
    }

    fn first(&self, network: &Network, now: u64) -> First {
        match self.0.get(network.as_str()) {
            // A clock that was set back must not make it last for longer.
            Some(blocked) if now.abs_diff(blocked.at) < TCP_FIRST.as_secs() => First::Tcp,
            _ => First::Quic,
        }
    }

    fn remember(&mut self, network: &Network, now: u64) {
        let entry = self.0.entry(network.as_str().to_owned());
        entry.or_insert(Blocked { at: now, told: false }).at = now;
        while self.0.len() > NETWORKS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, blocked)| blocked.at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            self.0.remove(&oldest);
        }
    }

    fn tell(&mut self, network: &Network) -> bool {
        let blocked = self.0.get_mut(network.as_str());
        blocked.is_some_and(|blocked| !std::mem::replace(&mut blocked.told, true))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> Network {
        Network::of([10, 0, 0, number].into(), None)
    }

    #[test]
    fn quic_gets_its_head_start_once_the_memory_is_older_than_an_hour() {
        let hour = TCP_FIRST.as_secs();
        let (here, there) = (network(1), network(2));
        let mut known = Known::default();
        assert_eq!(known.first(&here, 1000), First::Quic);
        known.remember(&here, 1000);
        assert_eq!(known.first(&here, 1000 + hour - 1), First::Tcp);
        assert_eq!(known.first(&here, 1000 + hour), First::Quic);
        assert_eq!(known.first(&there, 1000), First::Quic);
        // UDP is still blocked.
        known.remember(&here, 1000 + hour);
        assert_eq!(known.first(&here, 1000 + 2 * hour - 1), First::Tcp);
        // The clock was set back by a year.
        known.remember(&here, 10_000 * hour);
        assert_eq!(known.first(&here, 10), First::Quic);
    }

    #[test]
    fn the_user_is_told_once_for_each_network() {
        let (here, there) = (network(1), network(2));
        let mut known = Known::default();
        assert!(!known.tell(&here));
        known.remember(&here, 1000);
        known.remember(&there, 1000);
        assert!(known.tell(&here));
        known.remember(&here, 2000);
        assert!(!known.tell(&here));
        assert!(known.tell(&there));
    }

    #[test]
    fn the_oldest_network_is_forgotten_first() {
        let mut known = Known::default();
        for number in 0..=NETWORKS_MAX as u8 {
            known.remember(&network(number), 1000 + u64::from(number == 0) * 500);
        }
        assert_eq!(known.0.len(), NETWORKS_MAX);
        assert_eq!(known.first(&network(0), 1500), First::Tcp);
        assert_eq!(known.first(&network(1), 1500), First::Quic);
    }

    #[tokio::test]
    async fn the_file_carries_the_table_to_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.json");
        let open = || TcpNetworks::new(path.clone());
        let (networks, other_account) = (open(), open());
        assert_eq!(other_account.first(&network(2)).await, First::Quic);
        networks.remember(&network(1)).await;
        assert_eq!(networks.first(&network(1)).await, First::Tcp);
        other_account.remember(&network(2)).await;
        assert!(networks.is_news(&network(1)).await);
        for number in [1, 2] {
            assert_eq!(open().first(&network(number)).await, First::Tcp);
            assert_eq!(open().is_news(&network(number)).await, number == 2);
        }
        networks.forget(&network(1)).await;
        assert_eq!(networks.first(&network(1)).await, First::Quic);
        assert_eq!(open().first(&network(1)).await, First::Quic);
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(open().first(&network(2)).await, First::Quic);
        // The table in memory counts.
        assert_eq!(other_account.first(&network(2)).await, First::Tcp);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_changes_nothing_in_this_process() {
        let directory = tempfile::tempdir().unwrap();
        let networks = TcpNetworks::new(directory.path().join("missing/networks.json"));
        networks.remember(&network(1)).await;
        assert_eq!(networks.first(&network(1)).await, First::Tcp);
        assert!(networks.is_news(&network(1)).await && !networks.is_news(&network(1)).await);
    }
}
