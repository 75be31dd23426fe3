//! What the keeper writes down: what each account is known to have, and what keeps it from being
//! deleted. Every command reads it, without asking the keeper or the API.
//!
//! Invariant: only the holder of the keeper's lock writes the file. It holds no secret. It decides
//! neither what exists nor what is deleted, only whether the API is asked: a file that is lost or
//! damaged is as if nothing were known.

use std::collections::BTreeMap;
use std::path::Path;

use burst_sync::regular_file::{self, Links};
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::hetzner::credentials::AccountName;
use crate::hetzner::holding::{HeldServerName, Holding, Trouble};
use crate::terminal::{counted, span};

/// The mode of the file: for the user alone.
const PRIVATE_FILE: u32 = 0o600;

/// Most bytes of the file that are read: far more than thousands of resources take.
const BYTES_MAX: u64 = 16 << 20;

/// The holdings of all accounts that have something, or may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holdings(BTreeMap<AccountName, Holding>);

impl Holdings {
    /// Reads the file; nothing if there is none, or it is damaged.
    pub(crate) fn read(path: &Path) -> Self {
        let Ok(text) = regular_file::read(path, BYTES_MAX, Links::Followed) else {
            return Self::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!("`{}` is damaged: {error}", path.display());
            Self::default()
        })
    }

    /// Replaces the file. If that fails, it is logged.
    pub(crate) fn write(&self, path: &Path) {
        let Ok(text) = serde_json::to_vec_pretty(self) else { return };
        if let Err(error) = atomic_file::write(path, &text, PRIVATE_FILE) {
            tracing::warn!("cannot write `{}`: {error}", path.display());
        }
    }

    /// Whether no account has anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The holding of an account, or of another token of its project, with the name under which it
    /// is written down; `None` if it has nothing.
    pub(crate) fn entry(&self, account: &AccountName) -> Option<(&AccountName, &Holding)> {
        let is_alias = |(_, holding): &(_, &Holding)| holding.aliases.contains(account);
        self.0.get_key_value(account).or_else(|| self.0.iter().find(is_alias))
    }

    /// Takes in what an account has now.
    pub(crate) fn set(&mut self, account: &AccountName, holding: Option<Holding>) {
        match holding {
            Some(holding) => drop(self.0.insert(account.clone(), holding)),
            None => drop(self.0.remove(account)),
        }
    }

    /// Removes the accounts that are superseded: their token is rejected, or this process does not
    /// have them, and one of `present`, whose token is accepted, has seen what they have. That one
    /// has another token of the same project at Hetzner. Returns them.
    pub(crate) fn remove_superseded(
        &mut self,
        present: &[&AccountName],
        has_seen: impl Fn(&AccountName, &Holding) -> bool,
    ) -> Vec<AccountName> {
        let is_rejected = |name| self.0.get(name).is_some_and(Holding::is_token_rejected);
        let mut accepted = present.to_vec();
        accepted.retain(|name| !is_rejected(name));
        let is_superseded = |name: &AccountName, holding: &Holding| {
            !accepted.contains(&name) && accepted.iter().any(|other| has_seen(other, holding))
        };
        let superseded = self.0.iter().filter(|(name, holding)| is_superseded(name, holding));
        let superseded: Vec<_> = superseded.map(|(name, _)| name.clone()).collect();
        self.0.retain(|name, _| !superseded.contains(name));
        superseded
    }

    /// Whether an account has something that the running keeper does not look after.
    pub(crate) fn is_left_behind(&self, account: &AccountName, keeper: Option<u32>) -> bool {
        self.entry(account).is_some_and(|(_, holding)| !is_looked_after(holding, keeper))
    }

    /// One line of warning for each account that cannot be looked after, at this local time, and
    /// for each one that nothing looks after: neither the running keeper nor the command, which has
    /// the token of the account `own`.
    pub(crate) fn warnings(
        &self,
        keeper: Option<u32>,
        own: Option<&AccountName>,
        now: i64,
    ) -> Vec<String> {
        let own = own.and_then(|own| self.entry(own)).map(|(name, _)| name);
        let line = |(name, holding): (&AccountName, &Holding)| {
            let is_looked_after = is_looked_after(holding, keeper);
            if !is_looked_after && own != Some(name) {
                return left_behind(holding);
            }
            let trouble = holding.told_trouble()?;
            Some(warning(holding, trouble, is_looked_after, now))
        };
        self.0.iter().filter_map(line).collect()
    }
}

