//! The command's side of the keeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;

use super::directory::{KeeperDirectory, KeeperLock};
use super::message::{self, Ask, Event, Hello};
use super::stream::{connect, lost};
use crate::background::{self, log_file};
use crate::connection::VERSION;
use crate::failure::Failure;
use crate::hetzner::account::{Account, Credentials};
use crate::hetzner::error::{Kind, Trouble};
use crate::hetzner::provision::Progress;
use crate::workspace::state::Directories;

/// The name under which this program is a keeper.
pub const KEEPER: &str = "cargo-burst-keeper";

/// How long an old keeper may take to leave.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);

/// How often is looked whether a keeper has come or gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long is tried to get through to a keeper: it may be ending just now, or a command
/// that needs none may be doing its work for a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a keeper is told of the environment: what HTTPS needs, and nothing that is secret.
const PASSED_ON: [&str; 8] = [
    "PATH",
    "HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// A command's socket to the keeper. While it is open, the command counts.
#[derive(Debug)]
pub struct CommandSession {
    _read: BufReader<OwnedReadHalf>,
    _write: OwnedWriteHalf,
}

/// Whoever can act for an account: a keeper that is there, or we, with its lock.
#[derive(Debug)]
pub enum AccountAccess {
    /// A keeper is there.
    Keeper(KeeperDirectory),
    /// None is: the account is ours as long as we have the lock.
    Own(Arc<Account>, KeeperLock),
}

impl AccountAccess {
    /// Finds out who it is.
    pub fn find(
        directories: &Directories,
        credentials: &Credentials,
        runtime: &Handle,
    ) -> Result<Self, Failure> {
        let directory = KeeperDirectory::open(&directories.state)?;
        match directory.take()? {
            None => Ok(Self::Keeper(directory)),
            Some(lock) => {
                let state = directories.state.join("hetzner");
                let account = Account::new(credentials, &state, runtime.clone());
                Ok(Self::Own(account.map_err(Failure::Server)?, lock))
            }
        }
    }
}

/// Asks the keeper, which is started if there is none; `tell` hears what it does. The
/// last event is returned, with the socket.
pub async fn ask(
    directories: &Directories,
    ask: impl Fn() -> Ask,
    progress: &dyn Progress,
) -> Result<(Event, CommandSession), Failure> {
    let directory = KeeperDirectory::open(&directories.state)?;
    let mut tries = Tries::begin();
    loop {
        start_if_none(&directory, directories)?;
        match converse(&directory, ask(), progress).await {
            Ok((Event::OtherVersion(_), _)) => {
                let (event, _) = converse(&directory, Ask::Leave, progress).await?;
                if let Event::Failed(trouble) = event {
                    return Err(Failure::Server(trouble));
                }
                wait_until_gone(&directory)?;
            }
            Err(failure) => tokio::time::sleep(tries.pause(failure)?).await,
            Ok((Event::Failed(trouble), _)) => return Err(Failure::Server(trouble)),
            other => return other,
        }
    }
}

/// Tries to get through to a keeper.
#[derive(Debug)]
pub struct Tries {
    began: Instant,
    pause: Duration,
}

impl Tries {
    /// The first.
    pub fn begin() -> Self {
        Self { began: Instant::now(), pause: POLL_INTERVAL }
    }

    /// How long to wait after a failure before the next; the failure itself if it is of
    /// another kind or it was tried for long enough.
    pub fn pause(&mut self, failure: Failure) -> Result<Duration, Failure> {
        let is_keepers =
            matches!(&failure, Failure::Server(trouble) if trouble.kind == Kind::Keeper);
        if !is_keepers || self.began.elapsed() > PATIENCE {
            return Err(failure);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(pause)
    }
}

/// Asks a keeper that is there.
pub async fn converse(
    directory: &KeeperDirectory,
    ask: Ask,
    progress: &dyn Progress,
) -> Result<(Event, CommandSession), Failure> {
    let (mut read, mut write) = connect(directory).await?;
    let hello = Hello { version: VERSION.to_owned(), ask };
    message::write(&mut write, &hello).await.map_err(lost)?;
    loop {
        match message::read(&mut read).await.map_err(lost)? {
            Event::Step(text) => progress.step(&text),
            Event::Warning(text) => progress.warn(&text),
            Event::Disk(device) => progress.disk(&device),
            last => return Ok((last, CommandSession { _read: read, _write: write })),
        }
    }
}

fn start_if_none(directory: &KeeperDirectory, directories: &Directories) -> Result<(), Failure> {
    if directory.is_taken()? {
        return Ok(());
    }
    let _starting = directory.lock_start()?;
    if directory.is_taken()? {
        return Ok(());
    }
    let log = directory.log();
    let failed = |words: String| {
        let mut trouble = Trouble::new(Kind::Keeper, "the keeper does not start");
        trouble.messages.push(words);
        trouble.messages.push(format!("its log is `{}`", log.display()));
        Failure::Server(trouble)
    };
    let stderr =
        log_file(&log).map_err(|source| Failure::Directory { path: log.clone(), source })?;
    let mut command = background::program(KEEPER);
    command.arg(&directories.state);
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    match background::start(&mut command, stderr) {
        Ok(Some(line)) if line.trim() == "ready" => Ok(()),
        Ok(_) => Err(failed("it was not ready in time".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn wait_until_gone(directory: &KeeperDirectory) -> Result<(), Failure> {
    let began = Instant::now();
    while directory.is_taken()? {
        if began.elapsed() > LEAVE_DEADLINE {
            let words = "the keeper of another version does not leave";
            return Err(Failure::Server(Trouble::new(Kind::Keeper, words)));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
