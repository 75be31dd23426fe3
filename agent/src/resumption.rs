//! Streams whose connection has broken, and the connections on which they go on.
//!
//! A stream that its client has named is registered until it ends. A client that opens another
//! stream with that name hands its connection over to the task of the stream, which leaves the
//! old one, whether it seems alive or not: only the client knows. Every connection is of the
//! one client whose certificate is pinned, and the name is random. A client gives up attempts
//! that take too long, and they may arrive late: it numbers them, and the latest one counts.
//!
//! A client that has ended without saying so can be reported by another one, which knows the name.
//!
//! A stream may go on over another transport than it began on.
//!
//! Whether a break may be survived is told by how the connection ended: a client that closes
//! its connection or its stream is gone at once. On a connection that was handed over it has to
//! say something first: until then it may not know that this attempt has succeeded, and give it
//! up for another one. After a break the stream waits for the grace time of its client.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burst_protocol::limit::GRACE_SECS_MAX;
use burst_protocol::link::{Control, Refusal, StreamId};
use burst_sync::SyncError;
use burst_sync::wire::{Link, LinkEnd, Pending, Successor, control_frame};
use tokio::sync::{Notify, watch};

use crate::carrier::Carrier;
use crate::lock::lock;

/// Streams that can be registered. A client has one for each of its runs.
const STREAMS_MAX: usize = 1024;

/// Names of streams that have waited in vain, for the error of a client that comes later.
const EXPIRED_MAX: usize = 1024;

/// A connection on which a stream goes on.
type HandedOver = (Link, Carrier);

/// All streams that can be resumed.
#[derive(Debug)]
pub(crate) struct Resumptions {
    streams: Mutex<Streams>,
    /// Whether no stream is waited for any more.
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<StreamId, Arc<Latest<HandedOver>>>,
    expired: VecDeque<(StreamId, u32)>,
}

/// What the latest attempt of a client has brought, until it is taken.
#[derive(Debug)]
pub(crate) struct Latest<T> {
    state: Mutex<(u32, Option<T>)>,
    offered: Notify,
    /// Whether the client has ended.
    cancelled: watch::Sender<bool>,
}

impl<T> Default for Latest<T> {
    /// Attempts are counted from 1.
    fn default() -> Self {
        let cancelled = watch::Sender::new(false);
        Self { state: Mutex::new((0, None)), offered: Notify::new(), cancelled }
    }
}

impl<T> Latest<T> {
    /// Replaces what earlier attempts have brought. Returns whether there was no later attempt.
    pub(crate) fn offer(&self, attempt: u32, value: T) -> bool {
        let mut state = lock(&self.state);
        let is_latest = attempt > state.0;
        if is_latest {
            *state = (attempt, Some(value));
            self.offered.notify_one();
        }
        is_latest
    }

    /// Nothing more is offered: the client has ended.
    fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Waits until the client has ended. May be dropped.
    async fn cancelled(&self) {
        // The sender is here.
        drop(self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await);
    }

    /// Waits for the next one. May be dropped; for one caller at a time.
    async fn take(&self) -> T {
        loop {
            if let Some(value) = lock(&self.state).1.take() {
                return value;
            }
            self.offered.notified().await;
        }
    }
}

impl Default for Resumptions {
    fn default() -> Self {
        Self { streams: Mutex::default(), ending: watch::channel(false).0 }
    }
}

/// The next connections of one stream; it is registered until this is dropped.
#[derive(Debug)]
pub(crate) struct NextConnections {
    resumptions: Arc<Resumptions>,
    id: StreamId,
    handed_over: Arc<Latest<HandedOver>>,
    carrier: Carrier,
    grace_secs: u32,
    ending: watch::Receiver<bool>,
}

