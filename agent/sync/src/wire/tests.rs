use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use burst_protocol::hello::Preface;
use burst_protocol::link::{Control, StreamId};
use burst_protocol::message::FromShim;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::Item;
use super::*;
use crate::write_coalescer::{BURST, EARNED_EACH};

/// A reader that returns one byte at a time, so that every frame is split everywhere.
struct Trickle<R>(R);

impl<R: AsyncRead + Unpin> AsyncRead for Trickle<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0; 1];
        let mut one = ReadBuf::new(&mut byte);
        let poll = Pin::new(&mut self.0).poll_read(context, &mut one);
        buffer.put_slice(one.filled());
        poll
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_whole_and_in_order() {
    let (near, far) = tokio::io::duplex(1000);
    let (far_reader, far_writer) = tokio::io::split(far);
    let (near_reader, near_writer) = tokio::io::split(near);
    let (unused, outgoing, writing) = connect(near_reader, near_writer, 3, Opening::Read).unwrap();
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
    drop(unused);
    writing.await.unwrap().unwrap();
}

/// A writer that records the sizes of its writes.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Vec<usize>>>);

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends messages with a pause after each; returns the sizes of the writes.
async fn writes_of(messages: usize, pause: Duration) -> Vec<usize> {
    let counting = Counting::default();
    let (queue, written) = mpsc::channel(QUEUE_FRAMES);
    let mut outbox = Outbox::new(written, 1, None, Arc::default()).unwrap();
    let mut writer = counting.clone();
    let sending = spawn(async move { outbox.send(&mut writer, &Counters::new(true)).await });
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
    for bytes in
        [&b"\x09\0\0\0\0"[..], b"\x02\x05\0\0\0zzzzz", b"\x00\xff\xff\xff\xff", b"\x00\x05\0\0\0a"]
    {
        let (near, far) = tokio::io::duplex(1000);
        let (far_reader, far_writer) = tokio::io::split(far);
        let (mut incoming, _keep, _) = connect(far_reader, far_writer, 1, Opening::Read).unwrap();
        let mut near = near;
        near.write_all(bytes).await.unwrap();
        drop(near);
        let got =
            tokio::task::spawn_blocking(move || incoming.message::<FromShim>()).await.unwrap();
        assert!(got.is_err(), "{bytes:?}");
    }
}

/// One end of a connection in memory, which breaks when so many bytes have passed.
struct Brittle {
    inner: DuplexStream,
    left: Arc<AtomicI64>,
}

impl Brittle {
    fn is_broken(&self, bytes: usize) -> bool {
        self.left.fetch_sub(i64::try_from(bytes).unwrap(), Ordering::Relaxed) < 0
    }
}

impl AsyncRead for Brittle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(context, buffer);
        match self.is_broken(buffer.filled().len() - before) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => poll,
        }
    }
}

impl AsyncWrite for Brittle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let some = &bytes[..bytes.len().min(1000)];
        match self.is_broken(some.len()) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Pin::new(&mut self.inner).poll_write(context, some),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Two ends of a connection that breaks after so many bytes.
fn brittle(bytes: i64) -> [Brittle; 2] {
    let (near, far) = tokio::io::duplex(3000);
    let left = Arc::new(AtomicI64::new(bytes));
    [near, far].map(|inner| Brittle { inner, left: left.clone() })
}

fn link(end: Brittle) -> Link {
    let (reader, writer) = tokio::io::split(end);
    Link::new(reader, writer)
}

/// Dials again; each connection lasts for the next number of bytes, the last one for ever.
struct Dialling {
    lasts: std::vec::IntoIter<i64>,
    to_agent: mpsc::Sender<Link>,
}

