//! A stream over a connection that knows neither silence nor the ends of single directions: TCP.
//! It travels in [pieces](burst_protocol::piece).
//!
//! Both ends say that they are alive, five times in the idle timeout if they have nothing else to
//! say, until both directions have ended. An end from which nothing comes for that long is gone.
//! That is not asked while what has come is not read here; the kernel's own means, keep-alive and
//! `TCP_USER_TIMEOUT`, would take an end for gone that is alive and does not read for a while,
//! as an agent does in whose queue a request waits. A connection that closes before both ends have
//! told the end of their directions has broken.
//!
//! What is written before the reader is dropped is sent before the other end is told that nothing
//! more is read here, and so is the end of this direction.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use burst_protocol::limit::PIECE_BYTES_MAX;
use burst_protocol::piece::{Piece, WORD_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, split};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::transport::IdleTimeout;

/// Bytes that wait in memory for the stream's reader, and for the connection.
const WAITING_BYTES: usize = 64 << 10;

/// How often an end says that it is alive in the time after which it counts as gone.
const ALIVE_EACH: u32 = 5;

/// Whether the end of a direction has come: of the other end's, as far as was received; of our
/// own, as far as it was asked for or sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<AtomicBool>);

impl Ending {
    /// Whether it has.
    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn come(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The direction of a stream from the other end.
#[derive(Debug)]
pub struct Reader {
    received: DuplexStream,
    ending: Ending,
}

/// The direction of a stream to the other end. Ends when it is shut down or dropped.
#[derive(Debug)]
pub struct Writer {
    written: DuplexStream,
    ending: Ending,
}

/// Carries a stream over a connection, in a task that ends with both directions. Has to be
/// called within a runtime.
pub(crate) fn carry(
    connection: impl AsyncRead + AsyncWrite + Send + 'static,
    idle_timeout: IdleTimeout,
) -> (Reader, Writer, Ending, JoinHandle<()>) {
    let (received, to_reader) = tokio::io::duplex(WAITING_BYTES);
    let (written, from_writer) = tokio::io::duplex(WAITING_BYTES);
    let (ending, writer_ending) = (Ending::default(), Ending::default());
    let reader = Reader { received, ending: ending.clone() };
    let writer = Writer { written, ending: writer_ending.clone() };
    let (end, gone_after) = (ending.clone(), idle_timeout.gone_after);
    let carrying = tokio::spawn(async move {
        let (read, write) = split(connection);
        let shared = Shared { gone_after, ending: end, writer_ending, ..Shared::default() };
        let sending = shared.send(from_writer, write);
        let receiving = shared.receive(read, to_reader);
        if let Err(error) = tokio::try_join!(sending, receiving) {
            tracing::debug!("a TCP connection has broken: {error}");
        }
    });
    (reader, writer, ending, carrying)
}

/// What the two directions of a connection tell each other.
#[derive(Debug, Default)]
struct Shared {
    gone_after: Duration,
    ending: Ending,
    /// Whether nothing more is written here.
    writer_ending: Ending,
    /// Whether the end of our direction was sent, or is being sent.
    own_ending: Ending,
    /// Notified when the other end has ended its direction.
    ended: Notify,
    /// Notified when the other end reads no more.
    unread_there: Notify,
    /// Notified when what arrives is not read here.
    unread_here: Notify,
}

impl Shared {
    /// Sends what is written, until both directions have ended.
    async fn send(
        &self,
        from_writer: DuplexStream,
        mut connection: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut buffer = vec![0; WORD_BYTES + usize::from(PIECE_BYTES_MAX)];
        let interval = self.gone_after / ALIVE_EACH;
        let mut from_writer = Some(from_writer);
        let mut stops_after_end = false;
        loop {
            let is_open = from_writer.is_some();
            let (word, bytes) = buffer.split_at_mut(WORD_BYTES);
            let written = async {
                match &mut from_writer {
                    Some(from_writer) => from_writer.read(bytes).await.unwrap_or(0),
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                biased;
                () = self.unread_here.notified() => Piece::Stop,
                () = self.unread_there.notified(), if is_open => Piece::End,
                () = self.ended.notified(), if !is_open => break,
                length = written => match u16::try_from(length).unwrap_or_default() {
                    0 => Piece::End,
                    length => Piece::Bytes(length),
                },
                () = tokio::time::sleep(interval) => Piece::Alive,
            };
            if piece == Piece::Stop && is_open && self.writer_ending.has_come() {
                stops_after_end = true;
                continue;
            }
            if piece == Piece::End {
                self.own_ending.come();
            }
            let length = match piece {
                Piece::Bytes(length) => length.into(),
                Piece::Alive | Piece::Stop | Piece::End => 0,
            };
            word.copy_from_slice(&piece.to_bytes());
            connection.write_all(&buffer[..WORD_BYTES + length]).await?;
            connection.flush().await?;
            if piece == Piece::End {
                from_writer = None;
                if stops_after_end {
                    self.unread_here.notify_one();
                }
            }
        }
        connection.shutdown().await
    }

    /// Receives what the other end sends, until both directions have ended.
    async fn receive(
        &self,
        mut connection: impl AsyncRead + Unpin,
        to_reader: DuplexStream,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES_MAX.into()];
        let mut to_reader = Some(to_reader);
        loop {
            let mut word = [0; WORD_BYTES];
            match self.fill(&mut connection, &mut word).await {
                // The other end knows that both directions have ended.
                Err(error) if self.is_over(&error) => return Ok(()),
                filled => filled?,
            }
            match Piece::parse(word).map_err(io::Error::other)? {
                Piece::Alive => {}
                Piece::Stop => self.unread_there.notify_one(),
                Piece::End => {
                    self.ending.come();
                    self.ended.notify_one();
                    to_reader = None;
                }
                Piece::Bytes(_) if self.ending.has_come() => {
                    return Err(io::Error::other("there are bytes behind the end of a stream"));
                }
                Piece::Bytes(length) => {
                    let bytes = &mut buffer[..length.into()];
                    self.fill(&mut connection, bytes).await?;
                    if let Some(reader) = &mut to_reader
                        && reader.write_all(bytes).await.is_err()
                    {
                        to_reader = None;
                        self.unread_here.notify_one();
                    }
                }
            }
        }
    }

    /// Whether an error is the end of the connection after those of both directions.
    fn is_over(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::UnexpectedEof
            && self.ending.has_come()
            && self.own_ending.has_come()
    }

    /// Fills a buffer. Fails if nothing comes for too long.
    async fn fill(
        &self,
        connection: &mut (impl AsyncRead + Unpin),
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut have = 0;
        while have < buffer.len() {
            let read = timeout(self.gone_after, connection.read(&mut buffer[have..])).await;
            match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => have += count,
            }
        }
        Ok(())
    }
}

impl AsyncRead for Reader {
    /// Fails where the connection has broken.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.received).poll_read(context, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        match is_end && !self.ending.has_come() {
            true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.written).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.written).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ending.come();
        Pin::new(&mut self.written).poll_shutdown(context)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ending.come();
    }
}

