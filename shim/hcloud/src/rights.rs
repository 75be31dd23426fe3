//! What a token permits, found out without a change to any resource.

use crate::client::Client;
use crate::error::{Code, Error};
use crate::id::Id;
use crate::label::Labels;

impl Client {
    /// Checks that the token may write, by a change of a server that does not exist: a token that
    /// may write gets "not found", any other one the refusal that this returns.
    pub async fn check_write(&self) -> Result<(), Error> {
        match self.label_server(Id(0), &Labels::new()).await {
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::InvalidInput)) => {
                Ok(())
            }
            done => done,
        }
    }
}
