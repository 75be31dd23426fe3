//! Actions: asynchronous operations of the API.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::{Answer, Client, Query, field};
use crate::error::{Error, Operation};
use crate::id::Id;
use crate::open_enum::open_enum;
use crate::page::PER_PAGE;

open_enum! {
    /// The state of an action.
    ActionStatus {
        /// In progress.
        Running = "running",
        /// The action has completed.
        Success = "success",
        /// Failed, for the reason in [`Action::error`].
        Error = "error",
    }
}

/// An asynchronous operation on a resource.
#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    /// The id of the action.
    pub id: Id,
    /// The operation, such as `create_server`.
    pub command: String,
    /// The state of the action.
    pub status: ActionStatus,
    /// The reason, if the action failed.
    #[serde(default)]
    pub error: Option<ActionError>,
    /// When it was completed; `None` while it is in progress.
    #[serde(default, deserialize_with = "crate::time::deserialize_optional")]
    pub finished: Option<Timestamp>,
    /// What it concerns.
    #[serde(default)]
    pub resources: Vec<ActionResource>,
}

/// What an action concerns.
#[derive(Clone, Debug, Deserialize)]
pub struct ActionResource {
    /// The id of the resource, unique among those of its kind.
    pub id: Id,
    /// The kind, such as `server`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The reason for the failure of an action.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ActionError {
    /// A code for programs.
    pub code: String,
    /// A message for the user.
    pub message: String,
}

/// Most ids in one request, as in the official Go client.
const IDS_MAX: usize = 25;

/// The first pause between two polls.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// The longest pause. The API allows 3,600 requests per hour, which two polls per second
/// would exceed.
const PAUSE_MAX: Duration = Duration::from_millis(2500);

/// Number of polls before the pauses grow.
const POLLS_AT_FIRST_PACE: u32 = 10;

/// The pause after this many polls, as in the official command line client.
pub fn pause(polls: u32) -> Duration {
    let growth =
        1.5_f64.powi(i32::try_from(polls.saturating_sub(POLLS_AT_FIRST_PACE)).unwrap_or(9));
    PAUSE_FIRST.mul_f64(growth.min(PAUSE_MAX.as_secs_f64() / PAUSE_FIRST.as_secs_f64()))
}

impl Action {
    fn failure(&self) -> Option<Error> {
        if self.status != ActionStatus::Error {
            return None;
        }
        let ActionError { code, message } = self.error.clone().unwrap_or_else(|| ActionError {
            code: "unknown".into(),
            message: "the API gives no reason".into(),
        });
        Some(Error::Action { id: self.id, command: self.command.clone(), code, message })
    }
}

impl Client {
    /// Waits until all actions are completed. Fails with [`Error::Action`] as soon as one
    /// fails, without waiting for the others, and with [`Error::ActionDeadline`] if some are
    /// in progress after `deadline`.
    pub async fn wait(&self, actions: Vec<Action>, deadline: Duration) -> Result<(), Error> {
        let began = Instant::now();
        let mut open: BTreeMap<Id, Action> = BTreeMap::new();
        for action in actions {
            if let Some(failure) = action.failure() {
                return Err(failure);
            }
            if action.status != ActionStatus::Success {
                open.insert(action.id, action);
            }
        }
        let mut polls = 0;
        while let Some(action) = open.values().next() {
            if began.elapsed() > deadline {
                let (id, command) = (action.id, action.command.clone());
                return Err(Error::ActionDeadline { id, command, waited: began.elapsed() });
            }
            tokio::time::sleep(pause(polls)).await;
            polls += 1;
            let ids: Vec<Id> = open.keys().copied().collect();
            for batch in ids.chunks(IDS_MAX) {
                for action in self.actions(batch).await? {
                    if let Some(failure) = action.failure() {
                        return Err(failure);
                    }
                    if action.status == ActionStatus::Success {
                        open.remove(&action.id);
                    }
                }
            }
        }
        Ok(())
    }

    /// The latest deletions of servers, by whomever: their ids and times. At most those among the
    /// last fifty actions of servers.
    pub async fn server_deletions(&self) -> Result<Vec<(Id, Timestamp)>, Error> {
        let query = vec![
            ("status", "success".to_owned()),
            ("sort", "started:desc".to_owned()),
            ("per_page", PER_PAGE.to_string()),
        ];
        let (answer, operation) = self.get_raw("/servers/actions", query).await?;
        let actions: Vec<Action> = field(answer, "actions", &operation)?;
        let deletions = actions.into_iter().filter(|action| action.command == "delete_server");
        let ended = deletions.filter_map(|action| Some((action.finished?, action.resources)));
        let servers = ended.flat_map(|(finished, resources)| {
            let servers = resources.into_iter().filter(|resource| resource.kind == "server");
            servers.map(move |server| (server.id, finished))
        });
        Ok(servers.collect())
    }

    async fn actions(&self, ids: &[Id]) -> Result<Vec<Action>, Error> {
        let mut query: Query = ids.iter().map(|id| ("id", id.to_string())).collect();
        query.push(("per_page", PER_PAGE.to_string()));
        let (answer, operation) = self.get_raw("/actions", query).await?;
        field(answer, "actions", &operation)
    }
}

/// The actions in a response: its fields `action`, `next_actions` and `actions`.
pub(crate) fn of_answer(answer: &mut Answer, operation: &Operation) -> Result<Vec<Action>, Error> {
    let mut actions = Vec::new();
    let mut take = |key: &str| answer.remove(key).filter(|value| !value.is_null());
    let unintelligible =
        |source| Error::Unintelligible { operation: operation.clone(), correlation: None, source };
    if let Some(one) = take("action") {
        actions.push(serde_json::from_value(one).map_err(unintelligible)?);
    }
    for key in ["next_actions", "actions"] {
        if let Some(list) = take(key) {
            let list: Vec<Action> = serde_json::from_value(list).map_err(unintelligible)?;
            actions.extend(list);
        }
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap() {
        assert_eq!(pause(0), Duration::from_millis(500));
        assert_eq!(pause(10), Duration::from_millis(500));
        assert_eq!(pause(11), Duration::from_millis(750));
        assert_eq!(pause(1000), Duration::from_millis(2500));
    }
}
