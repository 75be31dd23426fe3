//! The receiving direction of a stream: bytes become frames, which wait for their reader.
//!
//! Frames are read ahead of the reader, so that control messages behind them are heard while it
//! is busy. Invariant: every await may be cancelled; a frame of which a part has arrived when
//! the connection breaks is forgotten, and sent again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use burst_protocol::codec;
use burst_protocol::frame::{HEADER_BYTES, Header, Kind};
use burst_protocol::hello::{PREFACE_BYTES, Preface};
use burst_protocol::link::Control;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::compression::Unpacker;
use super::counters::{Counters, Traffic};
use super::frame::Frame;
use super::link::Pending;
use crate::error::SyncError;

/// Bytes of frames that are read ahead of the reader.
const AHEAD_BYTES: usize = 4 << 20;

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Whether the peer's preface is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The preface was read already, with [`read_preface`].
    Read,
    /// The preface is the first frame of [`Incoming`](super::Incoming).
    Expected,
}

/// Why nothing more is received on a connection.
#[derive(Debug)]
pub(super) enum Stop {
    /// The stream is complete, or has no reader any more.
    Complete,
    /// The connection broke, or ended in the middle of the stream.
    Broken(Option<io::Error>),
    /// The other end has sent what it must not.
    Invalid(SyncError),
}

/// The receiving direction.
pub(super) struct Inbox {
    /// `None` once it has no reader, or all of it was passed on.
    queue: Option<mpsc::Sender<Result<Frame, SyncError>>>,
    opening: Opening,
    /// The beginning of a frame.
    partial: Vec<u8>,
    unpacker: Unpacker,
    ready: VecDeque<Frame>,
    ready_bytes: usize,
    /// Whether the stream has ended well.
    is_complete: bool,
    traffic: Arc<Traffic>,
}

impl Inbox {
    pub(super) fn new(
        queue: mpsc::Sender<Result<Frame, SyncError>>,
        opening: Opening,
        traffic: Arc<Traffic>,
    ) -> Result<Self, SyncError> {
        Ok(Self {
            queue: Some(queue),
            opening,
            partial: Vec::new(),
            unpacker: Unpacker::new()?,
            ready: VecDeque::new(),
            ready_bytes: 0,
            is_complete: false,
            traffic,
        })
    }

    /// Forgets the beginning of a frame: it is sent again.
    pub(super) fn forget_partial(&mut self) {
        self.partial.clear();
    }

