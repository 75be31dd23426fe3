//! The output of a detached run, in files: each piece with the stream that it came from.
//!
//! A piece is one byte for the stream, four for the length (little endian), and its bytes.
//! Pieces follow each other in segments, files with the position of their first byte in their
//! names. Of these the last two are kept, so that a transcript takes at most 64 MiB; positions
//! count all that was ever written.
//!
//! One process appends, others read meanwhile. A piece that is not complete yet is read later,
//! and one that a killed writer has left so is never read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::message::Stream;

use super::record_file::{self, PRIVATE};

/// Bytes after which a segment is followed by the next one.
const SEGMENT_BYTES: u64 = 32 << 20;

/// How many segments are kept.
const SEGMENTS_KEPT: usize = 2;

/// Most bytes of a piece.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 10;

/// Bytes in front of those of a piece.
const HEADER_BYTES: usize = 5;

/// Bytes at the end of a transcript in which its last line is looked for.
const LAST_BYTES: u64 = 512;

/// The beginning of a segment's name.
const NAME: &str = "output-";

/// Output with its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stream: Stream,
    pub(super) bytes: Vec<u8>,
}

/// Appends to a transcript.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    segment_bytes: u64,
    /// The segment that is written, with the position of its first byte and its size.
    file: File,
    start: u64,
    size: u64,
    /// Bytes of output that could not be written.
    unrecorded: u64,
}

impl Writer {
    /// Begins a transcript in a directory that has none.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        Self::with_segments(directory, SEGMENT_BYTES)
    }

    fn with_segments(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let file = new_segment(directory, 0)?;
        let directory = directory.to_owned();
        Ok(Self { directory, segment_bytes, file, start: 0, size: 0, unrecorded: 0 })
    }

    /// Appends output, at most [`PIECE_BYTES_MAX`]. What cannot be written, as on a full disk, is
    /// counted: the run goes on.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if self.try_append(stream, bytes).is_err() {
            self.unrecorded += bytes.len() as u64;
            // Half a piece would hide those that follow.
            self.file.set_len(self.size).ok();
        }
    }

    /// Bytes of output that could not be written.
    pub(super) const fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    fn try_append(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.size >= self.segment_bytes {
            self.begin_segment()?;
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut piece = Vec::with_capacity(HEADER_BYTES + bytes.len());
        piece.push(match stream {
            Stream::Output => 1,
            Stream::Error => 2,
            Stream::Terminal => 3,
        });
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(bytes);
        self.file.write_all(&piece)?;
        self.size += piece.len() as u64;
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let start = self.start + self.size;
        self.file = new_segment(&self.directory, start)?;
        (self.start, self.size) = (start, 0);
        let segments = segments(&self.directory)?;
        let old = segments.len().saturating_sub(SEGMENTS_KEPT);
        for start in &segments[..old] {
            std::fs::remove_file(segment(&self.directory, *start))?;
        }
        Ok(())
    }
}

/// Reads a transcript.
#[derive(Debug)]
pub(super) struct Reader {
    directory: PathBuf,
    /// The position of the next byte to read.
    at: u64,
    segment: Option<Segment>,
    /// The beginning of a piece that is not complete.
    partial: Vec<u8>,
    skipped: u64,
}

/// A segment that is read.
#[derive(Debug)]
struct Segment {
    file: File,
    start: u64,
    /// Whether the next one is there, so that nothing is appended any more.
    is_complete: bool,
}

impl Reader {
    /// At the beginning of the transcript in a directory.
    pub(super) fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, at: 0, segment: None, partial: Vec::new(), skipped: 0 }
    }

    /// The next pieces; `None` if there are no more for now. Fails if the transcript cannot be
    /// read or is damaged.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<Piece>>> {
        loop {
            if let Some(segment) = &mut self.segment {
                let mut buffer = vec![0; 4 * PIECE_BYTES_MAX];
                let read = segment.file.read(&mut buffer)?;
                self.at += read as u64;
                self.partial.extend_from_slice(&buffer[..read]);
                let pieces = self.take_pieces()?;
                if !pieces.is_empty() {
                    return Ok(Some(pieces));
                }
                if read > 0 {
                    continue;
                }
            }
            let Some(start) = self.next_segment()? else { return Ok(None) };
            match &mut self.segment {
                // What was appended since the last read comes first.
                Some(segment) if !segment.is_complete => segment.is_complete = true,
                _ => self.open(start)?,
            }
        }
    }

    /// Bytes that were dropped before they could be read, since this was asked last.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Where the segment behind the one that is read begins, or the first one that is left.
    fn next_segment(&self) -> io::Result<Option<u64>> {
        let read = self.segment.as_ref().map(|segment| segment.start);
        let segments = segments(&self.directory)?;
        Ok(segments.into_iter().find(|start| read.is_none_or(|read| *start > read)))
    }

    fn open(&mut self, start: u64) -> io::Result<()> {
        match record_file::open(&segment(&self.directory, start)) {
            Ok(file) => self.segment = Some(Segment { file, start, is_complete: false }),
            // Deleted meanwhile: a later one is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        self.skipped += start.saturating_sub(self.at);
        self.at = start;
        self.partial.clear();
        Ok(())
    }

    fn take_pieces(&mut self) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = self.partial.as_slice();
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [stream, length @ ..] = *header;
            let stream = match stream {
                1 => Stream::Output,
                2 => Stream::Error,
                3 => Stream::Terminal,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            let length = u32::from_le_bytes(length) as usize;
            if length > PIECE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some((bytes, after)) = behind.split_at_checked(length) else { break };
            pieces.push(Piece { stream, bytes: bytes.to_vec() });
            rest = after;
        }
        self.partial = rest.to_vec();
        Ok(pieces)
    }
}

