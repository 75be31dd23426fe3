//! One command's conversation with the keeper: a request, progress, and an answer.
//!
//! After a server was reached, the session lasts until the command closes its socket, and
//! the server is in use for that time. A command that disconnects earlier cancels its
//! request; resources that were created have our labels and are found again.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tracing::Span;

use super::error::keeper;
use super::message::{self, Ask, Event, Hello, Ready};
use super::state::State;
use crate::connection::VERSION;
use crate::connection::server::ServerConnection;
use crate::error::Error;
use crate::hetzner::account::ReachedServer;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::error::silent;
use crate::hetzner::progress::Progress;
use crate::hetzner::request::ServerRequest;

/// One end of a command's socket.
type Reader = BufReader<OwnedReadHalf>;

/// Serves a command until its request is answered or, for a server, its socket is closed.
/// Fails if the socket fails.
pub(super) async fn serve(state: &State, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let Hello { version, ask } = message::read(&mut read).await?;
    log_request(&version, &ask);
    if version != VERSION && !matches!(ask, Ask::Leave) {
        return answer(&mut write, Event::OtherVersion(VERSION.to_owned())).await;
    }
    match ask {
        Ask::Reach { credentials, request, anew } => {
            let (progress, events) = relay();
            let reached =
                async { state.account(&credentials).await?.reach(&request, anew, &progress).await };
            let reached = async { forward(&mut write, events, reached).await.map(Some) };
            let reached = while_connected(&mut read, reached).await;
            answer_reached(state, reached, &mut read, &mut write).await
        }
        Ask::Rejoin { credentials, request } => {
            let rejoined = async { state.account(&credentials).await?.rejoin(&request).await };
            let rejoined = while_connected(&mut read, rejoined).await;
            answer_reached(state, rejoined, &mut read, &mut write).await
        }
        Ask::Stream { ticket } => carry(state.connection(ticket), read, write).await,
        Ask::Summary => answer(&mut write, Event::Summary(state.summary())).await,
        Ask::Leave if state.sessions() > 1 => {
            let error = keeper(format!("the keeper of version {VERSION} is in use"))
                .with_hint("wait until the commands of that version have ended");
            answer(&mut write, Event::Failed(error)).await
        }
        Ask::Leave => {
            state.leave.notify_one();
            answer(&mut write, Event::Done).await
        }
        Ask::Report { credentials, all } => {
            let reported = async { state.account(&credentials).await?.report(all).await };
            let event = reported.await.map(|report| Event::Reported(Box::new(report)));
            answer(&mut write, event.unwrap_or_else(Event::Failed)).await
        }
        Ask::Losses { credentials, options } => {
            let listed = async { state.account(&credentials).await?.losses(options).await };
            let event = listed.await.map(Event::Losses);
            answer(&mut write, event.unwrap_or_else(Event::Failed)).await
        }
        Ask::Down { credentials, options } => {
            let (progress, events) = relay();
            let reaped =
                async { state.account(&credentials).await?.down(options, &progress).await };
            let event = forward(&mut write, events, reaped).await.map(Event::Reaped);
            state.save();
            answer(&mut write, event.unwrap_or_else(Event::Failed)).await
        }
        Ask::Reap { credentials } => {
            let reaped = async { state.account(&credentials).await?.reap().await };
            let event = reaped.await.map(Event::Reaped);
            // The next command is told of a failure.
            state.save();
            answer(&mut write, event.unwrap_or_else(Event::Failed)).await
        }
        Ask::Watch { credentials } => {
            let event = state.watch(&credentials).await.map(|()| Event::Done);
            answer(&mut write, event.unwrap_or_else(Event::Failed)).await
        }
    }
}

/// Answers a command that wants a server, and keeps the server in use for it. Nothing is answered
/// to one that has disconnected (`None`).
async fn answer_reached(
    state: &State,
    reached: Option<Result<Option<ReachedServer>, Error>>,
    read: &mut Reader,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    match reached {
        None => Ok(()),
        Some(Ok(Some(reached))) => hold(state, reached, read, write).await,
        Some(Ok(None)) => answer(write, Event::NoServer).await,
        Some(Err(error)) => answer(write, Event::Failed(error)).await,
    }
}

/// Logs a request on one line, with account and project in the span of the session.
fn log_request(version: &str, ask: &Ask) {
    let account = |credentials: &Credentials| {
        Span::current().record("account", credentials.account().as_str());
    };
    let project = |request: &ServerRequest| {
        Span::current().record("project", request.project_name.as_str());
    };
    match ask {
        Ask::Reach { credentials, request, anew } => {
            account(credentials);
            project(request);
            tracing::info!(version, anew, "request: reach a server");
        }
        Ask::Rejoin { credentials, request } => {
            account(credentials);
            project(request);
            tracing::info!(version, "request: connect to the server again");
        }
        Ask::Stream { ticket } => tracing::debug!(ticket, "request: open a stream"),
        Ask::Report { credentials, all } => {
            account(credentials);
            tracing::info!(version, all, "request: report");
        }
        Ask::Losses { credentials, .. } => {
            account(credentials);
            tracing::info!(version, "request: what would be deleted");
        }
        Ask::Down { credentials, options } => {
            account(credentials);
            tracing::info!(
                version,
                all = options.all,
                with_volumes = options.with_volumes,
                "request: delete"
            );
        }
        Ask::Reap { credentials } => {
            account(credentials);
            tracing::info!(version, "request: reap");
        }
        Ask::Summary => tracing::debug!(version, "request: what is held"),
        Ask::Watch { credentials } => {
            account(credentials);
            tracing::info!(version, "request: look after the account");
        }
        Ask::Leave => tracing::info!(version, "request: exit"),
    }
}

