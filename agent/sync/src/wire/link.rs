//! What a stream moves its frames over: one connection, and who provides the next one.

use std::fmt;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SyncError;

/// A future that a [`Successor`] or a [`Link`] returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The two directions of a stream on one connection.
pub struct Link {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) closed: Pending<'static, ()>,
    pub(super) received: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("received", &self.received).finish_non_exhaustive()
    }
}

impl Link {
    /// A stream of which nothing was read.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let closed = Box::pin(std::future::pending());
        Self { reader: Box::new(reader), writer: Box::new(writer), closed, received: 0 }
    }

    /// Names the event that the connection is closed, for times in which nothing is read.
    #[must_use]
    pub fn closed_by(mut self, closed: impl Future<Output = ()> + Send + 'static) -> Self {
        self.closed = Box::pin(closed);
        self
    }

    /// Goes on with a stream of which the other end has received so many bytes.
    #[must_use]
    pub fn resuming_at(mut self, received: u64) -> Self {
        self.received = received;
        self
    }
}

/// How a link ended, in the middle of its stream.
#[derive(Debug)]
pub struct LinkEnd {
    /// The error with which it broke.
    pub error: Option<io::Error>,
    /// Whether the other end has sent a frame on it. If it has not, it may have given up this
    /// link before it knew that it was in use.
    pub is_heard: bool,
    /// The bytes that have arrived since the stream was opened.
    pub received: u64,
}

impl LinkEnd {
    /// The error of a stream that ends with this link.
    pub fn into_error(self) -> SyncError {
        self.error.map_or(SyncError::Gone, SyncError::Stream)
    }
}

/// Provides the next connection of a stream.
pub trait Successor: Send {
    /// Completes with a link that replaces the present one, which seems to be alive. Only the
    /// other end knows that it has broken. May be dropped and called again.
    fn replacement(&mut self) -> Pending<'_, Link>;

    /// The link after the one that broke or ended. Fails if there will be none, with the error of
    /// the stream.
    fn after(&mut self, end: LinkEnd) -> Pending<'_, Result<Link, SyncError>>;

    /// Whether this end opens connections. The other one keeps the end of the stream until this
    /// one has acknowledged it.
    fn opens(&self) -> bool;

    /// What a new link begins with, before any frame.
    fn answer(&self, received: u64) -> Vec<u8>;
}
