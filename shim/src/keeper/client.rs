//! The command's side of the keeper: it starts a keeper if none runs, sends it one request
//! and waits for the answer. A command that works without one leaves to one what exists then.
//!
//! Invariant: no command fails only because a keeper is just exiting or starting, or
//! because another command holds the keeper's lock for a moment: it retries for a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::directory::{KeeperDirectory, KeeperLock};
use super::error::{keeper, lost};
use super::holdings::Holdings;
use super::message::{self, Ask, Event, Hello};
use super::stream::connect;
use crate::background::{self, log_file};
use crate::connection::VERSION;
use crate::directories::{Directories, unusable};
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::holding::Holding;
use crate::hetzner::progress::Progress;

/// The name under which this program is a keeper.
pub(crate) const KEEPER: &str = "cargo-burst-keeper";

/// How long a keeper of another version may take to exit.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);

/// How long a command retries to get through to a keeper.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);

/// The first pause between two attempts. It doubles with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A command's socket to the keeper. The server that was reached stays in use until this is
/// dropped.
#[derive(Debug)]
pub(crate) struct CommandSession {
    _read: BufReader<OwnedReadHalf>,
    _write: OwnedWriteHalf,
}

/// The process that acts for an account.
#[derive(Debug)]
pub(crate) enum AccountAccess {
    /// The keeper that runs.
    Keeper(KeeperDirectory),
    /// This process, as long as it holds the keeper's lock: no keeper runs.
    Own(Arc<Account>, KeeperLock),
}

impl AccountAccess {
    /// Takes the keeper's lock, unless a keeper runs.
    pub(crate) fn find(
        directories: &Directories,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        let directory = KeeperDirectory::open(&directories.state)?;
        let Some(lock) = directory.take()? else { return Ok(Self::Keeper(directory)) };
        let account = Account::new(credentials, &directories.hetzner())?;
        if let Some((_, holding)) =
            Holdings::read(&directory.holdings()).entry(&credentials.account())
        {
            account.remember(holding.clone());
        }
        Ok(Self::Own(account, lock))
    }
}

/// Ends the work of a process that acts for an account itself: writes down what the account has,
/// and leaves that to a keeper. Fails if something is left and no keeper starts.
pub(crate) async fn hand_over(
    directories: &Directories,
    credentials: &Credentials,
    (account, lock): (&Account, KeeperLock),
    progress: &dyn Progress,
) -> Result<(), Error> {
    let path = KeeperDirectory::open(&directories.state)?.holdings();
    let before = Holdings::read(&path);
    let mut after = before.clone();
    let own = credentials.account();
    let earlier = before.entry(&own);
    let name = earlier.map_or(own, |(name, _)| name.clone());
    let aliases = earlier.map(|(_, holding)| holding.aliases.clone()).unwrap_or_default();
    after.set(&name, account.holding().map(|holding| Holding { aliases, ..holding }));
    after.remove_superseded(&[&name], |_, holding| account.has_seen(holding));
    if after != before {
        after.write(&path);
    }
    drop(lock);
    if account.needs_keeper() { watch(directories, credentials, progress).await } else { Ok(()) }
}

/// Has a keeper look after an account.
pub(crate) async fn watch(
    directories: &Directories,
    credentials: &Credentials,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let watch = || Ask::Watch { credentials: credentials.clone() };
    ask(directories, watch, progress).await.map(drop)
}

/// Sends a request to the keeper, which is started if none runs, and reports its progress.
/// Returns the answer, and the socket.
pub(crate) async fn ask(
    directories: &Directories,
    ask: impl Fn() -> Ask,
    progress: &dyn Progress,
) -> Result<(Event, CommandSession), Error> {
    let directory = KeeperDirectory::open(&directories.state)?;
    let mut tries = Tries::begin();
    loop {
        start_if_none(&directory, directories).await?;
        match converse(&directory, ask(), progress).await {
            Ok((Event::OtherVersion(version), _)) => {
                progress.step(&format!("replacing the keeper of version {version}"));
                let (event, _) = converse(&directory, Ask::Leave, progress).await?;
                if let Event::Failed(error) = event {
                    return Err(error);
                }
                wait_until_exited(&directory).await?;
            }
            Err(error) => tokio::time::sleep(tries.pause(error)?).await,
            Ok((Event::Failed(error), _)) => return Err(error),
            other => return other,
        }
    }
}

/// Attempts to get through to a keeper, with growing pauses. They are retries of a socket
/// whose other end may just be exiting, which is no event to wait for.
#[derive(Debug)]
pub(crate) struct Tries {
    began: Instant,
    pause: Duration,
}

impl Tries {
    /// Before the first attempt.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), pause: PAUSE_MIN }
    }

    /// How long to wait after a failure before the next attempt. Returns the failure itself
    /// if another attempt cannot help, or after a minute of attempts.
    pub(crate) fn pause(&mut self, failure: Error) -> Result<Duration, Error> {
        if failure.kind() != ErrorKind::Keeper || self.began.elapsed() > RETRY_DEADLINE {
            return Err(failure);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(pause)
    }
}

/// Sends a request to a keeper that runs, and reports its progress. Returns the answer, and
/// the socket.
pub(crate) async fn converse(
    directory: &KeeperDirectory,
    ask: Ask,
    progress: &dyn Progress,
) -> Result<(Event, CommandSession), Error> {
    let (mut read, mut write) = connect(directory).await?;
    let hello = Hello { version: VERSION.to_owned(), ask };
    message::write(&mut write, &hello).await.map_err(|error| lost(&error))?;
    loop {
        match message::read(&mut read).await.map_err(|error| lost(&error))? {
            Event::Step(text) => progress.step(&text),
            Event::Notice(text) => progress.say(&text),
            Event::Warning(text) => progress.warn(&text),
            Event::PaysFor(text) => progress.pays_for(&text),
            Event::Disk(device) => progress.disk(&device),
            last => return Ok((last, CommandSession { _read: read, _write: write })),
        }
    }
}

async fn start_if_none(
    directory: &KeeperDirectory,
    directories: &Directories,
) -> Result<(), Error> {
    if directory.is_taken()? {
        return Ok(());
    }
    let (directory, directories) = (directory.clone(), directories.clone());
    blocking(move || start(&directory, &directories)).await
}

/// Starts a keeper, unless another command does so meanwhile. Blocks for up to 20 seconds.
fn start(directory: &KeeperDirectory, directories: &Directories) -> Result<(), Error> {
    let _starting = directory.lock_start()?;
    if directory.is_taken()? {
        return Ok(());
    }
    let log = directory.log();
    let failed = |cause: String| {
        keeper("the keeper does not start")
            .cause(cause)
            .cause(format!("its log is `{}`", log.display()))
    };
    let stderr = log_file(&log).map_err(|source| unusable("open", &log, &source))?;
    let mut command = background::program(KEEPER);
    command.arg(&directories.state);
    for name in ["PATH", "HOME"].into_iter().chain(environment::HTTPS) {
        if let Some(value) = environment::variable(name) {
            command.env(name, value);
        }
    }
    match background::start(&mut command, stderr) {
        Ok(Some(line)) if line.trim() == "ready" => Ok(()),
        Ok(_) => Err(failed("it was not ready in time, or exited".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn wait_until_exited(directory: &KeeperDirectory) -> Result<(), Error> {
    let directory = directory.clone();
    blocking(move || match directory.wait_until_free(LEAVE_DEADLINE)? {
        true => Ok(()),
        false => Err(keeper("the keeper of another version does not exit")),
    })
    .await
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(keeper("the keeper cannot be started").caused_by(&error)))
}