    /// Receives and passes on frames until nothing more can come on this connection.
    pub(super) async fn receive<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        closed: &mut Pending<'static, ()>,
        counters: &Counters,
    ) -> Stop {
        loop {
            if let Err(error) = self.unpack() {
                return Stop::Invalid(error);
            }
            if self.is_complete && self.is_passed_on() {
                self.queue = None;
                if !counters.is_resumable() {
                    return Stop::Complete;
                }
            }
            let may_read = self.may_read(counters);
            let missing = match self.missing() {
                Ok(missing) => missing,
                Err(error) => return Stop::Invalid(error),
            };
            tokio::select! {
                biased;
                passed_on = pass_on(self.queue.as_ref(), &mut self.ready, &mut self.ready_bytes),
                    if !self.ready.is_empty() => {
                    if !passed_on && self.is_unread(counters) { return Stop::Complete }
                }
                () = dropped(self.queue.as_ref()) => {
                    if self.is_unread(counters) { return Stop::Complete }
                }
                read = read_some(reader, &mut self.partial, missing), if may_read => match read {
                    Ok(0) => match self.ended(counters) {
                        Ok(()) => self.is_complete = true,
                        Err(stop) => return stop,
                    },
                    Ok(_) => if let Err(error) = self.take_frame(counters) {
                        return Stop::Invalid(error);
                    },
                    Err(error) => return Stop::Broken(Some(error)),
                },
                () = &mut *closed, if !may_read => return Stop::Broken(None),
            }
        }
    }

    /// Passes on what has arrived while there is no connection. Never returns.
    pub(super) async fn wait(&mut self, counters: &Counters) {
        loop {
            // What cannot be unpacked is an error once there is a connection again.
            drop(self.unpack());
            if self.is_complete && self.is_passed_on() {
                self.queue = None;
            }
            tokio::select! {
                biased;
                passed_on = pass_on(self.queue.as_ref(), &mut self.ready, &mut self.ready_bytes),
                    if !self.ready.is_empty() => {
                    if !passed_on { self.is_unread(counters); }
                }
                () = dropped(self.queue.as_ref()) => { self.is_unread(counters); }
            }
        }
    }

    /// Passes on what has arrived after the end of the stream, and then the error with which it
    /// ended.
    pub(super) async fn finish(mut self, error: Option<SyncError>) {
        while self.unpack().is_ok() && !self.is_passed_on() {
            if !pass_on(self.queue.as_ref(), &mut self.ready, &mut self.ready_bytes).await {
                return;
            }
        }
        if let (Some(queue), Some(error)) = (self.queue, error) {
            // Fails only if the reader has been dropped.
            drop(queue.send(Err(error)).await);
        }
    }

    fn is_passed_on(&self) -> bool {
        self.ready.is_empty() && self.unpacker.is_empty()
    }

    fn may_read(&self, counters: &Counters) -> bool {
        let has_room = self.ready_bytes < AHEAD_BYTES && self.unpacker.is_empty();
        has_room && (!self.is_complete || counters.is_resumable())
    }

    /// Nobody reads what arrives. Returns whether nothing needs to be received any more.
    fn is_unread(&mut self, counters: &Counters) -> bool {
        self.queue = None;
        self.ready.clear();
        self.ready_bytes = 0;
        counters.set_unread_here();
        !counters.is_resumable()
    }

    /// The end of the bytes: the end of the stream, if it does not survive its connection.
    fn ended(&self, counters: &Counters) -> Result<(), Stop> {
        if !counters.survives() {
            if self.opening == Opening::Expected && self.partial.is_empty() {
                return Err(Stop::Invalid(SyncError::Gone));
            }
            if self.partial.is_empty() && !counters.is_resumable() {
                return Ok(());
            }
            return Err(Stop::Broken(Some(io::ErrorKind::UnexpectedEof.into())));
        }
        Err(Stop::Broken(None))
    }

    fn unpack(&mut self) -> Result<(), SyncError> {
        while !self.unpacker.is_empty() && self.ready_bytes < AHEAD_BYTES {
            if self.queue.is_none() {
                self.unpacker.forget();
                return Ok(());
            }
            let (ready, ready_bytes) = (&mut self.ready, &mut self.ready_bytes);
            self.unpacker.step(|frame| {
                *ready_bytes += frame.size();
                ready.push_back(frame);
            })?;
        }
        Ok(())
    }

    /// The number of bytes after which the partial frame, or a part of it that tells its
    /// length, is complete.
    fn missing(&self) -> Result<usize, SyncError> {
        let have = self.partial.len();
        let whole = match self.opening {
            Opening::Expected => match self.partial.first_chunk::<PREFACE_BYTES>() {
                Some(start) => PREFACE_BYTES + Preface::parse_start(*start)?.1,
                None => PREFACE_BYTES,
            },
            Opening::Read => match self.partial.first_chunk::<HEADER_BYTES>() {
                Some(header) => HEADER_BYTES + Header::parse(*header)?.length,
                None => HEADER_BYTES,
            },
        };
        Ok(whole - have)
    }

    /// Takes the frame if it is complete.
    fn take_frame(&mut self, counters: &Counters) -> Result<(), SyncError> {
        if self.missing()? > 0 {
            return Ok(());
        }
        if self.opening == Opening::Expected {
            let (start, body) =
                self.partial.split_first_chunk::<PREFACE_BYTES>().ok_or(SyncError::Gone)?;
            let preface = Preface::parse_body(Preface::parse_start(*start)?.0, body)?;
            if matches!(preface, Preface::Welcome { .. }) {
                counters.welcome();
            }
            self.ready.push_back(Frame::Preface(preface));
            self.opening = Opening::Read;
            self.partial.clear();
            return Ok(());
        }
        let frame = std::mem::take(&mut self.partial);
        self.traffic.add_received(frame.len());
        counters.set_heard();
        let (header, payload) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(SyncError::Gone)?;
        let kind = Header::parse(*header)?.kind;
        if kind != Kind::Control {
            counters.add_received(frame.len());
        }
        match kind {
            Kind::Control => return self.control(codec::decode(payload)?, frame.len(), counters),
            _ if self.queue.is_none() => {}
            Kind::Message => self.push(Frame::Message(payload.to_vec())),
            Kind::Raw => self.push(Frame::Raw(payload.to_vec())),
            Kind::Compressed => self.unpacker.begin(payload.to_vec()),
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        self.ready_bytes += frame.size();
        self.ready.push_back(frame);
    }

    fn control(
        &mut self,
        control: Control,
        bytes: usize,
        counters: &Counters,
    ) -> Result<(), SyncError> {
        if !counters.is_resumable() {
            return Err(SyncError::out_of_turn(&control));
        }
        match control {
            Control::Acknowledge { received } => {
                counters.acknowledge(received);
                return Ok(());
            }
            Control::Stop => counters.set_unread_there(),
            Control::End => {
                self.is_complete = true;
                counters.set_end_received();
            }
            Control::Open { .. }
            | Control::Resume { .. }
            | Control::Resumed { .. }
            | Control::Refused(_)
            | Control::Cancel { .. } => return Err(SyncError::out_of_turn(&control)),
        }
        counters.add_received(bytes);
        Ok(())
    }
}

/// Passes on the first frame. Returns false if the queue has no reader any more.
async fn pass_on(
    queue: Option<&mpsc::Sender<Result<Frame, SyncError>>>,
    ready: &mut VecDeque<Frame>,
    ready_bytes: &mut usize,
) -> bool {
    let Some(queue) = queue else { return false };
    let Ok(permit) = queue.reserve().await else { return false };
    if let Some(frame) = ready.pop_front() {
        *ready_bytes -= frame.size();
        permit.send(Ok(frame));
    }
    true
}

/// Completes when the reader of frames has been dropped.
async fn dropped(queue: Option<&mpsc::Sender<Result<Frame, SyncError>>>) {
    match queue {
        Some(queue) => queue.closed().await,
        None => std::future::pending().await,
    }
}

/// Reads some of the missing bytes; returns their number, 0 at the end.
async fn read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    partial: &mut Vec<u8>,
    missing: usize,
) -> io::Result<usize> {
    let most = missing.min(READ_BYTES);
    partial.reserve(most);
    reader.take(most as u64).read_buf(partial).await
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
