//! What the two directions of a stream tell each other, and its reader of frames.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use burst_protocol::limit::ACKNOWLEDGED_BYTES;
use tokio::sync::Notify;

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

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The state of a stream.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Whether the stream survives its connection.
    is_resumable: bool,
    /// Whether the end of the stream is kept until it is acknowledged.
    keeps_end: bool,
    /// Bytes of frames that have arrived whole.
    received: AtomicU64,
    /// What the other end was told of that.
    told: AtomicU64,
    /// What the other end has acknowledged.
    acknowledged: AtomicU64,
    /// Whether the preface of the other end has arrived, or was read before.
    welcomed: AtomicBool,
    /// Whether the other end has sent a frame on the present connection.
    heard: AtomicBool,
    /// Whether there is no connection.
    down: AtomicBool,
    /// How often there was none.
    breaks: AtomicU64,
    /// Whether the frames that arrive are not read here.
    unread_here: AtomicBool,
    /// Whether the other end does not read what is sent.
    unread_there: AtomicBool,
    end_received: AtomicBool,
    /// Whether the end was written, and acknowledged if it is kept until then.
    end_written: AtomicBool,
    /// Notified when the sender has something to do.
    for_sender: Notify,
    /// Notified when both ends have said that they send nothing more.
    finished: Notify,
}

impl Counters {
    /// Of a stream that ends with its connection.
    pub(super) fn new(is_welcomed: bool) -> Self {
        Self { welcomed: AtomicBool::new(is_welcomed), ..Self::default() }
    }

    /// Of a stream that survives its connection.
    pub(super) fn resumable(is_welcomed: bool, keeps_end: bool) -> Self {
        Self { is_resumable: true, keeps_end, ..Self::new(is_welcomed) }
    }

    pub(super) const fn is_resumable(&self) -> bool {
        self.is_resumable
    }

    /// Whether the stream goes on when its connection breaks: not before the other end has
    /// answered on it.
    pub(super) fn survives(&self) -> bool {
        self.is_resumable && self.welcomed.load(Ordering::Relaxed)
    }

    pub(super) fn welcome(&self) {
        self.welcomed.store(true, Ordering::Relaxed);
    }

    /// Counts a frame that has arrived.
    pub(super) fn add_received(&self, bytes: usize) {
        let received = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if is_acknowledgement_due(received, self.told.load(Ordering::Relaxed)) {
            self.for_sender.notify_one();
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What is to be acknowledged now; the other end is told.
    pub(super) fn take_acknowledgement(&self) -> Option<u64> {
        let received = self.received();
        let is_due = is_acknowledgement_due(received, self.told.load(Ordering::Relaxed));
        (self.is_resumable && is_due).then(|| {
            self.told(received);
            received
        })
    }

    /// The other end was told what has arrived.
    pub(super) fn told(&self, received: u64) {
        self.told.store(received, Ordering::Relaxed);
    }

    pub(super) fn acknowledge(&self, received: u64) {
        self.acknowledged.store(received, Ordering::Relaxed);
        self.for_sender.notify_one();
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Nobody reads the frames that arrive.
    pub(super) fn set_unread_here(&self) {
        self.unread_here.store(true, Ordering::Relaxed);
        self.for_sender.notify_one();
    }

    pub(super) fn is_unread_here(&self) -> bool {
        self.unread_here.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread_there(&self) {
        self.unread_there.store(true, Ordering::Relaxed);
        self.for_sender.notify_one();
    }

    pub(super) fn is_unread_there(&self) -> bool {
        self.unread_there.load(Ordering::Relaxed)
    }

    /// Completes when the other direction has learnt something that concerns the sender.
    pub(super) async fn sender_has_work(&self) {
        self.for_sender.notified().await;
    }

    pub(super) fn set_end_received(&self) {
        self.end_received.store(true, Ordering::Relaxed);
        self.note_if_finished();
    }

    /// All was written, and `is_acknowledged` or not.
    pub(super) fn set_end_written(&self, is_acknowledged: bool) {
        self.end_written.store(is_acknowledged || !self.keeps_end, Ordering::Relaxed);
        self.note_if_finished();
    }

    /// There is another connection: the end is to be written again, to it.
    pub(super) fn begin_link(&self) {
        self.end_written.store(false, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// The other end has sent a frame on the present connection.
    pub(super) fn set_heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn note_if_finished(&self) {
        if self.is_finished() {
            self.finished.notify_one();
        }
    }

    /// Whether both ends have said that they send nothing more.
    pub(super) fn is_finished(&self) -> bool {
        self.end_received.load(Ordering::Relaxed) && self.end_written.load(Ordering::Relaxed)
    }

    /// Completes when both ends have said that they send nothing more.
    pub(super) async fn finished(&self) {
        while !self.is_finished() {
            self.finished.notified().await;
        }
    }

    /// There is no connection any more, or again.
    pub(super) fn set_down(&self, down: bool) {
        if down {
            self.breaks.fetch_add(1, Ordering::Relaxed);
        }
        self.down.store(down, Ordering::Relaxed);
    }

    /// The number of breaks so far, and whether there is no connection now.
    pub(super) fn breaks(&self) -> (u64, bool) {
        (self.breaks.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// Whether the other end, which was told of some bytes, is to be told of all that have arrived:
/// seldom, so that a short stream needs no acknowledgement.
const fn is_acknowledgement_due(received: u64, told: u64) -> bool {
    received.saturating_sub(told) >= ACKNOWLEDGED_BYTES
}
