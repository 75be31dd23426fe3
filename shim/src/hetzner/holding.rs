//! What an account is known to have at Hetzner, and what keeps it from being deleted. Pure.
//!
//! The keeper writes it down, so that the next keeper knows what may exist although the API
//! cannot be asked, and every command can say so. Only resources of this installation count.
//!
//! Times are unix seconds: those of resources by the API's clock, those of a trouble by the
//! local clock, because commands show them without asking the API.

use serde::{Deserialize, Serialize};

use super::credentials::AccountName;
use super::inventory::{Inventory, is_of};
use super::naming::Owner;

/// Seconds from the first failed reaping until the next one.
const RETRY_SECS_MIN: i64 = 30;

/// Most seconds from a failed reaping until the next one.
const RETRY_SECS_MAX: i64 = 600;

/// The failures of which commands are told: a single one is often a network that comes back.
const FAILURES_TOLD: u32 = 2;

/// The resources of an account, as they were last listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    /// When they were listed; `None`: never.
    pub(crate) listed_at: Option<i64>,
    /// The servers.
    pub(crate) servers: Vec<HeldServerName>,
    /// The volumes.
    pub(crate) volumes: Vec<HeldVolumeName>,
    /// Whether a command may have created more since.
    pub(crate) may_be_more: bool,
    /// Why the last reaping has failed; `None` if it has not.
    pub(crate) trouble: Option<Trouble>,
    /// The process id of the keeper that looks after the account, as long as it runs.
    pub(crate) keeper: Option<u32>,
    /// The digest of the API's URL.
    pub(crate) endpoint: String,
    /// The accounts of other tokens of the same project.
    pub(crate) aliases: Vec<AccountName>,
}

/// A server in a holding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldServerName {
    /// Its id at Hetzner.
    pub(crate) id: u64,
    /// Its name at Hetzner.
    pub(crate) name: String,
    /// When it deletes itself if no keeper renews its lease; `None`: it does not.
    pub(crate) deletes_itself_at: Option<i64>,
}

/// A volume in a holding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldVolumeName {
    /// Its id at Hetzner.
    pub(crate) id: u64,
    /// Its name at Hetzner, which volumes of other projects there may have, too.
    pub(crate) name: String,
}

/// Reapings that have failed, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// The first failure.
    pub(crate) since: i64,
    /// How many there are.
    pub(crate) failures: u32,
    /// The last error on one line: what failed, and why.
    pub(crate) error: String,
    /// Whether the API rejects the token.
    pub(crate) is_token_rejected: bool,
    /// The names of the resources that could not be deleted; none if they could not be listed.
    pub(crate) stuck: Vec<String>,
    /// The next attempt.
    pub(crate) next_attempt: i64,
}

/// A reaping that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// As in [`Trouble`].
    pub(super) error: String,
    /// As in [`Trouble`].
    pub(super) is_token_rejected: bool,
    /// As in [`Trouble`].
    pub(super) stuck: Vec<String>,
}

/// Seconds from the last of so many failed reapings in a row until the next attempt.
pub(super) fn retry_secs(failures: u32) -> i64 {
    let doubled = 1_i64.checked_shl(failures.saturating_sub(1).min(30)).unwrap_or(i64::MAX);
    RETRY_SECS_MIN.saturating_mul(doubled).min(RETRY_SECS_MAX)
}

impl Holding {
    /// Whether something exists, as far as it is known.
    pub(crate) fn exists(&self) -> bool {
        self.may_be_more || !self.servers.is_empty() || !self.volumes.is_empty()
    }

    /// Whether something may exist that has to be asked for again. An account of which nothing
    /// is known has nothing if its token was never accepted: that is a typing error.
    pub(super) fn may_exist(&self) -> bool {
        self.exists() || (self.listed_at.is_none() && !self.is_token_rejected())
    }

    /// The resources were listed. `is_complete`: no command was creating any meanwhile.
    pub(super) fn listed(
        &mut self,
        inventory: &Inventory,
        owner: &Owner,
        now: i64,
        is_complete: bool,
    ) {
        let own = inventory.servers.iter().filter(|server| is_of(&server.labels, owner));
        let servers = own.map(|server| HeldServerName {
            id: server.id.0,
            name: server.name.clone(),
            deletes_itself_at: self.deletes_itself_at(server.id.0),
        });
        self.servers = servers.collect();
        let own = inventory.volumes.iter().filter(|volume| is_of(&volume.labels, owner));
        let volumes =
            own.map(|volume| HeldVolumeName { id: volume.id.0, name: volume.name.clone() });
        self.volumes = volumes.collect();
        self.listed_at = Some(now);
        self.may_be_more &= !is_complete;
    }