#[cfg(test)]
pub(crate) use self::tests::ByHand;

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: IdleTimeout = IdleTimeout { gone_after: Duration::from_secs(15) };
    const HOUR: Duration = Duration::from_secs(3600);

    /// The end of a client that is read and written by hand.
    pub(crate) struct ByHand<C>(pub(crate) C);

    impl<C: AsyncRead + AsyncWrite + Unpin> ByHand<C> {
        pub(crate) async fn say(&mut self, bytes: &[u8]) {
            let word = Piece::Bytes(bytes.len().try_into().unwrap()).to_bytes();
            self.0.write_all(&[&word, bytes].concat()).await.unwrap();
            self.0.flush().await.unwrap();
        }

        async fn word(&mut self, piece: Piece) {
            self.0.write_all(&piece.to_bytes()).await.unwrap();
        }

        pub(crate) async fn end(&mut self) {
            self.word(Piece::End).await;
            self.0.flush().await.unwrap();
        }

        /// The next piece that is not a sign of life, with its bytes.
        async fn next(&mut self) -> (Piece, Vec<u8>) {
            loop {
                let mut word = [0; WORD_BYTES];
                self.0.read_exact(&mut word).await.unwrap();
                let (piece, length) = match Piece::parse(word).unwrap() {
                    Piece::Alive => continue,
                    Piece::Bytes(length) => (Piece::Bytes(length), length),
                    piece => (piece, 0),
                };
                let mut bytes = vec![0; length.into()];
                self.0.read_exact(&mut bytes).await.unwrap();
                return (piece, bytes);
            }
        }

        /// The bytes of the next piece that is not a sign of life.
        pub(crate) async fn piece(&mut self) -> Vec<u8> {
            match self.next().await {
                (Piece::Bytes(_), bytes) => bytes,
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    type End = (Reader, Writer, Ending, JoinHandle<()>);

    fn ends() -> (End, End) {
        let (near, far) = tokio::io::duplex(100_000);
        (carry(near, IDLE), carry(far, IDLE))
    }

    fn by_hand() -> (ByHand<DuplexStream>, End) {
        let (near, far) = tokio::io::duplex(100_000);
        (ByHand(near), carry(far, IDLE))
    }

    async fn read_all(reader: &mut Reader) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await?;
        Ok(all)
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_ends_by_itself() {
        let ((mut reader, mut writer, ending, task), far) = ends();
        let (mut far_reader, mut far_writer, far_ending, far_task) = far;
        writer.write_all(b"question").await.unwrap();
        writer.shutdown().await.unwrap();
        assert_eq!(read_all(&mut far_reader).await.unwrap(), b"question");
        assert!(far_ending.has_come() && !ending.has_come());
        tokio::time::sleep(HOUR).await;
        // More than any buffer holds.
        let answer = vec![7; 5 << 20];
        let sent = async {
            far_writer.write_all(&answer).await.unwrap();
            drop(far_writer);
        };
        let (read, ()) = tokio::join!(read_all(&mut reader), sent);
        assert!(read.unwrap() == answer && ending.has_come());
        // Nothing is left behind.
        task.await.unwrap();
        far_task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_says_nothing_or_does_not_read_for_an_hour_is_alive() {
        let ((mut reader, mut writer, ..), (mut far_reader, mut far_writer, ..)) = ends();
        tokio::time::sleep(HOUR).await;
        let sent = vec![7; 1 << 20];
        let sending = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let reading = async {
            tokio::time::sleep(HOUR).await;
            read_all(&mut far_reader).await.unwrap()
        };
        let ((), read) = tokio::join!(sending, reading);
        assert!(read == sent);
        far_writer.write_all(b"thanks").await.unwrap();
        drop(far_writer);
        assert_eq!(read_all(&mut reader).await.unwrap(), b"thanks");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_breaks_a_connection() {
        let (mut client, (mut reader, mut writer, ending, task)) = by_hand();
        let began = tokio::time::Instant::now();
        client.say(b"some").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        client.word(Piece::Alive).await;
        assert!(read_all(&mut reader).await.is_err() && !ending.has_come());
        assert_eq!(began.elapsed(), Duration::from_secs(25));
        task.await.unwrap();
        assert_eq!(writer.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// As of a machine that is switched off behind the end of its direction.
    #[tokio::test(start_paused = true)]
    async fn silence_behind_the_end_of_a_direction_breaks_a_connection() {
        for is_ended_here in [false, true] {
            let (mut client, (mut reader, mut writer, _, task)) = by_hand();
            let began = tokio::time::Instant::now();
            client.end().await;
            assert_eq!(read_all(&mut reader).await.unwrap(), b"");
            if is_ended_here {
                writer.shutdown().await.unwrap();
            }
            timeout(HOUR, task).await.unwrap().unwrap();
            assert_eq!(began.elapsed(), IDLE.gone_after);
            assert!(writer.write(b"x").await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_once_it_closes_behind_both_ends() {
        let shared = Shared::default();
        let [closed, silent] = [io::ErrorKind::UnexpectedEof, io::ErrorKind::TimedOut];
        let is_over = |kind: io::ErrorKind| shared.is_over(&kind.into());
        assert!(!is_over(closed));
        shared.ending.come();
        assert!(!is_over(closed));
        shared.own_ending.come();
        assert!(is_over(closed) && !is_over(silent));
        // One that closes earlier takes the direction to it along.
        let (mut client, (mut reader, mut writer, _, task)) = by_hand();
        client.end().await;
        drop(client);
        task.await.unwrap();
        assert_eq!(read_all(&mut reader).await.unwrap(), b"");
        assert_eq!(writer.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// As of a command that is killed while its output comes.
    #[tokio::test(start_paused = true)]
    async fn what_is_written_and_its_end_are_sent_before_the_stop() {
        let (near, far) = tokio::io::duplex(100);
        let (mut client, (reader, mut writer, ..)) = (ByHand(near), carry(far, IDLE));
        let last = vec![7; 50_000];
        writer.write_all(&last).await.unwrap();
        drop((writer, reader));
        client.say(b"more output").await;
        let (mut sent, mut pieces) = (Vec::new(), Vec::new());
        while pieces.last() != Some(&Piece::Stop) {
            let (piece, bytes) = client.next().await;
            sent.extend(bytes);
            pieces.push(piece);
        }
        assert!(sent == last && pieces.len() >= 2);
        assert_eq!(pieces[pieces.len() - 2], Piece::End);
        // A direction that goes on does not keep the other one.
        let (mut client, (reader, _writer, ..)) = by_hand();
        drop(reader);
        client.say(b"output").await;
        assert_eq!(client.next().await.0, Piece::Stop);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_before_its_direction_has_broken() {
        for half in [false, true] {
            let (mut client, (mut reader, _writer, ending, _)) = by_hand();
            client.say(b"some").await;
            if half {
                client.0.write_all(&[7, 0, 1]).await.unwrap();
            }
            drop(client);
            assert!(read_all(&mut reader).await.is_err() && !ending.has_come());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_that_are_too_long_or_late_break_a_connection() {
        let (mut client, (mut reader, ..)) = by_hand();
        client.word(Piece::Bytes(PIECE_BYTES_MAX + 1)).await;
        assert!(read_all(&mut reader).await.is_err());
        let (mut client, (mut reader, _writer, _, task)) = by_hand();
        client.end().await;
        assert_eq!(read_all(&mut reader).await.unwrap(), b"");
        client.say(b"more").await;
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_dropped_stops_the_other_end() {
        let ((reader, mut writer, ..), (mut far_reader, mut far_writer, ..)) = ends();
        drop(reader);
        let sent = async { while far_writer.write_all(&[7; 10_000]).await.is_ok() {} };
        timeout(HOUR, sent).await.unwrap();
        writer.write_all(b"still").await.unwrap();
        drop(writer);
        assert_eq!(read_all(&mut far_reader).await.unwrap(), b"still");
    }
}
