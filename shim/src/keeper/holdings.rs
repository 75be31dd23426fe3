//! What the keeper writes down: what each account is known to have, and what keeps it from being
//! deleted. Every command reads it, without asking the keeper or the API.
//!
//! Invariant: only the holder of the keeper's lock writes the file. It holds no secret. It decides
//! neither what exists nor what is deleted, only that somebody looks: a file that is lost or
//! damaged is as if nothing were known.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::hetzner::credentials::AccountName;
use crate::hetzner::holding::{HeldServerName, Holding, Trouble};
use crate::terminal::{counted, span};

/// The mode of the file: for the user alone.
const PRIVATE_FILE: u32 = 0o600;

/// The holdings of all accounts that have something, or may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holdings(BTreeMap<AccountName, Holding>);

impl Holdings {
    /// Reads the file; nothing if there is none, or it is damaged.
    pub(crate) fn read(path: &Path) -> Self {
        let Ok(text) = std::fs::read(path) else { return Self::default() };
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

    /// The holding of an account; `None` if it has nothing.
    pub(crate) fn of(&self, account: &AccountName) -> Option<&Holding> {
        self.0.get(account)
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
        let is_rejected = |name| self.of(name).is_some_and(Holding::is_token_rejected);
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

    /// One line of warning for each account that nothing looks after: there is neither a keeper nor
    /// a token. Servers that delete themselves are left out.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let left = self
            .0
            .values()
            .filter_map(|holding| resources(holding, |server| server.deletes_itself_at.is_none()));
        let line = |what| {
            format!(
                "{what} existed at Hetzner when last listed, and NOBODY will delete it: set the \
                 token (HCLOUD_TOKEN or `cargo burst init`), then run `cargo burst status`"
            )
        };
        left.map(line).collect()
    }

    /// One line of warning for each account that cannot be looked after, at this local time.
    pub(crate) fn warnings(&self, now: i64) -> Vec<String> {
        let troubled =
            self.0.values().filter_map(|holding| Some((holding, holding.told_trouble()?)));
        troubled.map(|(holding, trouble)| warning(holding, trouble, now)).collect()
    }
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

fn warning(holding: &Holding, trouble: &Trouble, now: i64) -> String {
    let what =
        resources(holding, |_| true).unwrap_or_else(|| "what there may be at Hetzner".to_owned());
    let cannot = match trouble.stuck.is_empty() {
        true => "ask for",
        false => "delete",
    };
    let next = match trouble.next_attempt - now {
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
        }
    }

    #[test]
    fn a_trouble_is_told_with_what_may_cost_money() {
        let mut holdings = Holdings::default();
        holdings.set(&account("a"), Some(holding(7, false, &[])));
        assert_eq!(
            holdings.warnings(8200),
            ["for 2 h the keeper could not ask for cargo-burst-1 and 1 volume, which may cost \
              money: cannot ask: refused; next attempt in 1 min; see `cargo burst status`"]
        );
        holdings.set(&account("a"), Some(holding(7, false, &["v"])));
        assert!(holdings.warnings(9000)[0].contains("could not delete cargo-burst-1"));
        assert!(holdings.warnings(9000)[0].contains("next attempt soon"));
        holdings.set(&account("a"), Some(Holding { trouble: None, ..holding(7, false, &[]) }));
        assert!(holdings.warnings(8200).is_empty());
    }

    #[test]
    fn what_is_left_behind_is_named_but_for_servers_that_delete_themselves() {
        let mut holdings = Holdings::default();
        holdings.set(&account("a"), Some(holding(7, false, &[])));
        let left = holdings.left_behind();
        assert!(left[0].starts_with("cargo-burst-1 and 1 volume existed at Hetzner"), "{left:?}");
        let mut armed = holding(7, false, &[]);
        armed.servers[0].deletes_itself_at = Some(5);
        holdings.set(&account("a"), Some(armed.clone()));
        assert!(holdings.left_behind()[0].starts_with("1 volume existed"));
        holdings.set(&account("a"), Some(Holding { volumes: Vec::new(), ..armed }));
        assert!(holdings.left_behind().is_empty());
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
        assert_eq!(holdings.clone().remove_superseded(&[&old, &new], seen_by(&new)), [old.clone()]);
        // Where both tokens are accepted and here, both look after it.
        holdings.set(&old, Some(holding(7, false, &[])));
        assert_eq!(holdings.remove_superseded(&[&old, &new], seen_by(&new)), nobody);
        assert_eq!(holdings.remove_superseded(&[&new], seen_by(&new)), [old.clone()]);
        assert!(holdings.of(&old).is_none() && holdings.of(&new).is_some());
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