    /// There is this server with this volume, which may be new.
    pub(super) fn holds(&mut self, server: (u64, &str), volume: (u64, &str)) {
        let (id, name) = server;
        if self.servers.iter().all(|held| held.id != id) {
            let name = name.to_owned();
            self.servers.push(HeldServerName { id, name, deletes_itself_at: None });
        }
        let (id, name) = volume;
        if self.volumes.iter().all(|held| held.id != id) {
            self.volumes.push(HeldVolumeName { id, name: name.to_owned() });
        }
    }

    /// A reaping has failed, at this local time. Returns the seconds until the next one.
    pub(super) fn failed(&mut self, failure: Failure, now: i64) -> i64 {
        let earlier = self.trouble.as_ref();
        let since = earlier.map_or(now, |trouble| trouble.since);
        let failures = earlier.map_or(0, |trouble| trouble.failures).saturating_add(1);
        let secs = retry_secs(failures);
        let Failure { error, is_token_rejected, stuck } = failure;
        let next_attempt = now + secs;
        self.trouble =
            Some(Trouble { since, failures, error, is_token_rejected, stuck, next_attempt });
        secs
    }

    /// When a server deletes itself; `None`: it does not.
    pub(super) fn deletes_itself_at(&self, id: u64) -> Option<i64> {
        self.servers.iter().find(|server| server.id == id)?.deletes_itself_at
    }

    /// Whether the API rejects the token.
    pub(crate) fn is_token_rejected(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.is_token_rejected)
    }

    /// The trouble that commands are told of.
    pub(crate) fn told_trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|trouble| {
            self.may_exist() && (trouble.is_token_rejected || trouble.failures >= FAILURES_TOLD)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(is_token_rejected: bool) -> Failure {
        Failure { error: "cannot".into(), is_token_rejected, stuck: Vec::new() }
    }

    fn with_volume() -> Holding {
        Holding { listed_at: Some(1), volumes: vec![volume(70)], ..Holding::default() }
    }

    fn volume(id: u64) -> HeldVolumeName {
        HeldVolumeName { id, name: "v".into() }
    }

    #[test]
    fn retries_back_off_from_half_a_minute_to_ten_minutes() {
        let secs: Vec<i64> = (1..=8).map(retry_secs).collect();
        assert_eq!(secs, [30, 60, 120, 240, 480, 600, 600, 600]);
        assert_eq!((retry_secs(0), retry_secs(u32::MAX)), (30, 600));
    }

    #[test]
    fn failures_in_a_row_are_one_trouble() {
        let mut holding = with_volume();
        assert_eq!(holding.failed(failure(false), 100), 30);
        // A network that is away for a moment is not worth a warning.
        assert_eq!(holding.told_trouble(), None);
        assert_eq!(holding.failed(failure(false), 130), 60);
        let told = holding.told_trouble().unwrap();
        assert_eq!((told.since, told.failures, told.next_attempt), (100, 2, 190));
        let mut holding = with_volume();
        holding.failed(failure(true), 100);
        assert!(holding.told_trouble().is_some());
    }

    #[test]
    fn what_a_command_has_is_held_once() {
        let mut holding = with_volume();
        for _ in 0..2 {
            holding.holds((7, "s"), (70, "v"));
            holding.holds((7, "s"), (71, "v"));
        }
        assert_eq!((holding.servers.len(), holding.volumes.len()), (1, 2));
    }

    #[test]
    fn nothing_is_given_up_but_a_token_that_was_never_accepted() {
        let mut unknown = Holding::default();
        unknown.failed(failure(false), 1);
        assert!(unknown.may_exist() && !unknown.exists());
        unknown.failed(failure(true), 2);
        assert!(!unknown.may_exist());
        assert_eq!(unknown.told_trouble(), None);
        let mut known = with_volume();
        known.failed(failure(true), 1);
        assert!(known.may_exist());
        let empty = Holding { listed_at: Some(1), ..Holding::default() };
        assert!(!empty.may_exist());
        assert!(Holding { may_be_more: true, ..empty }.may_exist());
    }
}
