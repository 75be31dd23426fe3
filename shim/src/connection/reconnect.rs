//! The next connection of a stream whose connection has broken: the agent is dialled again until
//! it answers, or the grace time is over, after which it has ended the run.
//!
//! How an agent is dialled, and what the user is told, is the business of a [`Dial`], above.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use burst_agent::transport::is_broken;
use burst_protocol::hello::{Preface, VERSIONS};
use burst_protocol::link::{Control, Refusal, StreamId};
use burst_sync::SyncError;
use burst_sync::wire::{self, Beginning, Link, Pending, Successor};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::backoff::{self, Attempt};
use super::current::CurrentConnection;
use super::{Connection, VERSION};

/// A new stream, of which nothing was read or written.
pub(crate) struct Dialled {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    /// The connection, if it is this process's own.
    connection: Option<Connection>,
}

impl Dialled {
    /// A stream by way of the keeper.
    pub(crate) fn through_keeper(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self { read: Box::new(read), write: Box::new(write), connection: None }
    }

    /// A stream on a connection.
    pub(crate) async fn on(connection: Connection) -> Result<Self, DialError> {
        let (read, write) = connection.bytes_of_stream().await.map_err(failed)?;
        Ok(Self { read: Box::new(read), write: Box::new(write), connection: Some(connection) })
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dialled").finish_non_exhaustive()
    }
}

/// Why an agent cannot be dialled.
#[derive(Debug)]
pub(crate) enum DialError {
    /// It is gone for good, and the run with it.
    Ended,
    /// The attempt failed; another one may succeed.
    Failed(io::Error),
}

/// The failure of an attempt.
pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DialError {
    DialError::Failed(io::Error::other(error))
}

/// Dials an agent again, and tells the user.
pub(crate) trait Dial: fmt::Debug + Send + Sync {
    /// One attempt. May be dropped.
    fn dial(&self) -> Pending<'_, Result<Dialled, DialError>>;

    /// The connection has broken; attempts are made for this time.
    fn broke(&self, grace: Duration);

    /// There is another connection, or no hope of one.
    fn over(&self);

    /// A number of 0 to 1 for the pause before the next attempt.
    fn random(&self) -> f64 {
        fastrand::f64()
    }
}

/// Provides the connections of one stream.
#[derive(Debug)]
pub(crate) struct Reconnect {
    id: StreamId,
    grace_secs: u32,
    dial: Arc<dyn Dial>,
    /// The connection, if it is this process's own.
    current: Option<Arc<CurrentConnection>>,
}

impl Reconnect {
    /// For a new stream, with a name of its own.
    pub(crate) fn new(
        grace_secs: u32,
        dial: Arc<dyn Dial>,
        current: Option<Arc<CurrentConnection>>,
    ) -> io::Result<Self> {
        let mut bytes = [0; 16];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
        if filled < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { id: StreamId::from_bytes(bytes), grace_secs, dial, current })
    }

    /// What names the stream for the agent.
    pub(crate) const fn open(&self) -> Control {
        Control::Open { id: self.id, grace_secs: self.grace_secs }
    }

    /// Whether another connection helps: the last one was lost, and neither end has closed it.
    /// Of the keeper's only its end is known.
    fn may_help(&self) -> bool {
        self.current.as_ref().is_none_or(|current| is_broken(current.get().quic()))
    }

    async fn reconnect(&self, received: u64) -> Result<Link, SyncError> {
        let grace = Duration::from_secs(self.grace_secs.into());
        let began = Instant::now();
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        let mut attempts = 0;
        while let Some(Attempt { pause, deadline }) =
            backoff::next(attempts, began.elapsed(), grace, self.dial.random())
        {
            attempts += 1;
            tokio::time::sleep(pause).await;
            let attempt = tokio::time::timeout(deadline, self.attempt(received)).await;
            match attempt.unwrap_or_else(|_| Err(Failure::Attempt(io::ErrorKind::TimedOut.into())))
            {
                Ok(link) => {
                    tracing::info!(attempts, after = ?began.elapsed(), "connected again");
                    return Ok(link);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Attempt(error)) => {
                    tracing::debug!(attempts, "cannot connect again: {error}");
                    last = error;
                }
            }
        }
        Err(SyncError::Unreachable { secs: self.grace_secs, source: last })
    }

    async fn attempt(&self, received: u64) -> Result<Link, Failure> {
        let dialled = self.dial.dial().await.map_err(|error| match error {
            DialError::Ended => Failure::Final(SyncError::Forgotten),
            DialError::Failed(error) => Failure::Attempt(error),
        })?;
        let Dialled { mut read, mut write, connection } = dialled;
        let resume = wire::control_frame(&Control::Resume { id: self.id, received })?;
        let hello = [Preface::hello(VERSION).to_bytes(), resume].concat();
        write.write_all(&hello).await.map_err(Failure::Attempt)?;
        match wire::read_preface(&mut read).await? {
            Preface::Welcome { chosen, .. } if VERSIONS.contains(&chosen) => {}
            // It is shutting down, or is another one.
            _ => return Err(Failure::Final(SyncError::Forgotten)),
        }
        let received = match wire::read_beginning(&mut read).await? {
            Beginning::Control(Control::Resumed { received }) => received,
            Beginning::Control(Control::Refused(Refusal::Unknown)) => {
                return Err(Failure::Final(SyncError::Forgotten));
            }
            Beginning::Control(Control::Refused(Refusal::Expired { after_secs })) => {
                return Err(Failure::Final(SyncError::Expired(after_secs)));
            }
            other => return Err(Failure::Final(SyncError::out_of_turn(&other))),
        };
        let mut link = Link::new(read, write).resuming_at(received);
        if let (Some(current), Some(connection)) = (&self.current, connection) {
            link = link.closed_by(connection.closed());
            current.replace(connection);
        }
        Ok(link)
    }
}

/// Why an attempt has failed.
enum Failure {
    /// Another one may succeed.
    Attempt(io::Error),
    /// No other one helps.
    Final(SyncError),
}

impl From<SyncError> for Failure {
    /// A stream that breaks says nothing about the next one.
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Stream(error) => Self::Attempt(error),
            SyncError::Gone => Self::Attempt(io::ErrorKind::UnexpectedEof.into()),
            error => Self::Final(error),
        }
    }
}

impl Successor for Reconnect {
    fn replacement(&mut self) -> Pending<'_, Link> {
        // Only this end opens connections.
        Box::pin(std::future::pending())
    }

    fn after(
        &mut self,
        broke: Option<io::Error>,
        received: u64,
    ) -> Pending<'_, Result<Link, SyncError>> {
        Box::pin(async move {
            let ended = || broke.map_or(SyncError::Gone, SyncError::Stream);
            if self.grace_secs == 0 || !self.may_help() {
                return Err(ended());
            }
            self.dial.broke(Duration::from_secs(self.grace_secs.into()));
            let next = self.reconnect(received).await;
            self.dial.over();
            next
        })
    }

    fn opens(&self) -> bool {
        true
    }

    fn answer(&self, _received: u64) -> Vec<u8> {
        // Said before the agent's answer.
        Vec::new()
    }
}