/// Sends the last event of a request, and logs it on one line.
async fn answer(write: &mut OwnedWriteHalf, event: Event) -> io::Result<()> {
    match &event {
        Event::Failed(error) => tracing::info!("failed: {}", error.one_line()),
        Event::Reaped(reaped) => tracing::info!(
            servers = reaped.servers.len(),
            volumes = reaped.volumes.len(),
            failed = reaped.failed.len(),
            "done"
        ),
        Event::Ready(ready) => tracing::info!(
            address = %ready.address,
            fresh_server = ready.fresh_server,
            fresh_volume = ready.fresh_volume,
            "the server is ready"
        ),
        Event::NoServer => tracing::info!("there is no server any more"),
        Event::OtherVersion(_) => tracing::info!("refused: another version"),
        Event::Opened => tracing::debug!("the stream is open"),
        Event::Step(_)
        | Event::Notice(_)
        | Event::Warning(_)
        | Event::PaysFor(_)
        | Event::Disk(_) => {}
        Event::Reported(_) | Event::Losses(_) | Event::Summary(_) | Event::Done => {
            tracing::info!("done")
        }
    }
    message::write(write, &event).await
}

/// Keeps a server in use until the command closes its socket.
async fn hold(
    state: &State,
    reached: ReachedServer,
    read: &mut Reader,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let offered = state.offer(reached.agent.clone());
    let ready = Ready {
        ticket: offered.ticket,
        address: reached.agent.address(),
        device: reached.device.clone(),
        server: reached.server.clone(),
        age_secs: reached.age_secs,
        fresh_server: reached.fresh_server,
        fresh_volume: reached.fresh_volume,
    };
    answer(write, Event::Ready(ready)).await?;
    // What was created is written down.
    state.changed.notify_one();
    disconnected(read).await;
    tracing::info!("the command has ended");
    drop(offered);
    reached.release();
    Ok(())
}

/// Waits for work; none if the command disconnects first.
async fn while_connected<T>(read: &mut Reader, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = disconnected(read) => {
            tracing::info!("the command disconnected");
            None
        }
    }
}

/// Completes when the command closes its end of the socket.
async fn disconnected(read: &mut Reader) {
    while message::read::<serde_json::Value>(read).await.is_ok() {}
}

/// Sends progress events to the command while `work` is under way, and those that are left
/// before it returns.
async fn forward<T>(
    write: &mut OwnedWriteHalf,
    mut events: mpsc::UnboundedReceiver<Event>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    // A command that does not read its progress fails when it reads the answer.
    loop {
        tokio::select! {
            done = &mut work => {
                while let Ok(event) = events.try_recv() {
                    drop(message::write(write, &event).await);
                }
                return done;
            }
            Some(event) = events.recv() => drop(message::write(write, &event).await),
        }
    }
}

/// Turns progress into events.
struct Relay(mpsc::UnboundedSender<Event>);

fn relay() -> (Relay, mpsc::UnboundedReceiver<Event>) {
    let (send, receive) = mpsc::unbounded_channel();
    (Relay(send), receive)
}

impl Relay {
    fn send(&self, event: Event) {
        // The receiver outlives the work that reports.
        drop(self.0.send(event));
    }
}

impl Progress for Relay {
    fn step(&self, text: &str) {
        tracing::debug!("step: {text}");
        self.send(Event::Step(text.to_owned()));
    }

    fn say(&self, text: &str) {
        tracing::info!("{text}");
        self.send(Event::Notice(text.to_owned()));
    }

    fn warn(&self, text: &str) {
        tracing::warn!("{text}");
        self.send(Event::Warning(text.to_owned()));
    }

    fn pays_for(&self, text: &str) {
        self.send(Event::PaysFor(text.to_owned()));
    }

    fn disk(&self, device: &str) {
        self.send(Event::Disk(device.to_owned()));
    }
}

/// Carries a stream between a command and the agent, byte for byte, until both directions
/// have ended.
async fn carry(
    connection: Option<Arc<ServerConnection>>,
    mut read: Reader,
    mut write: OwnedWriteHalf,
) -> io::Result<()> {
    let opened: Result<_, Error> = match &connection {
        Some(connection) => connection
            .open_stream()
            .await
            .map_err(|error| silent("the connection to the server was lost").caused_by(&error)),
        None => Err(keeper("the keeper does not know this command's server")),
    };
    let (mut receive, mut send) = match opened {
        Ok(stream) => stream,
        Err(error) => return answer(&mut write, Event::Failed(error)).await,
    };
    answer(&mut write, Event::Opened).await?;
    let upwards = async {
        let copied = tokio::io::copy_buf(&mut read, &mut send).await;
        // Finished already if the agent has stopped reading.
        drop(send.shutdown().await);
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
