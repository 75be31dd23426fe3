//! The networks in which TCP has won over QUIC, in a file.
//!
//! There, TCP is tried first for a day; then UDP gets another chance. The file only saves time:
//! one that is missing or damaged counts as empty, and a lost update costs another race.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::race::First;
use crate::atomic_file;

/// How long TCP is tried first.
const TCP_FIRST: Duration = Duration::from_secs(24 * 3600);

/// Networks that are remembered: those in which TCP has won last.
const NETWORKS_MAX: usize = 50;

/// The file.
#[derive(Debug)]
pub(crate) struct TcpNetworks {
    path: PathBuf,
}

/// What is remembered of all networks.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known(BTreeMap<String, Blocked>);

/// A network that blocks UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Blocked {
    /// When TCP has won, in unix seconds.
    at: u64,
    /// Whether the user was told.
    told: bool,
}

impl TcpNetworks {
    /// The file at this path.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The transport to try first in a network.
    pub(super) fn first(&self, network: &Network) -> First {
        self.read().first(network, now())
    }

    /// TCP has won.
    pub(super) fn remember(&self, network: &Network) {
        let mut known = self.read();
        known.remember(network, now());
        self.write(&known);
    }

    /// UDP passes.
    pub(super) fn forget(&self, network: &Network) {
        let mut known = self.read();
        if known.0.remove(network.as_str()).is_some() {
            tracing::info!("UDP passes in this network again");
            self.write(&known);
        }
    }

    /// Whether the user is to be told that a network blocks UDP: once.
    pub(crate) fn is_news(&self, network: &Network) -> bool {
        let mut known = self.read();
        let is_news = known.tell(network);
        if is_news {
            self.write(&known);
        }
        is_news
    }

    fn read(&self) -> Known {
        let content = std::fs::read(&self.path).unwrap_or_default();
        serde_json::from_slice(&content).unwrap_or_default()
    }

    fn write(&self, known: &Known) {
        let written = serde_json::to_vec(known)
            .map_err(std::io::Error::other)
            .and_then(|content| atomic_file::write(&self.path, &content, 0o600));
        if let Err(error) = written {
            tracing::warn!("cannot remember the network: {error}");
        }
    }
}

impl Known {
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
    fn tcp_is_first_for_a_day_after_it_has_won() {
        let day = TCP_FIRST.as_secs();
        let (here, there) = (network(1), network(2));
        let mut known = Known::default();
        assert_eq!(known.first(&here, 1000), First::Quic);
        known.remember(&here, 1000);
        assert_eq!(known.first(&here, 1000 + day - 1), First::Tcp);
        assert_eq!(known.first(&here, 1000 + day), First::Quic);
        assert_eq!(known.first(&there, 1000), First::Quic);
        // UDP is still blocked.
        known.remember(&here, 1000 + day);
        assert_eq!(known.first(&here, 1000 + 2 * day - 1), First::Tcp);
        // The clock was set back by a year.
        known.remember(&here, 365 * day);
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

    #[test]
    fn the_file_survives_damage() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.json");
        let networks = TcpNetworks::new(path.clone());
        networks.remember(&network(1));
        assert_eq!(networks.first(&network(1)), First::Tcp);
        assert!(networks.is_news(&network(1)));
        assert!(!TcpNetworks::new(path.clone()).is_news(&network(1)));
        networks.forget(&network(1));
        assert_eq!(networks.first(&network(1)), First::Quic);
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(networks.first(&network(1)), First::Quic);
        networks.remember(&network(2));
        assert_eq!(networks.first(&network(2)), First::Tcp);
    }
}
