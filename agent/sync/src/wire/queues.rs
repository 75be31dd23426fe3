//! The two queues of a stream, for blocking code.

use std::sync::Arc;
use std::time::Duration;

use burst_protocol::codec;
use burst_protocol::hello::Preface;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::counters::{Counters, Traffic};
use super::frame::{Frame, Item, message_of};
use crate::error::SyncError;

/// The queue of frames to send. Its methods block while the queue is full and fail with
/// [`SyncError::Gone`] after the stream has ended.
#[derive(Clone, Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Item>,
    traffic: Arc<Traffic>,
}

impl Outgoing {
    pub(super) const fn new(queue: mpsc::Sender<Item>, traffic: Arc<Traffic>) -> Self {
        Self { queue, traffic }
    }

    /// Queues the preface.
    pub fn preface(&self, preface: &Preface) -> Result<(), SyncError> {
        self.push(Item::Preface(preface.to_bytes()))
    }

    /// Queues a message.
    pub fn message<T: Serialize>(&self, message: &T) -> Result<(), SyncError> {
        self.push(Item::Message(codec::encode(message)?))
    }

    /// Queues a message, for async code: it is queued once the returned future completes.
    pub async fn queue<T: Serialize + Sync>(&self, message: &T) -> Result<(), SyncError> {
        let item = Item::Message(codec::encode(message)?);
        self.queue.send(item).await.map_err(|_| SyncError::Gone)
    }

    /// Queues a piece of a blob, of at most
    /// [`RAW_BYTES_MAX`](burst_protocol::limit::RAW_BYTES_MAX).
    pub fn raw(&self, bytes: Vec<u8>, compress: bool) -> Result<(), SyncError> {
        self.push(Item::Raw { bytes, compress })
    }

    /// The traffic of the stream in both directions.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn push(&self, item: Item) -> Result<(), SyncError> {
        self.queue.blocking_send(item).map_err(|_| SyncError::Gone)
    }
}

/// The queue of received frames. Its methods block until a frame arrives or, with a
/// [silence deadline](Self::set_silence_deadline), the peer has sent nothing for so long.
#[derive(Debug)]
pub struct Incoming {
    queue: mpsc::Receiver<Result<Frame, SyncError>>,
    /// A message that arrived where a raw frame was due.
    interrupting: Option<Vec<u8>>,
    /// How long the peer may send nothing while a frame is waited for.
    silence_deadline: Option<Duration>,
    traffic: Arc<Traffic>,
    counters: Arc<Counters>,
    runtime: tokio::runtime::Handle,
}

impl Incoming {
    pub(super) const fn new(
        queue: mpsc::Receiver<Result<Frame, SyncError>>,
        traffic: Arc<Traffic>,
        counters: Arc<Counters>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self { queue, interrupting: None, silence_deadline: None, traffic, counters, runtime }
    }

    /// From now on a peer that sends not a byte for the whole of `deadline`, while a frame is
    /// waited for, is given up with [`SyncError::Silent`]. Time without a connection does not
    /// count: then the peer cannot send.
    pub const fn set_silence_deadline(&mut self, deadline: Duration) {
        self.silence_deadline = Some(deadline);
    }

    /// The next frame; [`SyncError::Gone`] at the end of the stream.
    pub fn frame(&mut self) -> Result<Frame, SyncError> {
        if let Some(message) = self.interrupting.take() {
            return Ok(Frame::Message(message));
        }
        let next = match self.silence_deadline {
            None => self.queue.blocking_recv(),
            Some(deadline) => self.next_unless_silent(deadline)?,
        };
        next.unwrap_or(Err(SyncError::Gone))
    }

    /// A large frame on a slow line takes longer than the deadline; its bytes count.
    fn next_unless_silent(
        &mut self,
        deadline: Duration,
    ) -> Result<Option<Result<Frame, SyncError>>, SyncError> {
        // One wait would count time in which this process did not run: it was stopped, or the
        // machine has slept.
        const WAITS: u32 = 8;
        let mut silent = 0;
        loop {
            let before = (self.traffic.received(), self.counters.breaks().0);
            let next = async { tokio::time::timeout(deadline / WAITS, self.queue.recv()).await };
            let next = self.runtime.block_on(next);
            let (breaks, is_down) = self.counters.breaks();
            match next {
                Ok(next) => return Ok(next),
                Err(_) if !is_down && (self.traffic.received(), breaks) == before => {
                    silent += 1;
                    if silent >= WAITS {
                        return Err(SyncError::Silent(deadline.as_secs()));
                    }
                }
                Err(_) => silent = 0,
            }
        }
    }

    /// The next frame, decoded as a message. Fails if it is not one.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<T, SyncError> {
        message_of(self.frame()?)
    }

    /// The peer's preface. Fails with [`SyncError::Silent`] if it does not arrive within
    /// `deadline`.
    pub fn preface_within(&mut self, deadline: Duration) -> Result<Preface, SyncError> {
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(deadline, self.queue.recv()).await })
            .map_err(|_| SyncError::Silent(deadline.as_secs()))?;
        match next.unwrap_or(Err(SyncError::Gone))? {
            Frame::Preface(preface) => Ok(preface),
            _ => Err(SyncError::violation("the stream begins without a preface")),
        }
    }

    /// The next raw frame of a blob. If a message comes instead, because the other end
    /// cannot complete the blob, the error is [`SyncError::BlobInterrupted`] and the next
    /// call of [`message`](Self::message) returns that message.
    pub fn raw(&mut self) -> Result<Vec<u8>, SyncError> {
        match self.frame()? {
            Frame::Raw(bytes) => Ok(bytes),
            Frame::Message(bytes) => {
                self.interrupting = Some(bytes);
                Err(SyncError::BlobInterrupted)
            }
            Frame::Preface(_) => Err(SyncError::violation("a preface inside a blob")),
        }
    }
}
