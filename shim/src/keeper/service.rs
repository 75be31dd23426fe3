//! The keeper's life: its socket, its accounts, its sweeps, its end.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use super::directory::KeeperDirectory;
use super::error::keeper;
use super::message::{self, Ask, Event, Hello, Ready};
use crate::connection::{Connection, VERSION};
use crate::directories::unusable;
use crate::error::Error;
use crate::hetzner::account::{Account, ReachedServer};
use crate::hetzner::credentials::{AccountName, Credentials};
use crate::hetzner::error::silent;
use crate::hetzner::progress::Progress;

/// How often is looked whether a lease has run out. The clock that is asked is the wall
/// clock, so a machine that was asleep sees at once what is over.
const TICK: Duration = Duration::from_millis(500);

/// How often an agent with a last will is told that somebody is there.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// How long a keeper stays that has nothing to look after.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Service {
    state: PathBuf,
    runtime: Handle,
    accounts: Mutex<BTreeMap<AccountName, Arc<Account>>>,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    last_ticket: AtomicU64,
    talks: Mutex<(usize, Instant)>,
    leaving: Notify,
}

/// The whole program; the first argument is the state directory.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CARGO_BURST_LOG")
                .unwrap_or_else(|_| "warn,cargo_burst=info".into()),
        )
        .init();
    let Some(state) = arguments.first().map(PathBuf::from) else { return ExitCode::FAILURE };
    // Already the leader of a session: as good.
    rustix::process::setsid().ok();
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| keeper("cannot start the keeper's threads").caused_by(&source))
        .and_then(|runtime| {
            let served = runtime.block_on(serve(&state, runtime.handle().clone()));
            runtime.shutdown_background();
            served
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", failure.one_line());
            ExitCode::FAILURE
        }
    }
}

async fn serve(state: &Path, runtime: Handle) -> Result<(), Error> {
    let directory = KeeperDirectory::open(state)?;
    let Some(_lock) = directory.take()? else { return Ok(()) };
    let (path, _directory) = directory.socket()?;
    // Of a keeper that was killed.
    drop(std::fs::remove_file(&path));
    let listener =
        UnixListener::bind(&path).map_err(|source| unusable("listen on", &path, &source))?;
    let service = Arc::new(Service {
        state: state.join("hetzner"),
        runtime,
        accounts: Mutex::default(),
        connections: Mutex::default(),
        last_ticket: AtomicU64::new(0),
        talks: Mutex::new((0, Instant::now())),
        leaving: Notify::new(),
    });
    announce();
    tokio::select! {
        () = accept(&service, &listener) => {}
        () = keep(&service) => tracing::info!("nothing to look after: ending"),
        () = service.leaving.notified() => tracing::info!("asked to leave"),
        () = terminated() => tracing::info!("asked by a signal: ending"),
    }
    // Whoever connects from now on is refused, and starts the next keeper.
    drop(listener);
    drop(std::fs::remove_file(&path));
    Ok(())
}

/// Tells whoever started us that the socket is there.
fn announce() {
    let mut stdout = std::io::stdout();
    // Nobody may be reading any more.
    drop(writeln!(stdout, "ready").and_then(|()| stdout.flush()));
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    term.recv().await;
}

async fn accept(service: &Arc<Service>, listener: &UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let is_ours =
            stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
        if is_ours {
            let talking = Talking::begin(service);
            tokio::spawn(async move {
                if let Err(error) = talking.0.converse(stream).await {
                    tracing::debug!("a command is gone: {error}");
                }
            });
        }
    }
}

/// Sweeps what is due; returns when there is nothing left to look after.
async fn keep(service: &Arc<Service>) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let renews = renewed.elapsed() > RENEW_EVERY;
        if renews {
            renewed = Instant::now();
        }
        let accounts: Vec<Arc<Account>> = lock(&service.accounts).values().cloned().collect();
        for account in &accounts {
            if renews {
                account.renew_lease().await;
            }
            if account.is_sweep_due() {
                match account.sweep().await {
                    Ok(reaped) => tracing::info!("reaped: {reaped:?}"),
                    Err(error) => tracing::warn!("cannot reap: {}", error.one_line()),
                }
            }
        }
        let (talks, since) = *lock(&service.talks);
        let idle = talks == 0 && since.elapsed() > IDLE;
        if idle && !accounts.iter().any(|account| account.holds_anything()) {
            return;
        }
    }
}

/// A command that is being served.
struct Talking(Arc<Service>);

impl Talking {
    fn begin(service: &Arc<Service>) -> Self {
        lock(&service.talks).0 += 1;
        Self(service.clone())
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let mut talks = lock(&self.0.talks);
        *talks = (talks.0 - 1, Instant::now());
    }
}