/// Whether the keeper that has written a holding down is the one that runs.
fn is_looked_after(holding: &Holding, keeper: Option<u32>) -> bool {
    keeper.is_some() && holding.keeper == keeper
}

/// What is left behind; `None` if that is only servers which delete themselves.
fn left_behind(holding: &Holding) -> Option<String> {
    let known = resources(holding, |server| server.deletes_itself_at.is_none());
    let what = match known {
        Some(known) => format!("{known} existed at Hetzner when last listed"),
        None if holding.servers.is_empty() => "something may exist at Hetzner".to_owned(),
        None => return None,
    };
    Some(format!(
        "{what}, and NOBODY will delete it: set the token (HCLOUD_TOKEN or `cargo burst init`), \
         then run `cargo burst status`"
    ))
}

/// The resources of a holding in words; servers without those that `is_meant` leaves out. `None`
/// if nothing is known.
fn resources(holding: &Holding, is_meant: impl Fn(&HeldServerName) -> bool) -> Option<String> {
    let servers = holding.servers.iter().filter(|server| is_meant(server));
    let mut words: Vec<String> = servers.map(|server| server.name.clone()).collect();
    if !holding.volumes.is_empty() {
        let volumes = u64::try_from(holding.volumes.len()).unwrap_or(u64::MAX);
        words.push(counted(volumes, "volume"));
    }
    (!words.is_empty()).then(|| words.join(" and "))
}

