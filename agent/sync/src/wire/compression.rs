//! The zstd stream of one direction, piece by piece.

use std::io;

use burst_protocol::frame::{HEADER_BYTES, Header, Kind};
use burst_protocol::limit::FRAME_BYTES_MAX;
use zstd::stream::raw::{Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::frame::Frame;
use crate::error::SyncError;

/// Largest zstd window that a peer may request, as the binary logarithm of bytes.
const WINDOW_LOG_MAX: u32 = 23;

/// Bytes that are decompressed at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Compresses a piece and flushes, so that the other end can decompress all of it.
pub(super) fn compress(encoder: &mut Encoder<'static>, piece: &[u8]) -> io::Result<Vec<u8>> {
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

/// Decompresses compressed frames to the frames in them. It does so piece by piece, so that a
/// frame that decompresses to gigabytes needs no more memory than the cap of a frame.
pub(super) struct Unpacker {
    decoder: Decoder<'static>,
    /// The compressed frame, and how much of it is decompressed.
    packed: Option<(Vec<u8>, usize)>,
    /// Decompressed bytes of an incomplete frame.
    unpacked: Vec<u8>,
}

impl Unpacker {
    /// At the beginning of the zstd stream.
    pub(super) fn new() -> Result<Self, SyncError> {
        let mut decoder = Decoder::new().map_err(SyncError::Compression)?;
        let limit = zstd::stream::raw::DParameter::WindowLogMax(WINDOW_LOG_MAX);
        decoder.set_parameter(limit).map_err(SyncError::Compression)?;
        Ok(Self { decoder, packed: None, unpacked: Vec::new() })
    }

    /// Whether the last compressed frame is decompressed.
    pub(super) const fn is_empty(&self) -> bool {
        self.packed.is_none()
    }

    /// Takes the next compressed frame; the last one is decompressed.
    pub(super) fn begin(&mut self, packed: Vec<u8>) {
        self.packed = Some((packed, 0));
    }

    /// Forgets the last compressed frame: the stream has no reader any more.
    pub(super) fn forget(&mut self) {
        self.packed = None;
    }

    /// Decompresses a piece, and calls `pass_on` with each frame that is complete then.
    pub(super) fn step(&mut self, pass_on: impl FnMut(Frame)) -> Result<(), SyncError> {
        let Some((packed, at)) = &mut self.packed else { return Ok(()) };
        let mut input = InBuffer::around(packed.as_slice());
        input.set_pos(*at);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut output = OutBuffer::around(buffer.as_mut_slice());
        self.decoder.run(&mut input, &mut output).map_err(SyncError::Compression)?;
        let written = output.pos();
        *at = input.pos();
        if *at == packed.len() && written < buffer.len() {
            self.packed = None;
        }
        self.unpacked.extend(&buffer[..written]);
        self.split(pass_on)
    }

    fn split(&mut self, mut pass_on: impl FnMut(Frame)) -> Result<(), SyncError> {
        let mut at = 0;
        while let Some(header) = self.unpacked[at..].first_chunk::<HEADER_BYTES>() {
            let Header { kind, length } = Header::parse(*header)?;
            let body = at + HEADER_BYTES;
            let Some(payload) = self.unpacked.get(body..body + length) else { break };
            pass_on(match kind {
                Kind::Message => Frame::Message(payload.to_vec()),
                Kind::Raw => Frame::Raw(payload.to_vec()),
                Kind::Compressed => {
                    return Err(SyncError::violation("a compressed frame contains another"));
                }
                Kind::Control => {
                    return Err(SyncError::violation(
                        "a compressed frame contains a control message",
                    ));
                }
            });
            at = body + length;
        }
        self.unpacked.drain(..at);
        Ok(())
    }
}