impl Resumptions {
    /// Registers a stream on this connection. Fails if its name is taken, or there are too
    /// many.
    pub(crate) fn open(
        self: &Arc<Self>,
        id: StreamId,
        grace_secs: u32,
        carrier: Carrier,
    ) -> Result<NextConnections, SyncError> {
        let handed_over = Arc::<Latest<HandedOver>>::default();
        let mut streams = lock(&self.streams);
        if streams.open.len() >= STREAMS_MAX {
            return Err(SyncError::violation("it has too many streams"));
        }
        if streams.open.contains_key(&id) {
            return Err(SyncError::violation("it has two streams of one name"));
        }
        streams.open.insert(id, handed_over.clone());
        Ok(NextConnections {
            resumptions: self.clone(),
            id,
            handed_over,
            carrier,
            grace_secs: grace_secs.min(GRACE_SECS_MAX),
            ending: self.ending.subscribe(),
        })
    }

    /// Where to hand over the next connection of a stream.
    pub(crate) fn find(&self, id: StreamId) -> Result<Arc<Latest<HandedOver>>, Refusal> {
        let streams = lock(&self.streams);
        if let Some(latest) = streams.open.get(&id) {
            return Ok(latest.clone());
        }
        let expired = streams.expired.iter().find(|(expired, _)| *expired == id);
        Err(expired.map_or(Refusal::Unknown, |(_, after)| Refusal::Expired { after_secs: *after }))
    }

    /// Ends a stream whose client has ended without saying so. Returns whether there was one.
    pub(crate) fn cancel(&self, id: StreamId) -> bool {
        let latest = self.find(id);
        latest.inspect(|latest| latest.cancel()).is_ok()
    }

    /// Waits for no client any more.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Runs wait for their clients again: those that have been ended have ended.
    pub(crate) fn begin(&self) {
        self.ending.send_replace(false);
    }
}

impl NextConnections {
    /// Waits for the next connection until the grace time is over, or the agent ends.
    async fn wait(&mut self) -> Result<Link, SyncError> {
        let grace = Duration::from_secs(self.grace_secs.into());
        let expired = SyncError::Expired(self.grace_secs);
        let next = tokio::select! {
            biased;
            next = tokio::time::timeout(grace, self.handed_over.take()) => next,
            () = self.handed_over.cancelled() => return Err(SyncError::Gone),
            _ = self.ending.wait_for(|ending| *ending) => return Err(SyncError::Gone),
        };
        match next {
            Ok((link, carrier)) => {
                tracing::info!("the client has come back from {carrier}");
                self.carrier = carrier;
                Ok(link)
            }
            Err(_) => {
                tracing::info!("the client did not come back within {} s", self.grace_secs);
                let mut streams = lock(&self.resumptions.streams);
                streams.expired.truncate(EXPIRED_MAX - 1);
                streams.expired.push_front((self.id, self.grace_secs));
                Err(expired)
            }
        }
    }
}

impl Successor for NextConnections {
    fn replacement(&mut self) -> Pending<'_, Link> {
        Box::pin(async {
            tokio::select! {
                biased;
                // Nothing more is to be read.
                () = self.handed_over.cancelled() => Link::new(tokio::io::empty(), tokio::io::sink()),
                (link, carrier) = self.handed_over.take() => {
                    self.carrier = carrier;
                    link
                }
            }
        })
    }

    fn after(&mut self, end: LinkEnd) -> Pending<'_, Result<Link, SyncError>> {
        Box::pin(async move {
            let is_closed = end.is_heard && !self.carrier.is_broken();
            if is_closed || self.handed_over.is_cancelled() {
                return Err(end.into_error());
            }
            tracing::info!("the connection of a client broke; waiting for {} s", self.grace_secs);
            self.wait().await
        })
    }

    fn opens(&self) -> bool {
        false
    }

    fn answer(&self, received: u64) -> Vec<u8> {
        // A message of a few bytes is never too long.
        control_frame(&Control::Resumed { received }).unwrap_or_default()
    }
}

