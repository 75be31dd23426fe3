//! The deletion of one resource at Hetzner, while other actions may lock it.

use std::time::Duration;

use burst_hcloud::{Client, Code, Error as ApiError, Id};

use super::credentials::Endpoint;
use super::error;
use super::progress::Progress;
use crate::error::Error;

/// How long a deletion may take.
pub(super) const DELETION_DEADLINE: Duration = Duration::from_secs(120);

/// How often the deletion of a resource is retried that something else uses or changes. The pauses
/// are those of the API's official client for actions, from their eleventh on: 0.5 to 2.5 seconds.
const LOCKED_RETRIES: u32 = 6;

/// How often that of a locked one is retried while a user waits for it: for ten minutes, since
/// actions such as snapshots and changes of the type take minutes.
const LOCKED_RETRIES_OF_DOWN: u32 = 240;

/// A resource to delete.
#[derive(Clone, Copy)]
pub(super) enum Deletion {
    /// A server.
    Server(Id),
    /// A volume.
    Volume(Id),
}

/// Who waits while an action locks what is deleted.
#[derive(Clone, Copy)]
pub(super) enum LockWait<'a> {
    /// A reaping, which the next one repeats.
    Reaping,
    /// A user, who is told of a wait.
    User(&'a dyn Progress),
}

/// Deletes a resource, which `what` names; retries while an action has it locked.
pub(super) async fn delete(
    client: &Client,
    endpoint: &Endpoint,
    resource: Deletion,
    what: &str,
    lock_wait: LockWait<'_>,
) -> Result<(), Error> {
    let mut retries = 0;
    loop {
        let deleted = match resource {
            Deletion::Server(id) => match client.delete_server(id).await {
                Ok(actions) => client.wait(actions, DELETION_DEADLINE).await,
                Err(error) => Err(error),
            },
            Deletion::Volume(id) => client.delete_volume(id).await,
        };
        match deleted {
            Err(error) if retries < lock_wait.retries(&error) => {
                if let (0, LockWait::User(progress)) = (retries, lock_wait) {
                    progress.step(&format!("waiting for an action at Hetzner that locks {what}"));
                }
                tokio::time::sleep(burst_hcloud::action::pause(10 + retries)).await;
                retries += 1;
            }
            Err(error) if error.code() == Some(&Code::Protected) => {
                return Err(error::protected(what).caused_by(&error));
            }
            deleted => {
                return deleted
                    .map_err(|error| error::api(endpoint, &format!("delete {what}"), &error));
            }
        }
    }
}

impl LockWait<'_> {
    /// How often a deletion is retried after this error.
    fn retries(self, error: &ApiError) -> u32 {
        match (error.code(), self) {
            (Some(Code::Locked), Self::User(_)) => LOCKED_RETRIES_OF_DOWN,
            (Some(Code::Locked | Code::ResourceInUse | Code::Conflict), _) => LOCKED_RETRIES,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burst_hcloud::Operation;

    struct Silence;

    impl Progress for Silence {
        fn step(&self, _text: &str) {}

        fn say(&self, _text: &str) {}

        fn warn(&self, _text: &str) {}
    }

    #[test]
    fn a_user_waits_for_a_lock_for_minutes_and_a_reaping_for_seconds() {
        let retries = |lock_wait: LockWait<'_>, code| {
            let operation = Operation { method: "DELETE", path: "/servers/1".into() };
            let (status, message, limits) = (423, "".into(), [].into());
            let refused =
                ApiError::Refused { operation, status, code, message, limits, correlation: None };
            lock_wait.retries(&refused)
        };
        let user = LockWait::User(&Silence);
        assert_eq!(
            (retries(user, Code::Locked), retries(LockWait::Reaping, Code::Locked)),
            (240, 6)
        );
        assert_eq!(retries(user, Code::ResourceInUse), 6);
        assert_eq!((retries(user, Code::Protected), retries(user, Code::Unauthorized)), (0, 0));
        let pauses =
            (0..LOCKED_RETRIES_OF_DOWN).map(|retry| burst_hcloud::action::pause(10 + retry));
        let minutes = pauses.sum::<Duration>().as_secs() / 60;
        assert!((9..=10).contains(&minutes), "{minutes}");
    }
}