/// `is_looked_after`: a keeper goes on trying.
fn warning(holding: &Holding, trouble: &Trouble, is_looked_after: bool, now: i64) -> String {
    let what =
        resources(holding, |_| true).unwrap_or_else(|| "what there may be at Hetzner".to_owned());
    let cannot = match trouble.stuck.is_empty() {
        true => "ask for",
        false => "delete",
    };
    let next = match trouble.next_attempt - now {
        _ if !is_looked_after => "no keeper runs".to_owned(),
        left @ 1.. => format!("next attempt in {}", span(left)),
        _ => "next attempt soon".to_owned(),
    };
    format!(
        "for {} the keeper could not {cannot} {what}, which may cost money: {}; {next}; see `cargo \
         burst status`",
        span(now - trouble.since),
        trouble.error
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::holding::HeldVolumeName;

    fn account(name: &str) -> AccountName {
        serde_json::from_value(name.into()).unwrap()
    }

    fn holding(id: u64, is_token_rejected: bool, stuck: &[&str]) -> Holding {
        let name = "cargo-burst-1".to_owned();
        let trouble = Trouble {
            since: 1000,
            failures: 3,
            error: "cannot ask: refused".into(),
            is_token_rejected,
            stuck: stuck.iter().map(|name| (*name).to_owned()).collect(),
            next_attempt: 8260,
        };
        Holding {
            listed_at: Some(900),
            servers: vec![HeldServerName { id, name, deletes_itself_at: None }],
            volumes: vec![HeldVolumeName { id: 70, name: "v".into() }],
            may_be_more: false,
            trouble: Some(trouble),
            keeper: Some(5),
            endpoint: "e".into(),
            aliases: Vec::new(),
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("holdings.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Holdings::read(&path), Holdings::default());
    }

    #[test]
    fn a_trouble_is_told_with_what_may_cost_money() {
        let warnings = |holding: Holding, now| {
            let mut holdings = Holdings::default();
            holdings.set(&account("a"), Some(holding));
            holdings.warnings(Some(5), None, now)
        };
        assert_eq!(
            warnings(holding(7, false, &[]), 8200),
            ["for 2 h the keeper could not ask for cargo-burst-1 and 1 volume, which may cost \
              money: cannot ask: refused; next attempt in 1 min; see `cargo burst status`"]
        );
        let stuck = warnings(holding(7, false, &["v"]), 9000);
        assert!(stuck[0].contains("could not delete cargo-burst-1"), "{stuck:?}");
        assert!(stuck[0].contains("next attempt soon"), "{stuck:?}");
        let nothing = warnings(Holding { trouble: None, ..holding(7, false, &[]) }, 8200);
        assert_eq!(nothing, Vec::<String>::new());
    }

    #[test]
    fn an_attempt_is_promised_only_of_the_keeper_that_runs() {
        let (own, other, alias) = (account("own"), account("other"), account("alias"));
        let mut holdings = Holdings::default();
        holdings
            .set(&own, Some(Holding { aliases: vec![alias.clone()], ..holding(7, false, &[]) }));
        holdings.set(&other, Some(holding(8, false, &[])));
        let warnings = |keeper, own| holdings.warnings(keeper, own, 8200);
        let are = |found: &[String], clauses: [&str; 2]| {
            found.len() == 2 && found.iter().zip(clauses).all(|(line, part)| line.contains(part))
        };
        const PROMISE: &str = "; next attempt in 1 min";
        assert!(are(&warnings(Some(5), None), [PROMISE, PROMISE]));
        // It was killed; another one looks after other accounts at most.
        for keeper in [None, Some(6)] {
            // In the order of names: `other`, then `own`.
            for name in [&own, &alias] {
                let found = warnings(keeper, Some(name));
                assert!(are(&found, ["NOBODY will delete it", "; no keeper runs;"]), "{found:?}");
            }
            assert!(are(&warnings(keeper, None), ["NOBODY", "NOBODY"]));
            assert!(holdings.is_left_behind(&own, keeper));
        }
        assert!(!holdings.is_left_behind(&own, Some(5)));
        assert!(!holdings.is_left_behind(&account("third"), None));
    }

    #[test]
    fn what_is_left_behind_is_named_but_for_servers_that_delete_themselves() {
        let left = |holding: &Holding| left_behind(holding).unwrap_or_default();
        let known = holding(7, false, &[]);
        let found = left(&known);
        assert!(found.starts_with("cargo-burst-1 and 1 volume existed at Hetzner"), "{found:?}");
        let mut armed = known;
        armed.servers[0].deletes_itself_at = Some(5);
        assert!(left(&armed).starts_with("1 volume existed"));
        let without = Holding { volumes: Vec::new(), ..armed };
        assert_eq!(left_behind(&without), None);
        let unknown = Holding { servers: Vec::new(), may_be_more: true, ..without };
        assert!(left(&unknown).starts_with("something may exist at Hetzner, and NOBODY"));
    }

    #[test]
    fn only_one_that_has_seen_the_same_supersedes_a_token() {
        let mut holdings = Holdings::default();
        let (old, new) = (account("old"), account("new"));
        holdings.set(&old, Some(holding(7, true, &[])));
        holdings.set(&new, Some(holding(8, false, &[])));
        let seen_by = |seer: &AccountName| {
            let seer = seer.clone();
            move |name: &AccountName, holding: &Holding| {
                *name == seer && holding.servers.iter().any(|server| server.id == 7)
            }
        };
        let nobody = Vec::<AccountName>::new();
        // Another project, or an account that has seen it and is not looked after here.
        assert_eq!(holdings.remove_superseded(&[&old, &new], |_, _| false), nobody);
        assert_eq!(holdings.remove_superseded(&[&old], seen_by(&new)), nobody);
        // It has seen it itself.
        assert_eq!(holdings.remove_superseded(&[&old, &new], seen_by(&old)), nobody);
        assert_eq!(
            holdings.clone().remove_superseded(&[&old, &new], seen_by(&new)),
            std::slice::from_ref(&old)
        );
        // Where both tokens are accepted and here, both look after it.
        holdings.set(&old, Some(holding(7, false, &[])));
        assert_eq!(holdings.remove_superseded(&[&old, &new], seen_by(&new)), nobody);
        assert_eq!(holdings.remove_superseded(&[&new], seen_by(&new)), std::slice::from_ref(&old));
        assert!(holdings.entry(&old).is_none() && holdings.entry(&new).is_some());
    }

    #[test]
    fn the_file_is_private_and_a_damaged_one_is_nothing() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("holdings.json");
        assert_eq!(Holdings::read(&path), Holdings::default());
        let mut holdings = Holdings::default();
        holdings.set(&account("a"), Some(holding(7, true, &[])));
        holdings.write(&path);
        assert_eq!(Holdings::read(&path), holdings);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::write(&path, "{\"a\": 7").unwrap();
        assert_eq!(Holdings::read(&path), Holdings::default());
    }
}