/// The lock of cargo's for which the command waits, by the last line of its output.
pub(super) fn blocked_on(directory: &Path) -> Option<String> {
    let last = segments(directory).ok()?.pop()?;
    let mut file = record_file::open(&segment(directory, last)).ok()?;
    let begin = file.metadata().ok()?.len().saturating_sub(LAST_BYTES);
    file.seek(SeekFrom::Start(begin)).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes).ok()?;
    lock_of_cargo(&bytes)
}

/// The lock that the last line of this output names, as in `Blocking waiting for file lock on
/// package cache`. Pure.
fn lock_of_cargo(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.trim_end().rsplit('\n').next()?;
    let (_, lock) = line.split_once("waiting for file lock on ")?;
    Some(format!("cargo's lock of the {}", lock.strip_prefix("the ").unwrap_or(lock)))
}

fn segment(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{NAME}{start}"))
}

fn new_segment(directory: &Path, start: u64) -> io::Result<File> {
    let path = segment(directory, start);
    OpenOptions::new().append(true).create_new(true).mode(PRIVATE).open(path)
}

/// The positions at which segments begin, sorted.
fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name();
            let start = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse::<u64>().ok());
            starts.extend(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut Reader) -> String {
        let mut text = String::new();
        while let Some(pieces) = reader.next().unwrap() {
            for piece in pieces {
                text.push(if piece.stream == Stream::Output { 'o' } else { 'e' });
                text.push_str(std::str::from_utf8(&piece.bytes).unwrap());
            }
        }
        text
    }

    #[test]
    fn pieces_are_read_once_in_order_and_when_they_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(directory.path());
        assert_eq!(all(&mut reader), "");
        let mut writer = Writer::create(directory.path()).unwrap();
        writer.append(Stream::Output, b"1");
        writer.append(Stream::Error, b"2");
        assert_eq!(all(&mut reader), "o1e2");
        assert_eq!(all(&mut reader), "");
        writer.file.write_all(&[1, 2, 0, 0, 0, b'3']).unwrap();
        assert_eq!(all(&mut reader), "");
        writer.file.write_all(b"4").unwrap();
        assert_eq!(all(&mut reader), "o34");
        assert_eq!(all(&mut Reader::new(directory.path())), "o1e2o34");
        writer.file.write_all(&[7; 5]).unwrap();
        assert_eq!(reader.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_lock_of_cargo_is_seen_in_the_last_line() {
        let blocked =
            "\u{1b}[1m\u{1b}[36m    Blocking\u{1b}[0m waiting for file lock on build directory";
        let lock = Some("cargo's lock of the build directory".to_owned());
        assert_eq!(lock_of_cargo(format!("x\n{blocked}\r\n").as_bytes()), lock);
        assert_eq!(lock_of_cargo(format!("{blocked}\n   Compiling x\n").as_bytes()), None);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(blocked_on(directory.path()), None);
        let mut writer = Writer::create(directory.path()).unwrap();
        writer.append(Stream::Error, &[b'x'; 2000]);
        writer.append(Stream::Error, format!("{blocked}\n").as_bytes());
        assert_eq!(blocked_on(directory.path()), lock);
    }

    #[test]
    fn what_is_no_file_is_no_segment() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(directory.path()).unwrap();
        writer.append(Stream::Output, b"1");
        std::fs::create_dir(segment(directory.path(), 3)).unwrap();
        nix::unistd::mkfifo(&segment(directory.path(), 9), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(all(&mut Reader::new(directory.path())), "o1");
    }

    #[test]
    fn two_segments_are_kept_and_a_reader_learns_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::with_segments(directory.path(), 18).unwrap();
        let (mut reader, mut slow) = (Reader::new(directory.path()), Reader::new(directory.path()));
        let mut read = String::new();
        writer.append(Stream::Output, b"0000");
        assert_eq!(slow.next().unwrap().unwrap().len(), 1);
        for number in 1..10 {
            writer.append(Stream::Output, format!("{number:04}").as_bytes());
            read += &all(&mut reader);
        }
        assert_eq!(read, (0..10).map(|number| format!("o{number:04}")).collect::<String>());
        assert_eq!(reader.take_skipped(), 0);
        assert_eq!(segments(directory.path()).unwrap(), [54, 72]);
        assert_eq!(all(&mut slow), "o0001o0006o0007o0008o0009");
        assert_eq!((slow.take_skipped(), slow.take_skipped()), (36, 0));
        let mut late = Reader::new(directory.path());
        assert_eq!(all(&mut late), "o0006o0007o0008o0009");
        assert_eq!(late.take_skipped(), 54);
    }
}
