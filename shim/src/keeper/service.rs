//! The keeper's life: it listens, serves commands, reaps, and exits when idle.
//!
//! Its log is its standard error. Every session and every reaping has a span there, with
//! the number of the session, the account's digest and the project's name.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::field::Empty;
use tracing::{Instrument, info_span};

use super::directory::KeeperDirectory;
use super::error::keeper;
use super::session;
use super::state::State;
use crate::background::BoundedLog;
use crate::directories::unusable;
use crate::environment;
use crate::error::Error;

/// The longest sleep between two looks at the wall clock. Timers stand still while the
/// machine is suspended, and an account's clock changes with each response of the API: by
/// this much a reaping is late at most after either.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// How long a keeper without sessions and resources stays.
const IDLE_EXIT: Duration = Duration::from_secs(60);

/// How long a keeper that was asked to end takes to delete idle servers.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(10);

/// The levels of log messages, unless CARGO_BURST_LOG sets others.
const LOG_FILTER: &str = "warn,cargo_burst=info";

/// The whole program; the first argument is the state directory.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let Some(state) = arguments.first().map(PathBuf::from) else { return ExitCode::FAILURE };
    match run(&state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error.one_line());
            ExitCode::FAILURE
        }
    }
}

fn run(state: &Path) -> Result<(), Error> {
    let directory = KeeperDirectory::open(state)?;
    start_log(directory.log());
    // Fails only for the leader of a session, which it is to become.
    rustix::process::setsid().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| keeper("cannot start the keeper's threads").caused_by(&source))?;
    let served = runtime.block_on(serve(&directory, state));
    runtime.shutdown_background();
    served
}

fn start_log(path: PathBuf) {
    let filter = environment::log_filter()
        .and_then(|filter| tracing_subscriber::EnvFilter::try_new(filter.to_string_lossy()).ok())
        .unwrap_or_else(|| LOG_FILTER.into());
    tracing_subscriber::fmt()
        .with_writer(BoundedLog::of_stderr(path))
        .with_ansi(false)
        .with_env_filter(filter)
        .init();
}

/// Serves until nothing is left to do, or a command or signal asks the keeper to exit.
/// Returns at once if another keeper runs.
async fn serve(directory: &KeeperDirectory, state: &Path) -> Result<(), Error> {
    let Some(_lock) = directory.take()? else {
        tracing::info!("another keeper runs, or a command holds its lock");
        return Ok(());
    };
    let state = Arc::new(State::new(state.join("hetzner"), directory.holdings()));
    let (path, _directory) = directory.socket()?;
    // A killed keeper leaves its socket behind.
    drop(std::fs::remove_file(&path));
    let listener =
        UnixListener::bind(&path).map_err(|source| unusable("listen on", &path, &source))?;
    let ended = termination()?;
    tracing::info!(version = crate::connection::VERSION, pid = std::process::id(), "started");
    report_ready();
    let is_asked_to_end = tokio::select! {
        () = accept(&state, &listener) => false,
        () = reap_when_due(&state) => {
            tracing::info!("exiting: nothing is left to do");
            false
        }
        () = state.leave.notified() => {
            tracing::info!("exiting: asked by another version");
            false
        }
        () = ended => true,
    };
    // Commands that connect from now on are refused, and start the next keeper.
    drop(listener);
    drop(std::fs::remove_file(&path));
    if is_asked_to_end {
        tracing::info!("exiting: asked by a signal");
        end_watch(&state).await;
    }
    state.save();
    Ok(())
}

/// Completes at a signal that asks the keeper to exit, as at the end of the user's session, which
/// sends both.
fn termination() -> Result<impl Future<Output = ()>, Error> {
    let handled =
        |kind| signal(kind).map_err(|source| keeper("cannot handle signals").caused_by(&source));
    let (mut terminated, mut hung_up) =
        (handled(SignalKind::terminate())?, handled(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = hung_up.recv() => {}
        }
    })
}

/// Deletes the idle servers of all accounts; the others delete themselves.
async fn end_watch(state: &State) {
    let mut accounts = tokio::task::JoinSet::new();
    for (name, account) in state.accounts() {
        let span = info_span!("account", name = name.as_str());
        accounts.spawn(async move { account.end_watch().await }.instrument(span));
    }
    if tokio::time::timeout(FAREWELL_DEADLINE, accounts.join_all()).await.is_err() {
        tracing::warn!("exiting before all idle servers are deleted");
    }
}

/// Tells the process that started this one that the socket exists.
fn report_ready() {
    let mut stdout = std::io::stdout();
    // The starter may have exited.
    drop(writeln!(stdout, "ready").and_then(|()| stdout.flush()));
}

/// Serves each command in a task of its own. Returns if the socket fails.
async fn accept(state: &Arc<State>, listener: &UnixListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!("exiting: cannot accept connections: {error}");
                return;
            }
        };
        let is_own_user =
            stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
        if !is_own_user {
            tracing::warn!("refused a connection of another user");
            continue;
        }
        let (state, open) = (state.clone(), state.open_session());
        let span = info_span!("session", number = open.number, account = Empty, project = Empty);
        let serving = async move {
            if let Err(error) = session::serve(&state, stream).await {
                tracing::info!("the command disconnected: {error}");
            }
            drop(open);
        };
        tokio::spawn(serving.instrument(span));
    }
}

/// Reaps accounts when they are due. Returns when the keeper has been
/// idle for long enough.
async fn reap_when_due(state: &State) {
    loop {
        let accounts = state.accounts();
        let due = accounts.iter().filter_map(|(_, account)| account.secs_until_reap()).min();
        let sleep = sleep(due, state.idle());
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            // The time of the next reaping may have changed.
            () = state.changed.notified() => {}
        }
        for (name, account) in &accounts {
            let span = info_span!("account", name = name.as_str());
            if account.secs_until_reap().is_some_and(|secs| secs <= 0) {
                let reaped = account.reap().instrument(span.clone()).await;
                span.in_scope(|| match reaped {
                    Ok(report) => tracing::info!(
                        servers = report.servers.len(),
                        volumes = report.volumes.len(),
                        failed = ?report.failed,
                        "reaped"
                    ),
                    Err(error) => tracing::warn!("cannot reap: {}", error.one_line()),
                });
            }
        }
        state.save();
        let is_idle = state.idle().is_some_and(|idle| idle >= IDLE_EXIT);
        if is_idle && !state.accounts().iter().any(|(_, account)| account.needs_keeper()) {
            return;
        }
    }
}

/// How long to sleep: until the next reaping (`due`, in seconds) or the end of the idle time, and
/// never longer than [`SLEEP_MAX`].
fn sleep(due: Option<i64>, idle: Option<Duration>) -> Duration {
    let due = due.map(|secs| Duration::from_secs(u64::try_from(secs).unwrap_or(0)));
    let exit = idle.map(|idle| IDLE_EXIT.saturating_sub(idle)).filter(|left| !left.is_zero());
    [due, exit].into_iter().flatten().fold(SLEEP_MAX, Duration::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sleep_ends_with_the_next_event() {
        let secs = Duration::from_secs;
        assert_eq!(sleep(None, None), SLEEP_MAX);
        assert_eq!(sleep(Some(3600), None), SLEEP_MAX);
        assert_eq!(sleep(Some(3), None), secs(3));
        assert_eq!(sleep(Some(-7), None), Duration::ZERO);
        assert_eq!(sleep(None, Some(IDLE_EXIT - secs(2))), secs(2));
        // Resources keep an idle keeper: it does not spin.
        assert_eq!(sleep(None, Some(IDLE_EXIT + secs(9))), SLEEP_MAX);
    }
}
