//! What the commands that do not call cargo have in common.

use burst_sync::clock::Moment;
use tokio::runtime::Handle;

use super::failure::json_text;
use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::keeper::client::{self, AccountAccess, Tries, converse};
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::error::keeper;
use crate::keeper::holdings::Holdings;
use crate::keeper::message::{Ask, Event};
use crate::settings::{Project, Settings};
use crate::terminal::Terminal;

/// Says what the keeper could not do so far, and what no keeper looks after although this command
/// has not its token, by what keepers have written down.
pub(crate) fn warn_of_trouble(terminal: &Terminal, directories: &Directories) {
    let holdings = Holdings::read(&KeeperDirectory::below(&directories.state).holdings());
    if holdings.is_empty() {
        return;
    }
    let keeper = KeeperDirectory::running(&directories.state).ok().flatten();
    // Settings that are wrong are the command's own error.
    let settings = Settings::load(&directories.config_home, None, environment::all()).ok();
    let own = settings.as_ref().and_then(Credentials::of).map(|own| own.account());
    for warning in holdings.warnings(keeper, own.as_ref(), Moment::now().seconds) {
        terminal.warn(&warning);
    }
}

/// The warning that an account has no keeper.
pub(super) fn no_keeper(error: &Error) -> String {
    format!("no keeper looks after what exists at Hetzner: {}", error.one_line())
}

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
    /// Has a keeper look after the account of the settings, if that is known to have something and
    /// none does, and says what keepers could not do so far. The API is not asked.
    pub(crate) fn look_after(&self) {
        // Settings that are wrong are the command's own error.
        if let Ok(Some(credentials)) = self.credentials()
            && self.is_left_behind(&credentials)
        {
            let watched = client::watch(self.directories, &credentials, self.terminal);
            if let Err(error) = self.runtime.block_on(watched) {
                self.terminal.warn(&no_keeper(&error));
            }
        }
        warn_of_trouble(self.terminal, self.directories);
    }

    fn is_left_behind(&self, credentials: &Credentials) -> bool {
        let state = &self.directories.state;
        let holdings = Holdings::read(&KeeperDirectory::below(state).holdings());
        let keeper = KeeperDirectory::running(state).ok().flatten();
        holdings.is_left_behind(&credentials.account(), keeper)
    }

    /// The settings of the user, and of a project.
    pub(super) fn settings(&self, project: Option<Project<'_>>) -> Result<Settings, Error> {
        Settings::load(&self.directories.config_home, project, environment::all())
    }

    /// What the API is called with; `None` without a token.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, Error> {
        Ok(Credentials::of(&self.settings(None)?))
    }

    /// Asks the keeper, or acts with the account itself where there is no keeper, and starts one if
    /// something of ours exists then. `taken` gives the result out of the keeper's answer.
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
                AccountAccess::Own(account, lock) => {
                    let done = self.runtime.block_on(own(&account));
                    let access = (&*account, lock);
                    let handed =
                        client::hand_over(self.directories, credentials, access, self.terminal);
                    if let Err(error) = self.runtime.block_on(handed) {
                        self.terminal.warn(&no_keeper(&error));
                    }
                    return done;
                }
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
