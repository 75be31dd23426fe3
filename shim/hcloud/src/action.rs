//! Actions: what the API has begun and not yet done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::{Answer, Client, Query, field};
use crate::error::{Error, Operation};
use crate::page::PER_PAGE;
use crate::{Id, open_enum};

open_enum! {
    /// How far an action is.
    ActionStatus {
        /// Under way.
        Running = "running",
        /// Done.
        Success = "success",
        /// Failed.
        Error = "error",
    }
}

/// An action.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Action {
    /// Its number.
    pub id: Id,
    /// What it does, such as `create_server`.
    pub command: String,
    /// How far it is.
    pub status: ActionStatus,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<ActionError>,
}

/// Why an action failed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ActionError {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Ids in one request, as the official Go client asks.
const IDS_MAX: usize = 25;

/// The first pause between two looks.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// The longest: two looks a second would use up the hour's 3,600 requests.
const PAUSE_MAX: Duration = Duration::from_millis(2500);

/// Looks before pauses grow.
const LOOKS_AT_FIRST_PACE: u32 = 10;

/// The pause after so many looks; as the official command line client paces itself.
pub fn pause(looks: u32) -> Duration {
    let growth =
        1.5_f64.powi(i32::try_from(looks.saturating_sub(LOOKS_AT_FIRST_PACE)).unwrap_or(9));
    PAUSE_FIRST.mul_f64(growth.min(PAUSE_MAX.as_secs_f64() / PAUSE_FIRST.as_secs_f64()))
}

impl Action {
    fn failure(&self) -> Option<Error> {
        if self.status != ActionStatus::Error {
            return None;
        }
        let told = self.error.clone();
        let ActionError { code, message } = told.unwrap_or_else(|| ActionError {
            code: "unknown".into(),
            message: "the API does not say why".into(),
        });
        Some(Error::Action { id: self.id, command: self.command.clone(), code, message })
    }
}

impl Client {
    /// Waits until all of these are done. The first that fails is the error, whatever
    /// becomes of the others.
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
        let mut looks = 0;
        while let Some(action) = open.values().next() {
            if began.elapsed() > deadline {
                let (id, command) = (action.id, action.command.clone());
                return Err(Error::ActionDeadline { id, command, waited: began.elapsed() });
            }
            tokio::time::sleep(pause(looks)).await;
            looks += 1;
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

    async fn actions(&self, ids: &[Id]) -> Result<Vec<Action>, Error> {
        let mut query: Query = ids.iter().map(|id| ("id", id.to_string())).collect();
        query.push(("per_page", PER_PAGE.to_string()));
        let (answer, operation) = self.get_raw("/actions", query).await?;
        field(answer, "actions", &operation)
    }
}

/// The actions that an answer names: `action`, `next_actions`, `actions`.
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
