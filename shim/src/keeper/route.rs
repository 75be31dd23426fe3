//! Streams to an agent by way of the keeper.

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::place::Place;
use super::words::{self, Ask, Event, Hello};
use crate::connection::VERSION;
use crate::failure::Failure;
use crate::hetzner::trouble::{Kind, Trouble};

/// Where to open streams.
#[derive(Debug)]
pub struct KeeperRoute {
    place: Place,
    ticket: u64,
}

impl KeeperRoute {
    /// To what a ticket was given for.
    pub const fn new(place: Place, ticket: u64) -> Self {
        Self { place, ticket }
    }

    /// Opens a stream.
    pub async fn open(&self) -> Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf), Failure> {
        let (mut read, mut write) = connect(&self.place).await?;
        let ask = Ask::Stream { ticket: self.ticket };
        let hello = Hello { version: VERSION.to_owned(), ask };
        words::write(&mut write, &hello).await.map_err(lost)?;
        match words::read(&mut read).await.map_err(lost)? {
            Event::Opened => Ok((read, write)),
            Event::Failed(trouble) => Err(Failure::Server(trouble)),
            _ => Err(lost(std::io::ErrorKind::InvalidData.into())),
        }
    }
}

/// Connects to the keeper's socket.
pub(super) async fn connect(
    place: &Place,
) -> Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf), Failure> {
    let (path, _directory) = place.socket()?;
    let stream = UnixStream::connect(path).await.map_err(lost)?;
    let (read, write) = stream.into_split();
    Ok((BufReader::new(read), write))
}

/// The keeper is gone, or not itself.
pub(super) fn lost(error: std::io::Error) -> Failure {
    let mut trouble = Trouble::with_causes(Kind::Keeper, &error);
    trouble.messages.insert(0, "the keeper does not answer".into());
    Failure::Server(trouble)
}
