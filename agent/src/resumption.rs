//! Streams whose connection has broken, and the connections on which they go on.
//!
//! A stream that its client has named is registered until it ends. A client that opens another
//! stream with that name hands its connection over to the task of the stream, which leaves the
//! old one, whether it seems alive or not: only the client knows. Every connection is of the
//! one client whose certificate is pinned, and the name is random.
//!
//! Whether a break may be survived is told by how the connection ended: a client that closes
//! its connection or its stream is gone at once. After a break the stream waits for the grace
//! time of its client.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burst_protocol::limit::GRACE_SECS_MAX;
use burst_protocol::link::{Control, Refusal, StreamId};
use burst_sync::SyncError;
use burst_sync::wire::{Link, Pending, Successor, control_frame};
use tokio::sync::{mpsc, watch};

use crate::lock::lock;
use crate::transport::is_broken;

/// Streams that can be registered. A client has one for each of its runs.
const STREAMS_MAX: usize = 1024;

/// Names of streams that have waited in vain, for the error of a client that comes later.
const EXPIRED_MAX: usize = 1024;

/// A connection on which a stream goes on.
type HandedOver = (Link, quinn::Connection);

/// All streams that can be resumed.
#[derive(Debug)]
pub(crate) struct Resumptions {
    streams: Mutex<Streams>,
    /// Whether no stream is waited for any more.
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<StreamId, mpsc::Sender<HandedOver>>,
    expired: VecDeque<(StreamId, u32)>,
}

impl Default for Resumptions {
    fn default() -> Self {
        Self { streams: Mutex::default(), ending: watch::channel(false).0 }
    }
}

/// The next connections of one stream; it is registered until this is dropped.
#[derive(Debug)]
pub(crate) struct NextConnections {
    resumptions: Arc<Resumptions>,
    id: StreamId,
    handed_over: mpsc::Receiver<HandedOver>,
    connection: quinn::Connection,
    grace_secs: u32,
    ending: watch::Receiver<bool>,
}

impl Resumptions {
    /// Registers a stream on this connection. Fails if its name is taken, or there are too
    /// many.
    pub(crate) fn open(
        self: &Arc<Self>,
        id: StreamId,
        grace_secs: u32,
        connection: quinn::Connection,
    ) -> Result<NextConnections, SyncError> {
        let (hand_over, handed_over) = mpsc::channel(1);
        let mut streams = lock(&self.streams);
        if streams.open.len() >= STREAMS_MAX {
            return Err(SyncError::violation("it has too many streams"));
        }
        if streams.open.contains_key(&id) {
            return Err(SyncError::violation("it has two streams of one name"));
        }
        streams.open.insert(id, hand_over);
        Ok(NextConnections {
            resumptions: self.clone(),
            id,
            handed_over,
            connection,
            grace_secs: grace_secs.min(GRACE_SECS_MAX),
            ending: self.ending.subscribe(),
        })
    }

    /// Where to hand over the next connection of a stream.
    pub(crate) fn find(&self, id: StreamId) -> Result<mpsc::Sender<HandedOver>, Refusal> {
        let streams = lock(&self.streams);
        if let Some(hand_over) = streams.open.get(&id) {
            return Ok(hand_over.clone());
        }
        let expired = streams.expired.iter().find(|(expired, _)| *expired == id);
        Err(expired.map_or(Refusal::Unknown, |(_, after)| Refusal::Expired { after_secs: *after }))
    }

    /// Waits for no client any more.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }
}

impl NextConnections {
    /// Waits for the next connection until the grace time is over, or the agent ends.
    async fn wait(&mut self) -> Result<Link, SyncError> {
        let grace = Duration::from_secs(self.grace_secs.into());
        let expired = SyncError::Expired(self.grace_secs);
        let next = tokio::select! {
            biased;
            next = tokio::time::timeout(grace, self.handed_over.recv()) => next,
            _ = self.ending.wait_for(|ending| *ending) => return Err(SyncError::Gone),
        };
        match next {
            Ok(Some((link, connection))) => {
                tracing::info!("the client has come back from {}", connection.remote_address());
                self.connection = connection;
                Ok(link)
            }
            Ok(None) => Err(SyncError::Gone),
            Err(_) => {
                tracing::info!("the client did not come back within {} s", self.grace_secs);
                let mut streams = lock(&self.resumptions.streams);
                streams.expired.truncate(EXPIRED_MAX - 1);
                streams.expired.push_front((self.id, self.grace_secs));
                Err(expired)
            }
        }
    }
}

impl Successor for NextConnections {
    fn replacement(&mut self) -> Pending<'_, Link> {
        Box::pin(async {
            match self.handed_over.recv().await {
                Some((link, connection)) => {
                    self.connection = connection;
                    link
                }
                // The registry keeps its end as long as this one lives.
                None => std::future::pending().await,
            }
        })
    }

    fn after(
        &mut self,
        broke: Option<io::Error>,
        _received: u64,
    ) -> Pending<'_, Result<Link, SyncError>> {
        Box::pin(async move {
            if !is_broken(&self.connection) {
                return Err(broke.map_or(SyncError::Gone, SyncError::Stream));
            }
            tracing::info!("the connection of a client broke; waiting for {} s", self.grace_secs);
            self.wait().await
        })
    }

    fn opens(&self) -> bool {
        false
    }

    fn answer(&self, received: u64) -> Vec<u8> {
        // A message of a few bytes is never too long.
        control_frame(&Control::Resumed { received }).unwrap_or_default()
    }
}

impl Drop for NextConnections {
    fn drop(&mut self) {
        lock(&self.resumptions.streams).open.remove(&self.id);
    }
}
