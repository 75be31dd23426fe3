//! The bytes of one direction that the other end has not acknowledged, so that they can be
//! sent again on another connection.

use std::collections::VecDeque;

use crate::error::SyncError;

/// Bytes that are kept at most, plus one frame: the sender waits for acknowledgements then.
/// With a round trip of 30 ms this allows 2 Gbit/s.
pub(super) const KEPT_BYTES_MAX: usize = 8 << 20;

/// Bytes that were encoded and are not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Kept {
    chunks: VecDeque<Vec<u8>>,
    /// The number of bytes before the first chunk, since the stream was opened.
    begin: u64,
    bytes: usize,
    /// The number of chunks that were written to the present connection.
    written: usize,
    written_bytes: usize,
}

impl Kept {
    /// Adds whole frames.
    pub(super) fn push(&mut self, frames: Vec<u8>) {
        self.bytes += frames.len();
        self.chunks.push_back(frames);
    }

    /// The number of bytes that were acknowledged.
    pub(super) const fn begin(&self) -> u64 {
        self.begin
    }

    /// The number of bytes that were encoded, since the stream was opened.
    pub(super) const fn end(&self) -> u64 {
        self.begin + self.bytes as u64
    }

    /// Whether more may be encoded.
    pub(super) const fn has_room(&self) -> bool {
        self.bytes < KEPT_BYTES_MAX
    }

    /// The number of bytes that are still to be written.
    pub(super) const fn unwritten_bytes(&self) -> usize {
        self.bytes - self.written_bytes
    }

    /// The next chunk to write.
    pub(super) fn unwritten(&self) -> Option<&[u8]> {
        self.chunks.get(self.written).map(Vec::as_slice)
    }

    /// The next chunk was written.
    pub(super) fn advance(&mut self) {
        if let Some(chunk) = self.chunks.get(self.written) {
            self.written += 1;
            self.written_bytes += chunk.len();
        }
    }

    /// Forgets what was written: the other end will not ask for it again.
    pub(super) fn forget_written(&mut self) {
        self.forget(self.begin + self.written_bytes as u64);
    }

    /// Forgets what was not written: the other end does not read it.
    pub(super) fn forget_unwritten(&mut self) {
        self.chunks.truncate(self.written);
        self.bytes = self.written_bytes;
    }

    /// The other end has received so many bytes since the stream was opened. Fails if that is
    /// more than was encoded: of a chunk that was written in part, it may have whole frames.
    pub(super) fn acknowledge(&mut self, received: u64) -> Result<(), SyncError> {
        if received > self.end() {
            return Err(SyncError::violation("it acknowledges what was not sent"));
        }
        self.forget(received);
        Ok(())
    }

    /// Begins again, on another connection, behind the bytes that the other end has received.
    /// Fails if it needs some that are not kept.
    pub(super) fn resume(&mut self, received: u64) -> Result<(), SyncError> {
        if received < self.begin || received > self.end() {
            return Err(SyncError::violation("it resumes where nothing is kept"));
        }
        self.forget(received);
        // It may have received a part of the first chunk, which is several frames.
        let done = usize::try_from(received - self.begin).unwrap_or(0);
        if let Some(first) = self.chunks.front_mut().filter(|_| done > 0) {
            first.drain(..done);
            self.begin = received;
            self.bytes -= done;
        }
        (self.written, self.written_bytes) = (0, 0);
        Ok(())
    }

    /// Forgets whole chunks before a place.
    fn forget(&mut self, until: u64) {
        while let Some(first) = self.chunks.front()
            && self.begin + first.len() as u64 <= until
        {
            let length = first.len();
            self.begin += length as u64;
            self.bytes -= length;
            self.written = self.written.saturating_sub(1);
            self.written_bytes = self.written_bytes.saturating_sub(length);
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(chunks: &[&[u8]]) -> Kept {
        let mut kept = Kept::default();
        chunks.iter().for_each(|chunk| kept.push(chunk.to_vec()));
        kept
    }

    fn rest(kept: &mut Kept) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(chunk) = kept.unwritten() {
            rest.extend(chunk);
            kept.advance();
        }
        rest
    }

    #[test]
    fn every_place_that_was_not_acknowledged_can_be_resumed() {
        let all = b"abcdefghij";
        for written in 0..=4 {
            for acknowledged in [0, 3, 4, 8] {
                for received in 0..=all.len() as u64 {
                    let mut kept = kept(&[b"abc", b"d", b"efgh", b"ij"]);
                    (0..written).for_each(|_| kept.advance());
                    kept.acknowledge(acknowledged).unwrap();
                    let resumed = kept.resume(received);
                    assert_eq!(resumed.is_ok(), received >= acknowledged, "{received}");
                    if resumed.is_ok() {
                        let place = usize::try_from(received).unwrap();
                        assert_eq!(rest(&mut kept), all[place..]);
                        assert_eq!(kept.unwritten_bytes(), 0);
                    }
                }
            }
        }
        assert!(kept(&[b"abc"]).resume(4).is_err());
        assert!(kept(&[b"abc"]).acknowledge(4).is_err());
        assert!(kept(&[b"abc"]).acknowledge(1).is_ok());
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut kept = kept(&[&vec![0; KEPT_BYTES_MAX - 1]]);
        assert!(kept.has_room());
        kept.push(vec![1; 2]);
        assert!(!kept.has_room());
        kept.advance();
        kept.acknowledge(KEPT_BYTES_MAX as u64 - 1).unwrap();
        assert_eq!((kept.has_room(), kept.unwritten_bytes()), (true, 2));
        kept.push(vec![2; 5]);
        kept.advance();
        kept.forget_unwritten();
        assert_eq!((kept.bytes, kept.unwritten()), (2, None));
        kept.forget_written();
        assert_eq!((kept.bytes, kept.begin), (0, KEPT_BYTES_MAX as u64 + 1));
    }
}
