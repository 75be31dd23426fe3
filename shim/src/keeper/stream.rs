//! Streams to an agent by way of the keeper.
//!
//! A stream can be opened before the server exists: bytes that are written until then wait
//! in memory, at most [`WAITING_BYTES_MAX`] of them, and writers wait after that.

use std::net::SocketAddr;
use std::time::Instant;

use burst_agent::transport::SERVER_PORT;
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::directory::KeeperDirectory;
use super::error::lost;
use super::message::{self, Ask, Event, Hello, Ready};
use crate::connection::VERSION;
use crate::error::Error;

/// Most bytes of a stream that wait for a server.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;

/// The state of the server that a command has requested.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// It is being provided.
    Awaited,
    /// It is ready, since this time.
    There(Box<Ready>, Instant),
    /// It cannot be provided.
    Failed(Error),
}

/// Opens streams to the agent of a server, once it is ready.
#[derive(Clone, Debug)]
pub(crate) struct KeeperRoute {
    directory: KeeperDirectory,
    arrival: watch::Receiver<Arrival>,
    runtime: Handle,
}

impl KeeperRoute {
    /// A route to the server whose arrival is reported.
    pub(crate) const fn new(
        directory: KeeperDirectory,
        arrival: watch::Receiver<Arrival>,
        runtime: Handle,
    ) -> Self {
        Self { directory, arrival, runtime }
    }

    /// The server and the time at which it was ready; `None` if it is not, yet or at all.
    pub(crate) fn ready(&self) -> Option<(Ready, Instant)> {
        match &*self.arrival.borrow() {
            Arrival::There(ready, at) => Some((Ready::clone(ready), *at)),
            Arrival::Awaited | Arrival::Failed(_) => None,
        }
    }

    /// The address of the agent; unspecified while the server is not ready.
    pub(crate) fn address(&self) -> SocketAddr {
        let unknown = || SocketAddr::from(([0, 0, 0, 0], SERVER_PORT));
        self.ready().map_or_else(unknown, |(ready, _)| ready.address)
    }

    /// Waits until the server is ready. Blocks: not for async code.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.runtime.block_on(self.arrived()).map(drop)
    }

    async fn arrived(&self) -> Result<Ready, Error> {
        let mut arrival = self.arrival.clone();
        let seen = arrival.wait_for(|arrival| !matches!(arrival, Arrival::Awaited)).await;
        match seen.as_deref() {
            Ok(Arrival::There(ready, _)) => Ok(Ready::clone(ready)),
            Ok(Arrival::Failed(error)) => Err(error.clone()),
            Ok(Arrival::Awaited) | Err(_) => Err(lost(&std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Opens a stream, once the server is ready.
    pub(crate) async fn open(&self) -> Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf), Error> {
        let ticket = self.arrived().await?.ticket;
        let (mut read, mut write) = connect(&self.directory).await?;
        let hello = Hello { version: VERSION.to_owned(), ask: Ask::Stream { ticket } };
        message::write(&mut write, &hello).await.map_err(|error| lost(&error))?;
        match message::read(&mut read).await.map_err(|error| lost(&error))? {
            Event::Opened => Ok((read, write)),
            Event::Failed(error) => Err(error),
            _ => Err(lost(&std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// Opens a stream once the server is ready, and carries all bytes from and to
    /// `waiting`. If there is no server, both directions end without bytes.
    pub(crate) async fn carry(self, waiting: DuplexStream) {
        let Ok((mut read, mut write)) = self.open().await else { return };
        let (mut from_command, mut to_command) = tokio::io::split(waiting);
        let upwards = async {
            // An error closes the stream, and the command sees its end.
            drop(tokio::io::copy(&mut from_command, &mut write).await);
            drop(write.shutdown().await);
        };
        let downwards = async {
            drop(tokio::io::copy_buf(&mut read, &mut to_command).await);
            drop(to_command.shutdown().await);
        };
        tokio::join!(upwards, downwards);
    }
}

/// Connects to the keeper's socket.
pub(super) async fn connect(
    directory: &KeeperDirectory,
) -> Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf), Error> {
    let (path, _directory) = directory.socket()?;
    let stream = UnixStream::connect(path).await.map_err(|error| lost(&error))?;
    let (read, write) = stream.into_split();
    Ok((BufReader::new(read), write))
}
