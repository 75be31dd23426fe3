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
use burst_sync::wire::{self, Beginning, Link, LinkEnd, Pending, Successor};
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
    /// The number of attempts so far, for all connections.
    attempts: u32,
    dial: Arc<dyn Dial>,
    /// The connection, if it is this process's own.
    current: Option<Arc<CurrentConnection>>,
}

/// A name for a new stream.
pub(crate) fn new_stream_id() -> io::Result<StreamId> {
    let mut bytes = [0; 16];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if filled < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(StreamId::from_bytes(bytes))
}

impl Reconnect {
    /// For a new stream of this name.
    pub(crate) const fn new(
        id: StreamId,
        grace_secs: u32,
        dial: Arc<dyn Dial>,
        current: Option<Arc<CurrentConnection>>,
    ) -> Self {
        Self { id, grace_secs, attempts: 0, dial, current }
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

    async fn reconnect(&mut self, received: u64) -> Result<Link, SyncError> {
        let grace = Duration::from_secs(self.grace_secs.into());
        let began = Instant::now();
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        let mut attempts = 0;
        while let Some(Attempt { pause, deadline }) =
            backoff::next(attempts, began.elapsed(), grace, self.dial.random())
        {
            attempts += 1;
            tokio::time::sleep(pause).await;
            self.attempts = self.attempts.saturating_add(1);
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
        let resume = Control::Resume { id: self.id, received, attempt: self.attempts };
        let resume = wire::control_frame(&resume)?;
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

    fn after(&mut self, end: LinkEnd) -> Pending<'_, Result<Link, SyncError>> {
        Box::pin(async move {
            if self.grace_secs == 0 || !self.may_help() {
                return Err(end.into_error());
            }
            self.dial.broke(Duration::from_secs(self.grace_secs.into()));
            let next = self.reconnect(end.received).await;
            self.dial.over();
            next
        })
    }

    fn opens(&self) -> bool {
        true
    }

    fn answer(&self, received: u64) -> Vec<u8> {
        // Tells the agent that this attempt was not given up. A message of a few bytes is never
        // too long.
        wire::control_frame(&Control::Acknowledge { received }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{DuplexStream, split};

    use super::*;

    /// Each attempt gets one of these ends.
    #[derive(Debug)]
    struct Ends(Mutex<std::vec::IntoIter<DuplexStream>>);

    impl Dial for Ends {
        fn dial(&self) -> Pending<'_, Result<Dialled, DialError>> {
            let end = self.0.lock().unwrap().next().ok_or(DialError::Ended);
            let dialled = end.map(|end| {
                let (read, write) = split(end);
                Dialled::through_keeper(read, write)
            });
            Box::pin(std::future::ready(dialled))
        }

        fn broke(&self, _grace: Duration) {}

        fn over(&self) {}
    }

    /// What the agent reads on an attempt.
    async fn resumes_at(far: &mut DuplexStream) -> (u64, u32) {
        assert!(matches!(wire::read_preface(far).await.unwrap(), Preface::Hello { .. }));
        match wire::read_beginning(far).await.unwrap() {
            Beginning::Control(Control::Resume { received, attempt, .. }) => (received, attempt),
            other => panic!("{other:?}"),
        }
    }

    async fn answers(far: &mut DuplexStream, received: u64) {
        let resumed = wire::control_frame(&Control::Resumed { received }).unwrap();
        let welcome = Preface::answer(*VERSIONS.start(), *VERSIONS.end(), VERSION);
        far.write_all(&[welcome.to_bytes(), resumed].concat()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_numbered_over_all_breaks() {
        let (ends, mut fars): (Vec<_>, Vec<_>) = (0..4).map(|_| tokio::io::duplex(1000)).unzip();
        let dial = Arc::new(Ends(Mutex::new(ends.into_iter())));
        let mut reconnect = Reconnect::new(StreamId::from_bytes([1; 16]), 120, dial, None);
        let mut expected = 1;
        for received in [70, 80] {
            let end = LinkEnd { error: None, is_heard: true, received };
            let agent = async {
                // The first attempt of each break is never answered.
                let (mut silent, mut far) = (fars.remove(0), fars.remove(0));
                for end in [&mut silent, &mut far] {
                    assert_eq!(resumes_at(end).await, (received, expected));
                    expected += 1;
                }
                answers(&mut far, 5).await;
            };
            let (link, ()) = tokio::join!(reconnect.after(end), agent);
            link.unwrap();
        }
        let first = Control::Acknowledge { received: 80 };
        assert_eq!(reconnect.answer(80), wire::control_frame(&first).unwrap());
    }
}
