//! The sending direction of a stream: queued messages become frames, which are kept until the
//! other end has acknowledged them.
//!
//! Invariant: every await may be cancelled. What was taken from the queue is in `pending` or
//! kept before the next one.

use std::io;
use std::sync::Arc;

use burst_protocol::codec;
use burst_protocol::frame::{Header, Kind};
use burst_protocol::link::Control;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use zstd::stream::raw::Encoder;

use super::compression::compress;
use super::counters::{Counters, Traffic};
use super::frame::Item;
use super::kept::Kept;
use crate::error::SyncError;
use crate::write_coalescer::WriteCoalescer;

/// Number of pending bytes at which they are compressed and sent without waiting for more.
const GATHER_BYTES: usize = 128 << 10;

/// Smallest number of pending bytes that are compressed.
const COMPRESS_FROM_BYTES: usize = 96;

/// The sending direction.
pub(super) struct Outbox {
    queue: mpsc::Receiver<Item>,
    encoder: Encoder<'static>,
    /// Frames that are not compressed yet.
    pending: Vec<u8>,
    /// What precedes the frames on the present connection.
    opening: Vec<u8>,
    /// Follows the preface.
    open: Option<Control>,
    kept: Kept,
    coalescer: WriteCoalescer,
    traffic: Arc<Traffic>,
    has_told_stop: bool,
    has_ended: bool,
    /// The place behind the last frame, once it has ended.
    end: u64,
    /// Whether anything was written: no acknowledgement precedes the preface.
    has_begun: bool,
    is_dirty: bool,
}

impl Outbox {
    pub(super) fn new(
        queue: mpsc::Receiver<Item>,
        level: i32,
        open: Option<Control>,
        traffic: Arc<Traffic>,
    ) -> Result<Self, SyncError> {
        Ok(Self {
            queue,
            encoder: Encoder::new(level).map_err(SyncError::Compression)?,
            pending: Vec::new(),
            opening: Vec::new(),
            open,
            kept: Kept::default(),
            coalescer: WriteCoalescer::new(Instant::now()),
            traffic,
            has_told_stop: false,
            has_ended: false,
            end: 0,
            has_begun: false,
            is_dirty: false,
        })
    }

    /// Goes on with another connection, which begins with `opening`; the other end has
    /// received so many bytes.
    pub(super) fn resume(&mut self, opening: Vec<u8>, received: u64) -> Result<(), SyncError> {
        self.opening = opening;
        self.kept.resume(received)
    }

    /// Takes nothing more: who queues something is told that the stream has ended.
    pub(super) fn close(&mut self) {
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }

    /// Sends what is queued. Of a stream that survives its connection it never returns but
    /// with an error, of another one it returns when all is sent.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        counters: &Counters,
    ) -> Result<(), SyncError> {
        let sent = self.send_all(writer, counters).await;
        if sent.is_err() && !counters.survives() {
            self.close();
        }
        sent
    }

    async fn send_all<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        counters: &Counters,
    ) -> Result<(), SyncError> {
        loop {
            self.hear(counters)?;
            self.write(writer, counters).await.map_err(SyncError::Stream)?;
            if self.has_ended {
                if !counters.is_resumable() {
                    return writer.shutdown().await.map_err(SyncError::Stream);
                }
                counters.set_end_written(self.kept.begin() >= self.end);
                counters.sender_has_work().await;
                continue;
            }
            tokio::select! {
                biased;
                () = counters.sender_has_work() => {}
                filled = self.fill(counters), if self.kept.has_room() => filled?,
            }
        }
    }

    /// Encodes what is queued while there is no connection, as far as there is room.
    pub(super) async fn wait(&mut self, counters: &Counters) -> Result<(), SyncError> {
        loop {
            self.hear(counters)?;
            tokio::select! {
                biased;
                () = counters.sender_has_work() => {}
                filled = self.fill(counters), if self.kept.has_room() && !self.has_ended => filled?,
            }
        }
    }

    /// Takes into account what has arrived before the connection ended.
    pub(super) fn settle(&mut self, counters: &Counters) -> Result<(), SyncError> {
        self.hear(counters)?;
        if self.has_ended && self.kept.begin() >= self.end {
            counters.set_end_written(true);
        }
        Ok(())
    }

    /// Follows what the other direction has learnt.
    fn hear(&mut self, counters: &Counters) -> Result<(), SyncError> {
        if counters.is_resumable() {
            self.kept.acknowledge(counters.acknowledged().max(self.kept.begin()))?;
        }
        if counters.is_unread_there() && !self.has_ended {
            self.close();
            self.pending.clear();
            self.kept.forget_unwritten();
            self.end(counters)?;
        }
        if counters.is_unread_here() && counters.is_resumable() && !self.has_told_stop {
            self.has_told_stop = true;
            self.encode_pending()?;
            self.kept.push(control(&Control::Stop)?);
        }
        Ok(())
    }

    /// Writes all that is encoded.
    async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        counters: &Counters,
    ) -> io::Result<()> {
        if !self.opening.is_empty() {
            writer.write_all(&self.opening).await?;
            self.written(self.opening.len());
            self.opening.clear();
        }
        loop {
            if self.has_begun
                && let Some(received) = counters.take_acknowledgement()
                && let Ok(bytes) = control(&Control::Acknowledge { received })
            {
                writer.write_all(&bytes).await?;
                self.written(bytes.len());
            }
            let Some(chunk) = self.kept.unwritten() else { break };
            let length = chunk.len();
            writer.write_all(chunk).await?;
            self.written(length);
            self.kept.advance();
            if !counters.is_resumable() {
                self.kept.forget_written();
            }
        }
        if std::mem::take(&mut self.is_dirty) {
            writer.flush().await?;
        }
        Ok(())
    }

    fn written(&mut self, bytes: usize) {
        self.traffic.add_sent(bytes);
        self.coalescer.written(bytes);
        (self.has_begun, self.is_dirty) = (true, true);
    }

    /// Takes what is queued, waits for more while small writes are too frequent, and encodes
    /// it. Notes the end of the queue.
    async fn fill(&mut self, counters: &Counters) -> Result<(), SyncError> {
        if self.pending.is_empty() {
            match self.queue.recv().await {
                Some(item) => self.item(item)?,
                None => return self.end(counters),
            }
        }
        while self.wants_more()
            && let Ok(item) = self.queue.try_recv()
        {
            self.item(item)?;
        }
        while self.wants_more()
            && let Some(until) = self.coalescer.gather_until(Instant::now())
        {
            match tokio::time::timeout_at(until, self.queue.recv()).await {
                Ok(Some(item)) => self.item(item)?,
                Ok(None) => break,
                Err(_) => {}
            }
        }
        self.encode_pending()
    }

    /// Whether more fits into this write.
    fn wants_more(&self) -> bool {
        self.kept.unwritten_bytes() < GATHER_BYTES && self.opening.is_empty()
    }

    fn item(&mut self, item: Item) -> Result<(), SyncError> {
        match item {
            Item::Preface(bytes) => {
                self.opening.extend(bytes);
                if let Some(open) = self.open.take() {
                    self.opening.extend(control(&open)?);
                }
                return Ok(());
            }
            Item::Message(bytes) => self.append(Kind::Message, &bytes)?,
            Item::Raw { bytes, compress: true } => self.append(Kind::Raw, &bytes)?,
            Item::Raw { bytes, compress: false } => {
                self.encode_pending()?;
                return self.keep(Kind::Raw, &bytes);
            }
        }
        if self.pending.len() >= GATHER_BYTES { self.encode_pending() } else { Ok(()) }
    }

    fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SyncError> {
        self.pending.extend(Header::new(kind, payload.len())?.to_bytes());
        self.pending.extend(payload);
        Ok(())
    }

    fn encode_pending(&mut self) -> Result<(), SyncError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        if pending.len() < COMPRESS_FROM_BYTES {
            self.kept.push(pending);
            return Ok(());
        }
        for piece in pending.chunks(GATHER_BYTES * 2) {
            let packed = compress(&mut self.encoder, piece).map_err(SyncError::Compression)?;
            self.keep(Kind::Compressed, &packed)?;
        }
        Ok(())
    }

    /// Keeps header and payload as one chunk, so that they share a packet.
    fn keep(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SyncError> {
        let header = Header::new(kind, payload.len())?.to_bytes();
        self.kept.push([&header[..], payload].concat());
        Ok(())
    }

    fn end(&mut self, counters: &Counters) -> Result<(), SyncError> {
        self.encode_pending()?;
        self.has_ended = true;
        if counters.is_resumable() {
            self.kept.push(control(&Control::End)?);
            self.end = self.kept.end();
        }
        Ok(())
    }
}

/// A control message as a frame.
pub(super) fn control(message: &Control) -> Result<Vec<u8>, SyncError> {
    let payload = codec::encode(message)?;
    let header = Header::new(Kind::Control, payload.len())?.to_bytes();
    Ok([&header[..], &payload].concat())
}