impl Service {
    async fn converse(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let Hello { version, ask } = message::read(&mut read).await?;
        if version != VERSION && !matches!(ask, Ask::Leave) {
            return message::write(&mut write, &Event::OtherVersion(VERSION.to_owned())).await;
        }
        match ask {
            Ask::Reach { credentials, request, anew } => {
                let account = match self.account(&credentials) {
                    Ok(account) => account,
                    Err(error) => return failed(&mut write, error).await,
                };
                let (teller, told) = teller();
                let reached = account.reach(&request, anew, &teller);
                let reached = {
                    let mut gone = std::pin::pin!(gone(&mut read));
                    tokio::select! {
                        reached = told_meanwhile(&mut write, told, reached) => Some(reached),
                        () = &mut gone => None,
                    }
                };
                match reached {
                    // The command is gone: what was begun bears our labels.
                    None => Ok(()),
                    Some(Err(error)) => failed(&mut write, error).await,
                    Some(Ok(reached)) => self.hold(reached, &mut read, &mut write).await,
                }
            }
            Ask::Stream { ticket } => {
                let connection = lock(&self.connections).get(&ticket).cloned();
                carry(connection, read, write).await
            }
            Ask::Leave if lock(&self.talks).0 > 1 => {
                let words = format!("commands of another version ({VERSION}) are still running");
                failed(&mut write, keeper(words)).await
            }
            Ask::Leave => {
                self.leaving.notify_one();
                message::write(&mut write, &Event::Done).await
            }
            other => self.answer(other, &mut write).await,
        }
    }

    /// Questions with one answer.
    async fn answer(&self, ask: Ask, write: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let (teller, told) = teller();
        let answered = async {
            match ask {
                Ask::Report { credentials, all } => {
                    let report = self.account(&credentials)?.report(all).await?;
                    Ok(Event::Reported(Box::new(report)))
                }
                Ask::Down { credentials, options } => {
                    let account = self.account(&credentials)?;
                    account.down(options, &teller).await.map(Event::Reaped)
                }
                Ask::Reap { credentials } => {
                    self.account(&credentials)?.sweep().await.map(Event::Reaped)
                }
                _ => Err(keeper("the keeper does not know this request")),
            }
        };
        match told_meanwhile(write, told, answered).await {
            Ok(event) => message::write(write, &event).await,
            Err(error) => failed(write, error).await,
        }
    }

    fn account(&self, credentials: &Credentials) -> Result<Arc<Account>, Error> {
        let mut accounts = lock(&self.accounts);
        if let Some(account) = accounts.get(&credentials.account()) {
            return Ok(account.clone());
        }
        let account = Account::new(credentials, &self.state, self.runtime.clone())?;
        accounts.insert(credentials.account(), account.clone());
        Ok(account)
    }

    /// The command uses the server until its socket is closed.
    async fn hold(
        &self,
        reached: ReachedServer,
        read: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let ticket = self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.connections).insert(ticket, reached.connection.clone());
        let ready = Ready {
            ticket,
            address: reached.connection.address(),
            device: reached.device.clone(),
            server: reached.server.clone(),
            age_secs: reached.age_secs,
            fresh_server: reached.fresh_server,
            fresh_volume: reached.fresh_volume,
        };
        let written = message::write(write, &Event::Ready(ready)).await;
        if written.is_ok() {
            gone(read).await;
        }
        lock(&self.connections).remove(&ticket);
        written
    }
}

/// Returns when the other end of a socket is closed.
async fn gone(read: &mut BufReader<OwnedReadHalf>) {
    while message::read::<serde_json::Value>(read).await.is_ok() {}
}

async fn failed(write: &mut OwnedWriteHalf, error: Error) -> std::io::Result<()> {
    message::write(write, &Event::Failed(error)).await
}

/// Passes on what is told while something is under way.
async fn told_meanwhile<T>(
    write: &mut OwnedWriteHalf,
    mut told: mpsc::UnboundedReceiver<Event>,
    under_way: impl Future<Output = T>,
) -> T {
    let mut under_way = std::pin::pin!(under_way);
    loop {
        tokio::select! {
            done = &mut under_way => {
                // What was told last comes before the end.
                while let Ok(event) = told.try_recv() {
                    drop(message::write(write, &event).await);
                }
                return done;
            }
            Some(event) = told.recv() => drop(message::write(write, &event).await),
        }
    }
}

struct Teller(mpsc::UnboundedSender<Event>);

fn teller() -> (Teller, mpsc::UnboundedReceiver<Event>) {
    let (send, receive) = mpsc::unbounded_channel();
    (Teller(send), receive)
}

impl Progress for Teller {
    fn step(&self, text: &str) {
        // A command that is gone is not told.
        drop(self.0.send(Event::Step(text.to_owned())));
    }

    fn warn(&self, text: &str) {
        drop(self.0.send(Event::Warning(text.to_owned())));
    }

    fn disk(&self, device: &str) {
        drop(self.0.send(Event::Disk(device.to_owned())));
    }
}

/// Carries a stream between a command and the agent, byte for byte.
async fn carry(
    connection: Option<Arc<Connection>>,
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
) -> std::io::Result<()> {
    let opened = match &connection {
        Some(connection) => connection.quic().open_bi().await.ok(),
        None => None,
    };
    let Some((mut send, mut receive)) = opened else {
        let error = silent("the connection to the server is lost");
        return failed(&mut write, error).await;
    };
    message::write(&mut write, &Event::Opened).await?;
    let upwards = async {
        let copied = tokio::io::copy_buf(&mut read, &mut send).await;
        // The end of the command's words is the end of the stream's.
        drop(send.finish());
        copied
    };
    let downwards = async {
        let copied = tokio::io::copy(&mut receive, &mut write).await;
        drop(write.shutdown().await);
        copied
    };
    let (up, down) = tokio::join!(upwards, downwards);
    up.and(down).map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
