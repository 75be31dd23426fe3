//! The attachment of a project's volume to its server, until the API says that it is there.
//!
//! The API accepts an attachment and carries it out later. The action can fail, and a volume can
//! be detached again by hand; the agent only sees that its device does not appear. So the action
//! is awaited beside the connection to the agent, the volume is looked up once after it, and one
//! that is not attached is attached again.

use std::time::Duration;

use burst_hcloud::action::Action;
use burst_hcloud::server::Server;
use burst_hcloud::volume::Volume;
use burst_hcloud::{Client, Code, Error as ApiError, Id};
use tokio::sync::mpsc::UnboundedSender;

use super::credentials::Endpoint;
use super::error;
use crate::error::Error;

/// The command of the API's actions that attach a volume.
pub(super) const COMMAND: &str = "attach_volume";

/// The action in errors.
const ACTION: &str = "attach the project's volume";

/// How long an attachment may take. A few seconds are usual.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often the attachment of a locked volume is retried: after 1, 2, 4, 8 and 16
/// seconds, as in Hetzner's Terraform provider.
const LOCKED_RETRIES: u32 = 5;

/// How often a volume is attached again.
const REPEATS_MAX: u32 = 3;

/// The attachment of a volume to a server.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    client: Client,
    endpoint: Endpoint,
    volume: Id,
    server: Id,
}

impl Attachment {
    /// Of this volume to this server.
    pub(super) fn new(
        client: &Client,
        endpoint: &Endpoint,
        volume: &Volume,
        server: &Server,
    ) -> Self {
        let (client, endpoint) = (client.clone(), endpoint.clone());
        Self { client, endpoint, volume: volume.id, server: server.id }
    }

    /// Begins it. Returns the actions in progress: none if the volume is attached.
    pub(super) async fn begin(&self) -> Result<Vec<Action>, Error> {
        let mut retries = 0;
        loop {
            let error = match self.client.attach_volume(self.volume, self.server).await {
                Ok(actions) => return Ok(actions),
                Err(error) => error,
            };
            match error.code() {
                // By an earlier attempt whose response was lost, or by an earlier command.
                Some(Code::VolumeAlreadyAttached) => {
                    return match self.is_attached().await? {
                        true => Ok(Vec::new()),
                        false => Err(self.api(&error)),
                    };
                }
                code if retries < LOCKED_RETRIES
                    && (code == Some(&Code::Locked) || error.is_uncertain()) =>
                {
                    tokio::time::sleep(Duration::from_secs(1 << retries)).await;
                    retries += 1;
                }
                _ => return Err(self.api(&error)),
            }
        }
    }

    /// Waits until the volume is attached; attaches it again if it is not, and says so to
    /// `tell`. The result is logged, too: the command may not wait for it.
    pub(super) async fn complete(
        self,
        actions: Vec<Action>,
        tell: UnboundedSender<String>,
    ) -> Result<(), Error> {
        let completed = self.repeat_until_attached(actions, &tell).await;
        match &completed {
            Ok(()) => tracing::info!(volume = %self.volume, "the volume is attached"),
            Err(error) => tracing::warn!(volume = %self.volume, "{}", error.one_line()),
        }
        completed
    }

    async fn repeat_until_attached(
        &self,
        mut actions: Vec<Action>,
        tell: &UnboundedSender<String>,
    ) -> Result<(), Error> {
        let mut repeats = 0;
        loop {
            let waited = self.client.wait(actions, DEADLINE).await;
            if self.is_attached().await? {
                return Ok(());
            }
            let cause = match waited {
                Ok(()) => "it was detached again".to_owned(),
                Err(error) => error.to_string(),
            };
            if repeats == REPEATS_MAX {
                return Err(error::incomplete(format!("cannot {ACTION}")).cause(cause));
            }
            repeats += 1;
            let text = format!("the project's volume is not attached: {cause}; attaching it again");
            tracing::warn!("{text}");
            // The receiver is gone once the command goes on.
            drop(tell.send(text));
            actions = self.begin().await?;
        }
    }

    /// Fails if the volume does not exist any more.
    async fn is_attached(&self) -> Result<bool, Error> {
        let found = self.client.volume(self.volume).await.map_err(|error| self.api(&error))?;
        let found = found.ok_or_else(|| {
            error::incomplete(format!("cannot {ACTION}")).cause("it does not exist any more")
        })?;
        Ok(found.server == Some(self.server))
    }

    fn api(&self, error: &ApiError) -> Error {
        error::api(&self.endpoint, ACTION, error)
    }
}
