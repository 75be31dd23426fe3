//! What the commands that do not call cargo have in common.

use tokio::runtime::Handle;

use super::failure::json_text;
use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::keeper::client::{AccountAccess, Tries, converse};
use crate::keeper::error::keeper;
use crate::keeper::message::{Ask, Event};
use crate::settings::{Project, Settings};
use crate::terminal::Terminal;

/// What a command works with.
pub(crate) struct Context<'a> {
    /// Prints messages, progress and results.
    pub(crate) terminal: &'a Terminal,
    /// Runs the network.
    pub(crate) runtime: &'a Handle,
    /// Cache, state and configuration.
    pub(crate) directories: &'a Directories,
    /// Whether the result is JSON.
    pub(crate) json: bool,
}

impl Context<'_> {
    /// The settings of the user, and of a project.
    pub(super) fn settings(&self, project: Option<Project<'_>>) -> Result<Settings, Error> {
        Settings::load(&self.directories.config_home, project, environment::all())
    }

    /// What the API is called with; `None` without a token.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, Error> {
        Ok(Credentials::of(&self.settings(None)?))
    }

    /// Asks the keeper, or acts with the account itself where there is no keeper.
    /// `taken` gives the result out of the keeper's answer.
    pub(super) fn with_account<T>(
        &self,
        credentials: &Credentials,
        ask: impl Fn() -> Ask,
        taken: impl Fn(Event) -> Option<T>,
        own: impl AsyncFnOnce(&Account) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = Tries::begin();
        // Until the result or the error is printed.
        self.terminal.begin("listing servers and volumes at Hetzner");
        loop {
            let directory = match AccountAccess::find(self.directories, credentials)? {
                AccountAccess::Own(account, _lock) => return self.runtime.block_on(own(&account)),
                AccountAccess::Keeper(directory) => directory,
            };
            match self.runtime.block_on(converse(&directory, ask(), self.terminal)) {
                Ok((Event::Failed(error), _)) => return Err(error),
                Ok((event, _)) => {
                    return taken(event)
                        .ok_or_else(|| keeper("the running keeper is of another version"));
                }
                // Another command may hold the keeper's lock for a moment.
                Err(error) => {
                    let pause = tries.pause(error)?;
                    // A timer needs the runtime around it.
                    self.runtime.block_on(async { tokio::time::sleep(pause).await });
                }
            }
        }
    }

    /// Prints the result on standard output.
    pub(super) fn print(&self, text: &str) -> Result<(), Error> {
        self.terminal.result(text)
    }

    /// Prints the result as JSON on standard output.
    pub(super) fn print_json(&self, value: &serde_json::Value) -> Result<(), Error> {
        self.print(&json_text(value))
    }
}
