//! Streams to an agent by way of the keeper: also before the server is there. What is
//! said until then waits, compressed, in memory.

use std::net::SocketAddr;
use std::time::Instant;

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

/// Bytes that wait at most for a server that is still to come.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Whether the server is there.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// Not yet.
    Awaited,
    /// Since then.
    There(Box<Ready>, Instant),
    /// It will not come.
    Failed(Error),
}

/// Where to open streams.
#[derive(Clone, Debug)]
pub(crate) struct KeeperRoute {
    directory: KeeperDirectory,
    arrival: watch::Receiver<Arrival>,
    runtime: Handle,
}

impl KeeperRoute {
    /// To what arrives.
    pub(crate) const fn new(
        directory: KeeperDirectory,
        arrival: watch::Receiver<Arrival>,
        runtime: Handle,
    ) -> Self {
        Self { directory, arrival, runtime }
    }

    /// What has arrived so far, and when.
    pub(crate) fn ready(&self) -> Option<(Ready, Instant)> {
        match &*self.arrival.borrow() {
            Arrival::There(ready, at) => Some((Ready::clone(ready), *at)),
            Arrival::Awaited | Arrival::Failed(_) => None,
        }
    }

    /// Where the agent is, once that is known.
    pub(crate) fn address(&self) -> SocketAddr {
        let unknown = || SocketAddr::from(([0, 0, 0, 0], crate::hetzner::dial::AGENT_PORT));
        self.ready().map_or_else(unknown, |(ready, _)| ready.address)
    }

    /// Waits until the server is there. Not within async code.
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

    /// Opens a stream.
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

    /// Opens a stream when the server is there, and carries what has waited, and all
    /// that follows. If it does not come, both directions just end.
    pub(crate) async fn carry(self, waiting: DuplexStream) {
        let Ok((mut read, mut write)) = self.open().await else { return };
        let (mut from_us, mut to_us) = tokio::io::split(waiting);
        let upwards = async {
            // An error ends the stream, and the other end tells.
            drop(tokio::io::copy(&mut from_us, &mut write).await);
            drop(write.shutdown().await);
        };
        let downwards = async {
            drop(tokio::io::copy_buf(&mut read, &mut to_us).await);
            drop(to_us.shutdown().await);
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
