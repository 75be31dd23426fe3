//! Frames over an asynchronous stream, with blocking queues for both ends.
//!
//! [`connect`] returns a pair of queues and spawns two tasks that move frames between the
//! queues and the stream. Shim and agent are blocking code on their own threads:
//! [`Outgoing`] can be cloned and used from many threads, [`Incoming`] has one reader.
//!
//! Messages that are sent together form one compressed frame. Each direction is one zstd
//! stream, so that a message can refer to the bytes of earlier ones. The sender chooses
//! which pieces of blobs are sent uncompressed.
//!
//! Small writes are gathered (see [`crate::write_coalescer`]). The queues are bounded: a
//! peer that does not read blocks the sender and costs no memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use burst_protocol::codec;
use burst_protocol::frame::{HEADER_BYTES, Header, Kind};
use burst_protocol::hello::{PREFACE_BYTES, Preface};
use burst_protocol::limit::FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use zstd::stream::raw::{Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::error::SyncError;
use crate::task::spawn;
use crate::write_coalescer::WriteCoalescer;

/// Capacity of a queue in frames: with raw frames of 128 KiB, 2 MiB.
const QUEUE_FRAMES: usize = 16;

/// Number of pending bytes at which they are compressed and sent without waiting for more.
const GATHER_BYTES: usize = 128 << 10;

/// Smallest number of pending bytes that are compressed.
const COMPRESS_FROM_BYTES: usize = 96;

/// Largest zstd window that a peer may request, as the binary logarithm of bytes.
const WINDOW_LOG_MAX: u32 = 23;

/// A received frame, decompressed.
#[derive(Debug)]
pub enum Frame {
    /// The preface of the stream.
    Preface(Preface),
    /// The encoded bytes of a message.
    Message(Vec<u8>),
    /// A piece of a blob.
    Raw(Vec<u8>),
}

enum Item {
    Preface(Vec<u8>),
    Message(Vec<u8>),
    Raw { bytes: Vec<u8>, compress: bool },
}

/// The number of bytes that a stream has carried, without the overhead of QUIC, UDP and
/// IP.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// The number of bytes sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The number of bytes received.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// The queue of frames to send. Its methods block while the queue is full and fail with
/// [`SyncError::Gone`] after the stream has ended.
#[derive(Clone, Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Item>,
    traffic: Arc<Traffic>,
}

impl Outgoing {
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
    runtime: tokio::runtime::Handle,
}

impl Incoming {
    /// From now on a peer that sends not a byte for the whole of `deadline`, while a frame is
    /// waited for, is given up with [`SyncError::Silent`].
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
        loop {
            let received = self.traffic.received();
            let next = async { tokio::time::timeout(deadline, self.queue.recv()).await };
            match self.runtime.block_on(next) {
                Ok(next) => return Ok(next),
                Err(_) if self.traffic.received() == received => {
                    return Err(SyncError::Silent(deadline.as_secs()));
                }
                Err(_) => {}
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

/// Decodes a frame as a message. Fails if it is not one.
pub fn message_of<T: DeserializeOwned>(frame: Frame) -> Result<T, SyncError> {
    match frame {
        Frame::Message(bytes) => Ok(codec::decode(&bytes)?),
        _ => Err(SyncError::violation("a raw frame without an announced blob")),
    }
}

/// The writing task of [`connect`]. It ends when every [`Outgoing`] is dropped and all
/// frames are written.
pub type Writing = tokio::task::JoinHandle<Result<(), SyncError>>;

/// Whether the peer's preface is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The preface was read already, with [`read_preface`].
    Read,
    /// The preface is the first frame of [`Incoming`].
    Expected,
}

/// Starts to move frames over a stream, in two tasks of the current tokio runtime. `level`
/// is the compression level of zstd.
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
    let traffic = Arc::new(Traffic::default());
    let (to_write, written) = mpsc::channel(QUEUE_FRAMES);
    let (read, to_read) = mpsc::channel(QUEUE_FRAMES);
    let sender = Sender::new(writer, level, traffic.clone())?;
    let writing = spawn(sender.run(written));
    let receiver = Receiver::new(reader, traffic.clone())?;
    spawn(receiver.run(opening, read));
    let runtime = tokio::runtime::Handle::current();
    let incoming = Incoming {
        queue: to_read,
        interrupting: None,
        silence_deadline: None,
        traffic: traffic.clone(),
        runtime,
    };
    Ok((incoming, Outgoing { queue: to_write, traffic }, writing))
}

/// Reads the preface of a stream.
pub async fn read_preface<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Preface, SyncError> {
    let mut start = [0; PREFACE_BYTES];
    match reader.read_exact(&mut start).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(SyncError::Gone),
        Err(error) => return Err(SyncError::Stream(error)),
    }
    let (kind, length) = Preface::parse_start(start)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.map_err(SyncError::Stream)?;
    Ok(Preface::parse_body(kind, &body)?)
}

