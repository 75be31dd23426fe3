//! When the API is asked again for a server that does not answer, and what it has said. The time
//! comes in as an argument.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burst_hcloud::server::Server;
use tokio::time::Instant;

use super::volume::Attached;

/// The pause after the first question to the API; it doubles with each one.
const PAUSE_MIN: Duration = Duration::from_secs(10);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A server of ours, its address, and the volumes that it has.
#[derive(Clone, Debug)]
pub(super) struct KnownServer {
    pub(super) server: Server,
    pub(super) address: IpAddr,
    pub(super) volumes: Attached,
}

/// What the API was asked since the last connection.
#[derive(Debug, Default)]
pub(super) struct Lookups(Mutex<Asked>);

/// Questions to the API, by all commands.
#[derive(Debug, Default)]
pub(super) struct Asked {
    count: u32,
    last: Option<Instant>,
    /// The answer to the last one.
    pub(super) found: Option<KnownServer>,
}

impl Lookups {
    /// There is a connection: what was asked before says nothing about the next break.
    pub(super) fn forget(&self) {
        *self.lock() = Asked::default();
    }

    /// What was asked since the last connection.
    pub(super) fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Notes a question if one may be asked at the time `now`; returns whether it may.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        if since.is_some_and(|since| since < pause(self.count)) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        true
    }
}

/// The pause after so many questions.
fn pause(count: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << count.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_asked_at_once_and_then_with_growing_pauses() {
        let began = Instant::now();
        let mut asked = Asked::default();
        let times = (0..3600).filter(|secs| asked.may_ask(began + Duration::from_secs(*secs)));
        let times: Vec<u64> = times.collect();
        assert_eq!(times[..6], [0, 10, 30, 70, 150, 310]);
        assert_eq!(times[6..], [610, 910, 1210, 1510, 1810, 2110, 2410, 2710, 3010, 3310]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