impl Successor for Dialling {
    fn replacement(&mut self) -> Pending<'_, Link> {
        Box::pin(std::future::pending())
    }

    fn after(&mut self, end: LinkEnd) -> Pending<'_, Result<Link, SyncError>> {
        Box::pin(async move {
            loop {
                let [mut near, far] = brittle(self.lasts.next().unwrap_or(i64::MAX));
                let far = link(far).resuming_at(end.received);
                self.to_agent.send(far).await.map_err(|_| SyncError::Forgotten)?;
                match read_beginning(&mut near).await {
                    Ok(Beginning::Control(Control::Resumed { received })) => {
                        return Ok(link(near).resuming_at(received));
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => {}
                }
            }
        })
    }

    fn opens(&self) -> bool {
        true
    }

    fn answer(&self, _received: u64) -> Vec<u8> {
        Vec::new()
    }
}

/// Waits for the next connection.
struct Accepting {
    links: mpsc::Receiver<Link>,
    /// Notified when a connection has broken.
    broken: Arc<Notify>,
}

impl Accepting {
    fn new(links: mpsc::Receiver<Link>) -> Self {
        Self { links, broken: Arc::default() }
    }
}

impl Successor for Accepting {
    fn replacement(&mut self) -> Pending<'_, Link> {
        Box::pin(async {
            match self.links.recv().await {
                Some(link) => link,
                None => std::future::pending().await,
            }
        })
    }

    fn after(&mut self, _: LinkEnd) -> Pending<'_, Result<Link, SyncError>> {
        self.broken.notify_one();
        Box::pin(async { self.links.recv().await.ok_or(SyncError::Expired(7)) })
    }

    fn opens(&self) -> bool {
        false
    }

    fn answer(&self, received: u64) -> Vec<u8> {
        control_frame(&Control::Resumed { received }).unwrap()
    }
}

type End = (Incoming, Outgoing, Writing);

/// Both ends of a stream whose connections last for so many bytes.
fn resumable(lasts: Vec<i64>) -> (End, End) {
    let mut lasts = lasts.into_iter();
    let [near, far] = brittle(lasts.next().unwrap_or(i64::MAX));
    let (to_agent, accepted) = mpsc::channel(1);
    let client = Box::new(Dialling { lasts, to_agent });
    let agent = Box::new(Accepting::new(accepted));
    let near = connect_resumable(link(near), 3, Opening::Read, None, client).unwrap();
    let far = connect_resumable(link(far), 1, Opening::Read, None, agent).unwrap();
    (near, far)
}

/// A message, or a piece of a blob, of many sizes.
fn send_numbers(outgoing: &Outgoing, count: u32) {
    for n in 0..count {
        outgoing.message(&FromShim::OutputCredit(n)).unwrap();
        let noise = n.wrapping_mul(2_654_435_761).to_le_bytes();
        let bytes = noise.iter().copied().cycle().take(n as usize * 97 % 5000).collect();
        outgoing.raw(bytes, n % 3 != 0).unwrap();
    }
    outgoing.message(&FromShim::Done).unwrap();
}