struct Sender<W> {
    writer: W,
    encoder: Encoder<'static>,
    pending: Vec<u8>,
    traffic: Arc<Traffic>,
    coalescer: WriteCoalescer,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    fn new(writer: W, level: i32, traffic: Arc<Traffic>) -> Result<Self, SyncError> {
        let encoder = Encoder::new(level).map_err(SyncError::Compression)?;
        let coalescer = WriteCoalescer::new(Instant::now());
        Ok(Self { writer, encoder, pending: Vec::new(), traffic, coalescer })
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Item>) -> Result<(), SyncError> {
        while let Some(item) = queue.recv().await {
            self.item(item).await?;
            while let Ok(item) = queue.try_recv() {
                self.item(item).await?;
            }
            while let Some(until) = self.coalescer.gather_until(Instant::now()) {
                match tokio::time::timeout_at(until, queue.recv()).await {
                    Ok(Some(item)) => self.item(item).await?,
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            self.send_pending().await?;
            self.writer.flush().await.map_err(SyncError::Stream)?;
        }
        self.writer.shutdown().await.map_err(SyncError::Stream)
    }

    async fn item(&mut self, item: Item) -> Result<(), SyncError> {
        match item {
            Item::Preface(bytes) => return self.write(&bytes).await,
            Item::Message(bytes) => self.append(Kind::Message, &bytes)?,
            Item::Raw { bytes, compress: true } => self.append(Kind::Raw, &bytes)?,
            Item::Raw { bytes, compress: false } => {
                self.send_pending().await?;
                return self.frame(Kind::Raw, &bytes).await;
            }
        }
        if self.pending.len() >= GATHER_BYTES { self.send_pending().await } else { Ok(()) }
    }

    fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SyncError> {
        self.pending.extend(Header::new(kind, payload.len())?.to_bytes());
        self.pending.extend(payload);
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<(), SyncError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        if pending.len() < COMPRESS_FROM_BYTES {
            return self.write(&pending).await;
        }
        for piece in pending.chunks(GATHER_BYTES * 2) {
            let packed = compress(&mut self.encoder, piece).map_err(SyncError::Compression)?;
            self.frame(Kind::Compressed, &packed).await?;
        }
        Ok(())
    }

    /// Writes header and payload in one call, so that they share a packet.
    async fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SyncError> {
        let header = Header::new(kind, payload.len())?.to_bytes();
        self.write(&[&header[..], payload].concat()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SyncError> {
        self.traffic.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.coalescer.written(bytes.len());
        self.writer.write_all(bytes).await.map_err(SyncError::Stream)
    }
}

struct Receiver<R> {
    reader: R,
    decoder: Decoder<'static>,
    /// Decompressed bytes of an incomplete frame.
    unpacked: Vec<u8>,
    traffic: Arc<Traffic>,
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    fn new(reader: R, traffic: Arc<Traffic>) -> Result<Self, SyncError> {
        let mut decoder = Decoder::new().map_err(SyncError::Compression)?;
        let limit = zstd::stream::raw::DParameter::WindowLogMax(WINDOW_LOG_MAX);
        decoder.set_parameter(limit).map_err(SyncError::Compression)?;
        Ok(Self { reader, decoder, unpacked: Vec::new(), traffic })
    }

    async fn run(mut self, opening: Opening, queue: mpsc::Sender<Result<Frame, SyncError>>) {
        if opening == Opening::Expected {
            let preface = read_preface(&mut self.reader).await.map(Frame::Preface);
            let refused = preface.is_err();
            if queue.send(preface).await.is_err() || refused {
                return;
            }
        }
        loop {
            match self.next(&queue).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Fails only if the reader has been dropped.
                    drop(queue.send(Err(error)).await);
                    return;
                }
            }
        }
    }

    /// Reads one frame. Returns false at the end of the stream or if the reader has been
    /// dropped.
    async fn next(
        &mut self,
        queue: &mpsc::Sender<Result<Frame, SyncError>>,
    ) -> Result<bool, SyncError> {
        let mut header = [0; HEADER_BYTES];
        match self.reader.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(SyncError::Stream(error)),
        }
        let Header { kind, length } = Header::parse(header)?;
        let mut payload = Vec::new();
        let read = (&mut self.reader).take(length as u64).read_to_end(&mut payload).await;
        if read.map_err(SyncError::Stream)? != length {
            return Err(SyncError::Stream(io::ErrorKind::UnexpectedEof.into()));
        }
        self.traffic.received.fetch_add((HEADER_BYTES + length) as u64, Ordering::Relaxed);
        match kind {
            Kind::Message => Ok(queue.send(Ok(Frame::Message(payload))).await.is_ok()),
            Kind::Raw => Ok(queue.send(Ok(Frame::Raw(payload))).await.is_ok()),
            Kind::Compressed => self.unpack(&payload, queue).await,
        }
    }

    /// Decompresses piece by piece and passes on each complete frame, so that a frame that
    /// decompresses to gigabytes needs no more memory than the cap of a frame.
    async fn unpack(
        &mut self,
        packed: &[u8],
        queue: &mpsc::Sender<Result<Frame, SyncError>>,
    ) -> Result<bool, SyncError> {
        let mut input = InBuffer::around(packed);
        let mut buffer = vec![0; GATHER_BYTES];
        loop {
            let mut output = OutBuffer::around(buffer.as_mut_slice());
            self.decoder.run(&mut input, &mut output).map_err(SyncError::Compression)?;
            let written = output.pos();
            self.unpacked.extend(&buffer[..written]);
            if !self.pass_on(queue).await? {
                return Ok(false);
            }
            if input.pos() == packed.len() && written < buffer.len() {
                return Ok(true);
            }
        }
    }

    async fn pass_on(
        &mut self,
        queue: &mpsc::Sender<Result<Frame, SyncError>>,
    ) -> Result<bool, SyncError> {
        let mut at = 0;
        while let Some(header) = self.unpacked[at..].first_chunk::<HEADER_BYTES>() {
            let Header { kind, length } = Header::parse(*header)?;
            let body = at + HEADER_BYTES;
            let Some(payload) = self.unpacked.get(body..body + length) else { break };
            let frame = match kind {
                Kind::Message => Frame::Message(payload.to_vec()),
                Kind::Raw => Frame::Raw(payload.to_vec()),
                Kind::Compressed => {
                    return Err(SyncError::violation("a compressed frame contains another"));
                }
            };
            at = body + length;
            if queue.send(Ok(frame)).await.is_err() {
                return Ok(false);
            }
        }
        self.unpacked.drain(..at);
        Ok(true)
    }
}

/// Compresses a piece and flushes, so that the other end can decompress all of it.
fn compress(encoder: &mut Encoder<'static>, piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; zstd::zstd_safe::compress_bound(piece.len()) + 64];
    let mut input = InBuffer::around(piece);
    let mut length = 0;
    loop {
        let mut output = OutBuffer::around_pos(packed.as_mut_slice(), length);
        let rest = if input.pos() < piece.len() {
            encoder.run(&mut input, &mut output)?;
            1
        } else {
            encoder.flush(&mut output)?
        };
        length = output.pos();
        if rest == 0 {
            packed.truncate(length);
            return Ok(packed);
        }
        if length == packed.len() {
            if length > FRAME_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            packed.resize(length * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::message::FromShim;

    use super::*;
    use crate::write_coalescer::{BURST, EARNED_EACH};

    /// A reader that returns one byte at a time, so that every frame is split everywhere.
    struct Trickle<R>(R);

    impl<R: AsyncRead + Unpin> AsyncRead for Trickle<R> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let mut byte = [0; 1];
            let mut one = tokio::io::ReadBuf::new(&mut byte);
            let poll = std::pin::Pin::new(&mut self.0).poll_read(context, &mut one);
            buffer.put_slice(one.filled());
            poll
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn frames_arrive_whole_and_in_order() {
        let (near, far) = tokio::io::duplex(1000);
        let (far_reader, far_writer) = tokio::io::split(far);
        let (near_reader, near_writer) = tokio::io::split(near);
        let (_unused, outgoing, writing) =
            connect(near_reader, near_writer, 3, Opening::Read).unwrap();
        let (mut incoming, _keep, _) =
            connect(Trickle(far_reader), far_writer, 3, Opening::Read).unwrap();
        let sending = tokio::task::spawn_blocking(move || {
            for n in 0..200 {
                outgoing.message(&FromShim::Signal(n)).unwrap();
                outgoing.raw(vec![n as u8; (n * 37) as usize], n % 3 != 0).unwrap();
            }
            outgoing.message(&FromShim::Done).unwrap();
        });
        tokio::task::spawn_blocking(move || {
            for n in 0..200 {
                assert_eq!(incoming.message::<FromShim>().unwrap(), FromShim::Signal(n));
                assert_eq!(incoming.raw().unwrap(), vec![n as u8; (n * 37) as usize]);
            }
            assert_eq!(incoming.message::<FromShim>().unwrap(), FromShim::Done);
        })
        .await
        .unwrap();
        sending.await.unwrap();
        writing.await.unwrap().unwrap();
    }

    /// A writer that records the sizes of its writes.
    #[derive(Clone, Default)]
    struct Counting(Arc<std::sync::Mutex<Vec<usize>>>);

    impl AsyncWrite for Counting {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            std::task::Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    /// Sends messages with a pause after each; returns the sizes of the writes.
    async fn writes_of(messages: usize, pause: Duration) -> Vec<usize> {
        let counting = Counting::default();
        let sender = Sender::new(counting.clone(), 1, Arc::default()).unwrap();
        let (queue, written) = mpsc::channel(QUEUE_FRAMES);
        let sending = tokio::spawn(sender.run(written));
        for n in 0..messages {
            let bytes = if n % 4 == 0 { vec![n as u8; 300] } else { vec![n as u8; 20] };
            assert!(queue.send(Item::Message(bytes)).await.is_ok());
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pause).await;
            }
        }
        drop(queue);
        sending.await.unwrap().unwrap();
        let writes = counting.0.lock().unwrap();
        writes.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_messages_are_few_writes() {
        for pause in [Duration::from_millis(1), Duration::ZERO] {
            let began = Instant::now();
            let writes = writes_of(2_000, pause).await.len() as u128;
            let earned = began.elapsed().as_millis() / EARNED_EACH.as_millis();
            // The last write, and one of 128 KiB that were gathered.
            let most = u128::from(BURST) + earned + 2;
            assert!(writes <= most, "{writes} in {:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn infrequent_messages_are_sent_at_once() {
        let began = Instant::now();
        assert_eq!(writes_of(60, Duration::ZERO).await.len(), 60);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(writes_of(500, Duration::from_millis(20)).await.len(), 500);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn invalid_frames_are_errors() {
        for bytes in [
            &b"\x09\0\0\0\0"[..],
            b"\x02\x05\0\0\0zzzzz",
            b"\x00\xff\xff\xff\xff",
            b"\x00\x05\0\0\0a",
        ] {
            let (near, far) = tokio::io::duplex(1000);
            let (far_reader, far_writer) = tokio::io::split(far);
            let (mut incoming, _keep, _) =
                connect(far_reader, far_writer, 1, Opening::Read).unwrap();
            let mut near = near;
            near.write_all(bytes).await.unwrap();
            drop(near);
            let got =
                tokio::task::spawn_blocking(move || incoming.message::<FromShim>()).await.unwrap();
            assert!(got.is_err(), "{bytes:?}");
        }
    }
}