impl Drop for NextConnections {
    fn drop(&mut self) {
        lock(&self.resumptions.streams).open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use burst_protocol::message::FromShim;
    use burst_sync::wire::{Beginning, Incoming, Opening, connect_resumable, read_beginning};
    use tokio::io::AsyncRead;

    use super::*;
    use crate::identity::{Identity, client_config, server_config, server_name};
    use crate::tcp::{Accepted, Client, connected};
    use crate::transport::{IdleTimeout, endpoint};

    /// A client and an agent that are connected again and again.
    struct Ends {
        client: quinn::Endpoint,
        agent: quinn::Endpoint,
    }

    /// One connection with one stream, as its client sees it.
    struct Seen {
        connection: quinn::Connection,
        send: quinn::SendStream,
        receive: quinn::RecvStream,
    }

    impl Ends {
        fn new() -> Self {
            let [shim, agent] = [(); 2].map(|()| Identity::generate().unwrap());
            let idle = IdleTimeout::default();
            let [shim_certificate, agent_certificate] =
                [&shim, &agent].map(|identity| identity.certificate().clone());
            let serving = server_config(&agent, shim_certificate, idle).unwrap();
            let mut client = endpoint(([127, 0, 0, 1], 0).into(), None).unwrap();
            client
                .set_default_client_config(client_config(&shim, agent_certificate, idle).unwrap());
            let agent = endpoint(([127, 0, 0, 1], 0).into(), Some(serving)).unwrap();
            Self { client, agent }
        }

        /// Another connection, whose client has said `first`.
        async fn connect(&self, first: Control) -> (Seen, (Link, quinn::Connection)) {
            let address = self.agent.local_addr().unwrap();
            let connecting = self.client.connect(address, server_name()).unwrap();
            let accepting = async { self.agent.accept().await.unwrap().await.unwrap() };
            let (connection, accepted) = tokio::join!(connecting, accepting);
            let connection = connection.unwrap();
            let (send, receive) = connection.open_bi().await.unwrap();
            let mut seen = Seen { connection, send, receive };
            seen.say(first).await;
            let (send, mut receive) = accepted.accept_bi().await.unwrap();
            let Ok(Beginning::Control(said)) = read_beginning(&mut receive).await else {
                panic!("no control message");
            };
            assert_eq!(said, first);
            let link = Carrier::Quic(accepted.clone()).link(receive, send);
            (seen, (link, accepted))
        }
    }

    impl Seen {
        async fn say(&mut self, control: Control) {
            self.send.write_all(&control_frame(&control).unwrap()).await.unwrap();
        }
    }

    /// Expects that the agent uses this connection for the stream from now on.
    async fn is_resumed(receive: &mut (impl AsyncRead + Unpin)) {
        let beginning = read_beginning(receive).await.unwrap();
        let resumed = Control::Resumed { received: 0 };
        assert!(matches!(beginning, Beginning::Control(found) if found == resumed));
    }

    const ID: StreamId = StreamId::from_bytes([3; 16]);

    fn resume(attempt: u32) -> Control {
        Control::Resume { id: ID, received: 0, attempt }
    }

    /// A stream on a first connection, whose client has acknowledged the welcome.
    async fn stream(ends: &Ends, resumptions: &Arc<Resumptions>) -> (Seen, Incoming) {
        let open = Control::Open { id: ID, grace_secs: 3600 };
        let (mut seen, (link, connection)) = ends.connect(open).await;
        seen.say(Control::Acknowledge { received: 0 }).await;
        let next = resumptions.open(ID, 3600, Carrier::Quic(connection)).unwrap();
        let (incoming, ..) =
            connect_resumable(link, 1, Opening::Read, None, Box::new(next)).unwrap();
        (seen, incoming)
    }

    /// Closes a connection as a client does that drops it, and lets the agent's tasks see that.
    async fn close(seen: Seen, accepted: &quinn::Connection) {
        seen.connection.close(0_u32.into(), b"");
        accepted.closed().await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_up_is_no_end_of_the_run() {
        let (ends, resumptions) = (Ends::new(), Arc::<Resumptions>::default());
        let (_first, mut incoming) = stream(&ends, &resumptions).await;
        let latest = resumptions.find(ID).unwrap();
        for attempt in 1..=3 {
            let (mut seen, (link, connection)) = ends.connect(resume(attempt)).await;
            assert!(latest.offer(attempt, (link, Carrier::Quic(connection.clone()))));
            is_resumed(&mut seen.receive).await;
            close(seen, &connection).await;
            assert!(resumptions.find(ID).is_ok(), "after attempt {attempt}");
        }
        let (mut seen, (link, connection)) = ends.connect(resume(4)).await;
        assert!(latest.offer(4, (link, Carrier::Quic(connection.clone()))));
        is_resumed(&mut seen.receive).await;
        // This client knows that its attempt has succeeded, and ends.
        seen.say(Control::Acknowledge { received: 0 }).await;
        seen.send.finish().unwrap();
        let ended = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
        assert!(matches!(ended.await.unwrap(), Err(SyncError::Gone)));
    }

    /// A TCP connection whose client has said `first`.
    async fn over_tcp(first: Control) -> (Client, HandedOver) {
        let (mut client, Accepted { mut reader, writer, peer, .. }) = connected().await;
        client.say(&control_frame(&first).unwrap()).await;
        let said = read_beginning(&mut reader).await.unwrap();
        assert!(matches!(said, Beginning::Control(said) if said == first));
        let carrier = Carrier::Tcp(peer);
        (client, (carrier.link(reader, writer), carrier))
    }

    #[tokio::test]
    async fn a_stream_goes_on_over_another_transport() {
        let (ends, resumptions) = (Ends::new(), Arc::<Resumptions>::default());
        let (_first, mut incoming) = stream(&ends, &resumptions).await;
        let latest = resumptions.find(ID).unwrap();
        let heard = control_frame(&Control::Acknowledge { received: 0 }).unwrap();
        let (mut client, next) = over_tcp(resume(1)).await;
        assert!(latest.offer(1, next));
        is_resumed(&mut &*client.piece().await).await;
        client.say(&heard).await;
        // It breaks: the client has not ended its direction.
        drop(client);
        let (mut seen, (link, connection)) = ends.connect(resume(2)).await;
        assert!(latest.offer(2, (link, Carrier::Quic(connection))));
        is_resumed(&mut seen.receive).await;
        let (mut client, next) = over_tcp(resume(3)).await;
        assert!(latest.offer(3, next));
        is_resumed(&mut &*client.piece().await).await;
        client.say(&heard).await;
        client.end().await;
        let ended = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
        assert!(matches!(ended.await.unwrap(), Err(SyncError::Gone)));
    }

    #[tokio::test]
    async fn a_stream_ends_whose_client_has_ended_without_saying_so() {
        let (ends, resumptions) = (Ends::new(), Arc::<Resumptions>::default());
        let (_first, mut incoming) = stream(&ends, &resumptions).await;
        assert!(!resumptions.cancel(StreamId::from_bytes([4; 16])));
        assert!(resumptions.cancel(ID));
        let ended = tokio::task::spawn_blocking(move || incoming.message::<FromShim>());
        assert!(matches!(ended.await.unwrap(), Err(SyncError::Gone)));
    }

    #[tokio::test]
    async fn the_latest_attempt_counts_in_whatever_order_they_arrive() {
        let latest = Latest::default();
        assert!(latest.offer(2, "second"));
        assert!(!latest.offer(1, "first"));
        assert_eq!(latest.take().await, "second");
        assert!(!latest.offer(1, "first, late"));
        assert!(!latest.offer(2, "second, twice"));
        // None waits for the stream to take another one.
        assert!(latest.offer(3, "third") && latest.offer(4, "fourth"));
        assert_eq!(latest.take().await, "fourth");
        let waiting = tokio::join!(latest.take(), async { latest.offer(5, "fifth") });
        assert_eq!(waiting, ("fifth", true));
    }
}
