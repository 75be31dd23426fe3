//! The command's side of the keeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;

use super::directory::{KeeperDirectory, KeeperLock};
use super::error::{keeper, lost};
use super::message::{self, Ask, Event, Hello};
use super::stream::connect;
use crate::background::{self, log_file};
use crate::connection::VERSION;
use crate::directories::{Directories, unusable};
use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::hetzner::account::Account;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::progress::Progress;

/// The name under which this program is a keeper.
pub(crate) const KEEPER: &str = "cargo-burst-keeper";

/// How long an old keeper may take to leave.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);

/// How often is looked whether a keeper has come or gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long is tried to get through to a keeper: it may be ending just now, or a command
/// that needs none may be doing its work for a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A command's socket to the keeper. While it is open, the command counts.
#[derive(Debug)]
pub(crate) struct CommandSession {
    _read: BufReader<OwnedReadHalf>,
    _write: OwnedWriteHalf,
}

/// Whoever can act for an account: a keeper that is there, or we, with its lock.
#[derive(Debug)]
pub(crate) enum AccountAccess {
    /// A keeper is there.
    Keeper(KeeperDirectory),
    /// None is: the account is ours as long as we have the lock.
    Own(Arc<Account>, KeeperLock),
}

impl AccountAccess {
    /// Finds out who it is.
    pub(crate) fn find(
        directories: &Directories,
        credentials: &Credentials,
        runtime: &Handle,
    ) -> Result<Self, Error> {
        let directory = KeeperDirectory::open(&directories.state)?;
        match directory.take()? {
            None => Ok(Self::Keeper(directory)),
            Some(lock) => {
                let account = Account::new(credentials, &directories.hetzner(), runtime.clone());
                Ok(Self::Own(account?, lock))
            }
        }
    }
}

/// Asks the keeper, which is started if there is none; `tell` hears what it does. The
/// last event is returned, with the socket.
pub(crate) async fn ask(
    directories: &Directories,
    ask: impl Fn() -> Ask,
    progress: &dyn Progress,
) -> Result<(Event, CommandSession), Error> {
    let directory = KeeperDirectory::open(&directories.state)?;
    let mut tries = Tries::begin();
    loop {
        start_if_none(&directory, directories)?;
        match converse(&directory, ask(), progress).await {
            Ok((Event::OtherVersion(_), _)) => {
                let (event, _) = converse(&directory, Ask::Leave, progress).await?;
                if let Event::Failed(error) = event {
                    return Err(error);
                }
                wait_until_gone(&directory)?;
            }
            Err(failure) => tokio::time::sleep(tries.pause(failure)?).await,
            Ok((Event::Failed(error), _)) => return Err(error),
            other => return other,
        }
    }
}

/// Tries to get through to a keeper.
#[derive(Debug)]
pub(crate) struct Tries {
    began: Instant,
    pause: Duration,
}

impl Tries {
    /// The first.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), pause: POLL_INTERVAL }
    }

    /// How long to wait after a failure before the next; the failure itself if it is of
    /// another kind or it was tried for long enough.
    pub(crate) fn pause(&mut self, failure: Error) -> Result<Duration, Error> {
        let is_keepers = failure.kind() == ErrorKind::Keeper;
        if !is_keepers || self.began.elapsed() > PATIENCE {
            return Err(failure);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(pause)
    }
}

/// Asks a keeper that is there.
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
            Event::Warning(text) => progress.warn(&text),
            Event::Disk(device) => progress.disk(&device),
            last => return Ok((last, CommandSession { _read: read, _write: write })),
        }
    }
}

fn start_if_none(directory: &KeeperDirectory, directories: &Directories) -> Result<(), Error> {
    if directory.is_taken()? {
        return Ok(());
    }
    let _starting = directory.lock_start()?;
    if directory.is_taken()? {
        return Ok(());
    }
    let log = directory.log();
    let failed = |words: String| {
        keeper("the keeper does not start")
            .cause(words)
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
        Ok(_) => Err(failed("it was not ready in time".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn wait_until_gone(directory: &KeeperDirectory) -> Result<(), Error> {
    let began = Instant::now();
    while directory.is_taken()? {
        if began.elapsed() > LEAVE_DEADLINE {
            return Err(keeper("the keeper of another version does not exit"));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
