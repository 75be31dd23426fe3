//! The task that moves the frames of one stream, over one connection after the other.

use std::io;
use std::sync::Arc;

use burst_protocol::link::Control;
use tokio::io::AsyncWriteExt;

use super::counters::Counters;
use super::inbox::{Inbox, Stop};
use super::link::{Link, LinkEnd, Successor};
use super::outbox::{Outbox, control};
use crate::error::SyncError;

/// A stream.
pub(super) struct Stream {
    outbox: Outbox,
    inbox: Inbox,
    counters: Arc<Counters>,
    /// `None` for a stream that ends with its connection.
    successor: Option<Box<dyn Successor>>,
}

/// Why a connection is of no further use.
enum Cut {
    /// The stream has ended.
    Complete,
    /// The stream has ended with an error.
    Failed(SyncError),
    /// The connection broke.
    Broken(Option<io::Error>),
    /// The other end has opened another connection.
    Replaced(Link),
}

impl Stream {
    pub(super) fn new(
        outbox: Outbox,
        inbox: Inbox,
        counters: Arc<Counters>,
        successor: Option<Box<dyn Successor>>,
    ) -> Self {
        Self { outbox, inbox, counters, successor }
    }

    /// Moves frames until the stream has ended. The error is also the last that the reader of
    /// frames gets.
    pub(super) async fn run(mut self, mut link: Link) -> io::Result<()> {
        let ended = loop {
            let cut = self.move_frames(&mut link).await;
            let next = match cut {
                Cut::Complete => {
                    let opens = self.successor.as_ref().is_some_and(|successor| successor.opens());
                    say_goodbye(&mut link, opens.then(|| self.counters.received())).await;
                    break Ok(());
                }
                Cut::Failed(error) => break Err(error),
                Cut::Replaced(next) => Ok(next),
                Cut::Broken(broke) => {
                    drop(link);
                    match self.outbox.settle(&self.counters) {
                        Ok(()) if self.counters.is_finished() => break Ok(()),
                        Ok(()) => self.next(broke).await,
                        Err(error) => Err(error),
                    }
                }
            };
            link = match next.and_then(|next| self.resume(next)) {
                Ok(next) => next,
                Err(error) => break Err(error),
            };
        };
        let Self { inbox, mut outbox, .. } = self;
        outbox.close();
        match ended {
            Ok(()) => {
                inbox.finish(None).await;
                Ok(())
            }
            Err(error) => {
                let told = error.to_string();
                inbox.finish(Some(error)).await;
                Err(io::Error::other(told))
            }
        }
    }

    async fn move_frames(&mut self, link: &mut Link) -> Cut {
        let counters = &*self.counters;
        let replacement = async {
            match &mut self.successor {
                Some(successor) => successor.replacement().await,
                None => std::future::pending().await,
            }
        };
        let mut replacement = std::pin::pin!(replacement);
        let mut sending = std::pin::pin!(self.outbox.send(&mut link.writer, counters));
        let mut receiving =
            std::pin::pin!(self.inbox.receive(&mut link.reader, &mut link.closed, counters));
        let (mut sent, mut is_received) = (None, false);
        loop {
            tokio::select! {
                biased;
                stop = &mut receiving, if !is_received => match stop {
                    Stop::Complete => is_received = true,
                    Stop::Broken(broke) if counters.survives() => return Cut::Broken(broke),
                    Stop::Broken(broke) => return Cut::Failed(of(broke)),
                    Stop::Invalid(error) => return Cut::Failed(error),
                },
                done = &mut sending, if sent.is_none() => match done {
                    Err(SyncError::Stream(error)) if counters.survives() => {
                        return Cut::Broken(Some(error));
                    }
                    Err(error) if counters.survives() => return Cut::Failed(error),
                    // What the other end has sent can still be read.
                    done => sent = Some(done),
                },
                () = counters.finished() => return Cut::Complete,
                next = &mut replacement => return Cut::Replaced(next),
            }
            if is_received && let Some(sent) = sent {
                return sent.map_or_else(Cut::Failed, |()| Cut::Complete);
            }
        }
    }

    /// The connection after one that broke.
    async fn next(&mut self, broke: Option<io::Error>) -> Result<Link, SyncError> {
        let counters = &self.counters;
        let (is_heard, received) = (counters.is_heard(), counters.received());
        let end = LinkEnd { error: broke, is_heard, received };
        let Some(successor) = &mut self.successor else { return Err(end.into_error()) };
        self.inbox.forget_partial();
        self.counters.set_down(true);
        let next = tokio::select! {
            biased;
            next = successor.after(end) => next,
            Err(error) = self.outbox.wait(&self.counters) => Err(error),
            () = self.inbox.wait(&self.counters) => Err(SyncError::Gone),
        };
        self.counters.set_down(false);
        next
    }

    /// Goes on with a connection.
    fn resume(&mut self, link: Link) -> Result<Link, SyncError> {
        let received = self.counters.received();
        self.inbox.forget_partial();
        self.counters.told(received);
        self.counters.begin_link();
        let opening = self.successor.as_ref().map(|successor| successor.answer(received));
        self.outbox.resume(opening.unwrap_or_default(), link.received)?;
        Ok(link)
    }
}

/// Ends the stream on a connection, and tells the other end that all has arrived, so that it
/// keeps nothing more. If this is lost, it learns that by the end of the connection.
async fn say_goodbye(link: &mut Link, received: Option<u64>) {
    if let Some(received) = received
        && let Ok(told) = control(&Control::Acknowledge { received })
    {
        drop(link.writer.write_all(&told).await);
    }
    drop(link.writer.shutdown().await);
}

/// The error of a connection that broke, or ended too early.
fn of(broke: Option<io::Error>) -> SyncError {
    broke.map_or(SyncError::Gone, SyncError::Stream)
}
