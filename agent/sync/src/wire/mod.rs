//! Frames over an asynchronous stream, with blocking queues for both ends.
//!
//! [`connect`] returns a pair of queues and spawns a task that moves frames between the
//! queues and the stream. Shim and agent are blocking code on their own threads:
//! [`Outgoing`] can be cloned and used from many threads, [`Incoming`] has one reader.
//!
//! Messages that are sent together form one compressed frame. Each direction is one zstd
//! stream, so that a message can refer to the bytes of earlier ones. The sender chooses
//! which pieces of blobs are sent uncompressed.
//!
//! Small writes are gathered (see [`crate::write_coalescer`]). The queues are bounded: a
//! peer that does not read blocks the sender and costs bounded memory: about 4 MiB that were read
//! ahead and, of a stream that survives its connection, 8 MiB that are kept.
//!
//! A stream of [`connect_resumable`] survives its connection: what was sent is kept until the
//! other end has acknowledged it, and sent again on the next connection, which a [`Successor`]
//! provides. Neither queue shows a break; only after the last one do they fail.

mod compression;
mod counters;
mod frame;
mod inbox;
mod kept;
mod link;
mod outbox;
mod queues;
mod stream;

use std::io;
use std::sync::Arc;

use burst_protocol::codec;
use burst_protocol::frame::{HEADER_BYTES, Header, Kind};
use burst_protocol::link::Control;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;

use self::counters::Counters;
pub use self::counters::Traffic;
pub use self::frame::{Frame, message_of};
use self::inbox::Inbox;
pub use self::inbox::{Opening, read_preface};
pub use self::link::{Link, LinkEnd, Pending, Successor};
use self::outbox::Outbox;
pub use self::queues::{Incoming, Outgoing};
use self::stream::Stream;
use crate::error::SyncError;
use crate::task::spawn;

/// Capacity of a queue in frames: with raw frames of 128 KiB, 2 MiB.
const QUEUE_FRAMES: usize = 16;

/// The task of [`connect`]. It ends when every [`Outgoing`] is dropped and all frames are
/// written, and [`Incoming`] is dropped or has everything.
pub type Writing = tokio::task::JoinHandle<io::Result<()>>;

/// Starts to move frames over a stream, in a task of the current tokio runtime. `level` is the
/// compression level of zstd.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn connect<R, W>(
    reader: R,
    writer: W,
    level: i32,
    opening: Opening,
) -> Result<(Incoming, Outgoing, Writing), SyncError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    start(Link::new(reader, writer), level, opening, None, None)
}

/// Starts to move frames over a stream that goes on, on the connections of `successor`, when
/// its own breaks. `open` follows the preface: the end that names the stream sends it.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn connect_resumable(
    link: Link,
    level: i32,
    opening: Opening,
    open: Option<Control>,
    successor: Box<dyn Successor>,
) -> Result<(Incoming, Outgoing, Writing), SyncError> {
    start(link, level, opening, open, Some(successor))
}

fn start(
    link: Link,
    level: i32,
    opening: Opening,
    open: Option<Control>,
    successor: Option<Box<dyn Successor>>,
) -> Result<(Incoming, Outgoing, Writing), SyncError> {
    let traffic = Arc::new(Traffic::default());
    let is_welcomed = opening == Opening::Read;
    let counters = Arc::new(match &successor {
        None => Counters::new(is_welcomed),
        Some(successor) => Counters::resumable(is_welcomed, !successor.opens()),
    });
    let (to_write, written) = mpsc::channel(QUEUE_FRAMES);
    let (read, to_read) = mpsc::channel(QUEUE_FRAMES);
    let outbox = Outbox::new(written, level, open, traffic.clone())?;
    let inbox = Inbox::new(read, opening, traffic.clone())?;
    let runtime = tokio::runtime::Handle::current();
    let incoming = Incoming::new(to_read, traffic.clone(), counters.clone(), runtime);
    let moving = spawn(Stream::new(outbox, inbox, counters, successor).run(link));
    Ok((incoming, Outgoing::new(to_write, traffic), moving))
}

/// A control message as it is sent.
pub fn control_frame(control: &Control) -> Result<Vec<u8>, SyncError> {
    outbox::control(control)
}

/// The beginning of a stream, behind its preface.
#[derive(Debug)]
pub enum Beginning {
    /// A control message.
    Control(Control),
    /// The header of another frame, whose payload is still to be read.
    Frame([u8; HEADER_BYTES]),
}

/// Reads the first frame, or its header if it is not a control message.
pub async fn read_beginning<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Beginning, SyncError> {
    let mut bytes = [0; HEADER_BYTES];
    reader.read_exact(&mut bytes).await.map_err(SyncError::Stream)?;
    let Header { kind, length } = Header::parse(bytes)?;
    if kind != Kind::Control {
        return Ok(Beginning::Frame(bytes));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(SyncError::Stream)?;
    Ok(Beginning::Control(codec::decode(&payload)?))
}

#[cfg(test)]
mod tests;
