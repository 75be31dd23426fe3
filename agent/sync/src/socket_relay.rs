//! A TCP connection whose bytes travel as messages: the half that both ends have in common.
//!
//! One thread reads the socket and sends, another writes what has come. Each direction has a
//! window of credit, so neither end keeps more than [`WINDOW_BYTES`] of a direction, and a program
//! that does not read holds up neither the other direction nor other streams of the connection.
//! Each direction ends on its own, as those of TCP do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::error::SyncError;
use crate::flow_control::{ReceivedCredit, SendWindow, cost};
use crate::wire::Outgoing;

/// Bytes of one direction that are on their way. With [`CONNECTIONS_MAX`] connections that is half
/// of what one QUIC connection accepts; at a round trip of 30 ms it allows 4 MB/s.
pub const WINDOW_BYTES: usize = 128 << 10;

/// Connections of one client at a time.
pub const CONNECTIONS_MAX: usize = 32;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 32 << 10;

/// The messages of one end.
#[derive(Debug)]
pub struct Words<M> {
    /// Bytes from the socket.
    pub data: fn(Vec<u8>) -> M,
    /// There are no more.
    pub end: fn() -> M,
    /// So much of what has come is written, by [`cost`].
    pub credit: fn(u32) -> M,
    /// Both directions have ended; only one of the ends says so.
    pub done: Option<fn() -> M>,
}

impl<M> Clone for Words<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Words<M> {}

/// A socket and its two threads. Dropped, it ends both directions at once.
#[derive(Debug)]
pub struct SocketRelay {
    socket: TcpStream,
    window: Arc<SendWindow>,
    /// None once the other end has said that nothing more comes.
    queue: Option<mpsc::Sender<Vec<u8>>>,
    /// What is queued, by its cost.
    queued: Arc<AtomicUsize>,
    /// Whether the end of the socket is to be a reset.
    resets: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl SocketRelay {
    /// Starts both threads. Fails if the socket cannot be shared by them.
    pub fn start<M: Serialize + 'static>(
        socket: TcpStream,
        outgoing: &Outgoing,
        words: Words<M>,
    ) -> std::io::Result<Self> {
        let (reading, writing) = (socket.try_clone()?, socket.try_clone()?);
        let window = Arc::new(SendWindow::new(WINDOW_BYTES));
        let (queue, received) = mpsc::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(2));
        let spawn = |work: Box<dyn FnOnce(&Outgoing) + Send>| {
            let (outgoing, open) = (outgoing.clone(), open.clone());
            std::thread::spawn(move || {
                work(&outgoing);
                if let (1, Some(done)) = (open.fetch_sub(1, Ordering::AcqRel), words.done) {
                    // An error says that the other end is gone.
                    drop(outgoing.message(&done()));
                }
            })
        };
        let of_reader = window.clone();
        let resets = Arc::new(AtomicBool::new(false));
        let of_writer = (queued.clone(), resets.clone());
        let threads = vec![
            spawn(Box::new(move |outgoing| send(reading, &of_reader, outgoing, words))),
            spawn(Box::new(move |outgoing| {
                write(writing, received, of_writer, outgoing, words);
            })),
        ];
        Ok(Self { socket, window, queue: Some(queue), queued, resets, threads })
    }

    /// Takes bytes for the socket. Fails if they are more than an honest end sends.
    pub fn received(&self, bytes: Vec<u8>) -> Result<(), SyncError> {
        let cost = cost(bytes.len()) as usize;
        if self.queued.fetch_add(cost, Ordering::AcqRel) + cost > WINDOW_BYTES {
            return Err(SyncError::violation("more bytes than the window of a connection has"));
        }
        match &self.queue {
            // A writer that has ended wants no more.
            Some(queue) => drop(queue.send(bytes)),
            None => return Err(SyncError::violation("bytes behind their end")),
        }
        Ok(())
    }

    /// Nothing more comes: the socket is told so once everything is written.
    pub fn end(&mut self) {
        self.queue = None;
    }

    /// Takes credit for what the other end has written.
    pub fn credit(&self, cost: u32) {
        self.window.credit(cost);
    }

    /// Waits until both directions have ended by themselves and everything is written.
    pub fn finish(mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }

    /// Ends both directions such that the program at the other end of the socket sees a connection
    /// that was broken, not one that was closed. One that does not read sees the latter.
    pub fn reset(self) {
        self.resets.store(true, Ordering::Release);
        if self.queued.load(Ordering::Acquire) == 0
            && rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).is_ok()
        {
            // Wakes the reader, and tells the other end nothing.
            drop(self.socket.shutdown(Shutdown::Read));
        } else {
            drop(self.socket.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for SocketRelay {
    fn drop(&mut self) {
        self.queue = None;
        self.window.close();
        if !self.resets.load(Ordering::Acquire) {
            // Whoever still waits for the socket does so in vain.
            drop(self.socket.shutdown(Shutdown::Both));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Sends what the socket gives, until its other end closes or the peer is gone.
fn send<M: Serialize>(
    mut socket: TcpStream,
    window: &SendWindow,
    outgoing: &Outgoing,
    words: Words<M>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        window.wait_for_room(PIECE_BYTES);
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                window.sent(length);
                if outgoing.message(&(words.data)(piece[..length].to_vec())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The connection was reset: nothing more comes.
            Err(_) => break,
        }
    }
    // An error says that the peer is gone.
    drop(outgoing.message(&(words.end)()));
}

/// Writes what has come, and returns credit for it. What the socket does not take any more is
/// lost, as on any connection.
fn write<M: Serialize>(
    mut socket: TcpStream,
    received: mpsc::Receiver<Vec<u8>>,
    (queued, resets): (Arc<AtomicUsize>, Arc<AtomicBool>),
    outgoing: &Outgoing,
    words: Words<M>,
) {
    let mut credit = ReceivedCredit::of(WINDOW_BYTES);
    let mut is_open = true;
    for bytes in received {
        is_open = is_open && socket.write_all(&bytes).is_ok();
        queued.fetch_sub(cost(bytes.len()) as usize, Ordering::AcqRel);
        if let Some(cost) = credit.add(bytes.len()) {
            drop(outgoing.message(&(words.credit)(cost)));
        }
    }
    if !resets.load(Ordering::Acquire) {
        drop(socket.shutdown(Shutdown::Write));
    }
}