fn receive_numbers(incoming: &mut Incoming, count: u32) {
    for n in 0..count {
        assert_eq!(incoming.message::<FromShim>().unwrap(), FromShim::OutputCredit(n));
        let noise = n.wrapping_mul(2_654_435_761).to_le_bytes();
        let expected: Vec<u8> =
            noise.iter().copied().cycle().take(n as usize * 97 % 5000).collect();
        assert!(incoming.raw().unwrap() == expected, "piece {n}");
    }
    assert_eq!(incoming.message::<FromShim>().unwrap(), FromShim::Done);
    assert!(matches!(incoming.message::<FromShim>(), Err(SyncError::Gone)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_its_connections() {
    const COUNT: u32 = 400;
    for seed in 0..40_u64 {
        // Often within a few frames, and some after acknowledgements.
        let breaks = (0..60_u64).map(|n| {
            let hash = blake3::hash(&(seed * 1000 + n).to_le_bytes());
            let random = u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap());
            10_f64.powf(f64::from(random) / f64::from(u32::MAX) * 6.0) as i64
        });
        let (near, far) = resumable(breaks.collect());
        // The agent sends its end last, as in every run: after the client has none to say.
        let ((mut incoming, outgoing, near_writing), (mut far_incoming, far_outgoing, far_writing)) =
            (near, far);
        let last = far_outgoing.clone();
        let threads = [
            tokio::task::spawn_blocking(move || send_numbers(&outgoing, COUNT)),
            tokio::task::spawn_blocking(move || send_numbers(&far_outgoing, COUNT)),
            tokio::task::spawn_blocking(move || receive_numbers(&mut incoming, COUNT)),
            tokio::task::spawn_blocking(move || {
                receive_numbers(&mut far_incoming, COUNT);
                drop(last);
            }),
        ];
        for thread in threads {
            thread.await.unwrap();
        }
        near_writing.await.unwrap().unwrap();
        // The client's last word may be lost with a connection.
        if let Err(error) = far_writing.await.unwrap() {
            assert_eq!(error.to_string(), SyncError::Expired(7).to_string());
        }
    }
}

/// Everything that was sent is in flight or not read ahead when the connection breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_late_gets_everything() {
    let (near, far) = resumable(vec![3_000_000, 9_000_000, 1_000_000]);
    let (_near_incoming, outgoing, near_writing) = near;
    let (mut incoming, far_outgoing, far_writing) = far;
    drop(far_outgoing);
    let sending = tokio::task::spawn_blocking(move || {
        (0..400_u32).for_each(|n| outgoing.raw(vec![n as u8; 100_000], false).unwrap());
    });
    tokio::task::spawn_blocking(move || {
        (0..400_u32).for_each(|n| assert!(incoming.raw().unwrap() == vec![n as u8; 100_000]));
        assert!(matches!(incoming.message::<FromShim>(), Err(SyncError::Gone)));
    })
    .await
    .unwrap();
    sending.await.unwrap();
    near_writing.await.unwrap().unwrap();
    far_writing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_reads_no_more_stops_the_other() {
    let (near, far) = resumable(vec![500_000]);
    let (near_incoming, near_outgoing, near_writing) = near;
    let (incoming, outgoing, writing) = far;
    drop((incoming, near_incoming));
    outgoing.queue(&FromShim::Done).await.ok();
    drop(outgoing);
    let stopped =
        tokio::task::spawn_blocking(
            move || {
                while near_outgoing.raw(vec![7; 100_000], false).is_ok() {}
            },
        );
    stopped.await.unwrap();
    near_writing.await.unwrap().unwrap();
    writing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_resumes_or_acknowledges_too_much_is_a_violation() {
    for (control, expected) in [
        (
            Control::Acknowledge { received: 1 },
            "the other end broke the protocol: it acknowledges what was not sent",
        ),
        (
            Control::Open { id: StreamId::from_bytes([1; 16]), grace_secs: 1 },
            "the other end broke the protocol: unexpected message Open { id: StreamId, grace_secs: 1 }",
        ),
    ] {
        let (near, mut far) = tokio::io::duplex(1000);
        let (reader, writer) = tokio::io::split(near);
        let (_to, accepted) = mpsc::channel(1);
        let (mut incoming, _outgoing, writing) = connect_resumable(
            Link::new(reader, writer),
            1,
            Opening::Read,
            None,
            Box::new(Accepting::new(accepted)),
        )
        .unwrap();
        far.write_all(&control_frame(&control).unwrap()).await.unwrap();
        let error = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
        assert_eq!(error.await.unwrap().unwrap_err().to_string(), expected);
        assert_eq!(writing.await.unwrap().unwrap_err().to_string(), expected);
    }
}

/// A chunk of several frames is written in part when the connection breaks, and acknowledged in
/// part.
#[tokio::test]
async fn a_part_of_a_chunk_can_be_acknowledged() {
    let (near, mut far) = tokio::io::duplex(20);
    let (reader, writer) = tokio::io::split(near);
    let (to_agent, accepted) = mpsc::channel(1);
    let agent = Box::new(Accepting::new(accepted));
    let link = Link::new(reader, writer);
    let (_incoming, outgoing, _writing) =
        connect_resumable(link, 1, Opening::Read, None, agent).unwrap();
    let message = codec::encode(&FromShim::OutputCredit(7)).unwrap();
    let header = Header::new(Kind::Message, message.len()).unwrap().to_bytes();
    let frame = [&header[..], &message].concat();
    for _ in 0..10 {
        outgoing.queue(&FromShim::OutputCredit(7)).await.unwrap();
    }
    let mut first = vec![0; frame.len()];
    far.read_exact(&mut first).await.unwrap();
    assert_eq!(first, frame);
    let received = frame.len() as u64;
    far.write_all(&control_frame(&Control::Acknowledge { received }).unwrap()).await.unwrap();
    drop(far);
    let (near, mut far) = tokio::io::duplex(1000);
    let (reader, writer) = tokio::io::split(near);
    to_agent.send(Link::new(reader, writer).resuming_at(received)).await.unwrap();
    let resumed = read_beginning(&mut far).await.unwrap();
    assert!(matches!(resumed, Beginning::Control(Control::Resumed { received: 0 })));
    let mut rest = vec![0; frame.len() * 9];
    far.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest, frame.repeat(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_further_connection_ends_with_its_error() {
    let [near, far] = brittle(40);
    let (to_agent, accepted) = mpsc::channel(1);
    let agent = Box::new(Accepting::new(accepted));
    let (mut incoming, _outgoing, writing) =
        connect_resumable(link(far), 1, Opening::Read, None, agent).unwrap();
    drop((near, to_agent));
    let error = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
    assert!(matches!(error.await.unwrap(), Err(SyncError::Expired(7))));
    writing.await.unwrap().unwrap_err();
}

/// Time without a connection is no silence of the other end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_is_not_silence() {
    let [near, far] = brittle(i64::MAX);
    let (to_agent, accepted) = mpsc::channel(1);
    let agent = Box::new(Accepting::new(accepted));
    let broken = Arc::clone(&agent.broken);
    let (mut incoming, _outgoing, _writing) =
        connect_resumable(link(far), 1, Opening::Read, None, agent).unwrap();
    drop(near);
    broken.notified().await;
    incoming.set_silence_deadline(Duration::from_millis(1));
    let waiting = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
    // Thirty times the deadline.
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    let [mut near, far] = brittle(i64::MAX);
    to_agent.send(link(far)).await.unwrap();
    let resumed = read_beginning(&mut near).await.unwrap();
    assert!(matches!(resumed, Beginning::Control(Control::Resumed { received: 0 })));
    assert!(matches!(waiting.await.unwrap(), Err(SyncError::Silent(0))));
}

/// However much arrives before the preface is queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preface_comes_before_acknowledgements() {
    let (near, mut client) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(near);
    let (_to, accepted) = mpsc::channel(1);
    let agent = Box::new(Accepting::new(accepted));
    let link = Link::new(reader, writer);
    let (_incoming, outgoing, _writing) =
        connect_resumable(link, 1, Opening::Read, None, agent).unwrap();
    let raw =
        [Header::new(Kind::Raw, 100_000).unwrap().to_bytes().as_slice(), &[7; 100_000]].concat();
    for _ in 0..4 {
        client.write_all(&raw).await.unwrap();
    }
    let preface = Preface::hello("test").to_bytes();
    let item = Preface::hello("test");
    tokio::task::spawn_blocking(move || outgoing.preface(&item).map(|()| outgoing))
        .await
        .unwrap()
        .unwrap();
    let mut begin = vec![0; preface.len()];
    client.read_exact(&mut begin).await.unwrap();
    assert_eq!(begin, preface);
    let next = read_beginning(&mut client).await.unwrap();
    assert!(matches!(
        next,
        Beginning::Control(Control::Acknowledge { received: 300_015 | 400_020 })
    ));
}
