//! An agent that follows a script, in place of the one on this machine.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use burst_agent::identity::{self, Identity};
use burst_agent::transport::IdleTimeout;
use burst_protocol::Digest;
use burst_protocol::codec;
use burst_protocol::frame::{Header, Kind};
use burst_protocol::hello::{Preface, Reason};
use burst_protocol::message::{Blob, Encoding, FromAgent};
use burst_tests::Sandbox;
use tokio::sync::Notify;

/// What a scripted agent says to every stream.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Refusal {
        lowest: u16,
        highest: u16,
    },
    Nothing,
    Nonsense,
    Messages(fn() -> Vec<FromAgent>),
    /// All of this at once, behind the welcome.
    Bytes(Vec<u8>),
    /// The first part, and once the shim has fetched a blob and the test goes on, the second.
    Halves {
        first: Vec<u8>,
        fetched: Digest,
        go_on: Arc<Notify>,
        second: Vec<u8>,
    },
    HugeFrame,
}

/// An agent that follows a script, in place of the local one.
pub(crate) struct Scripted {
    /// Tells each time that it has said everything to a stream, or that a blob was fetched.
    pub(crate) said: mpsc::Receiver<()>,
    /// Tells how each connection ended.
    pub(crate) ended: mpsc::Receiver<quinn::ConnectionError>,
    _lock: rustix::fd::OwnedFd,
    _runtime: tokio::runtime::Runtime,
}

impl Scripted {
    pub(crate) fn start(sandbox: &Sandbox, says: Says, own_keys: bool) -> Self {
        let keys = sandbox.keys();
        fs::create_dir_all(&keys).unwrap();
        for name in ["shim", "agent"] {
            Identity::generate().unwrap().save(&keys, name).unwrap();
        }
        let stranger = Identity::generate().unwrap();
        let own = if own_keys { Identity::load(&keys, "agent").unwrap() } else { stranger };
        let pinned = identity::load_certificate(&keys, "shim").unwrap();
        let config = identity::server_config(&own, pinned, IdleTimeout::default()).unwrap();
        let lock = fs::File::create(keys.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
        let entered = runtime.enter();
        let endpoint = quinn::Endpoint::server(config, listen).unwrap();
        drop(entered);
        // Without a process id: `down` must not end this very process.
        fs::write(keys.join("address"), endpoint.local_addr().unwrap().to_string()).unwrap();
        let ((say_said, said), (say_ended, ended)) = (mpsc::channel(), mpsc::channel());
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (says, say_said, say_ended) =
                    (says.clone(), say_said.clone(), say_ended.clone());
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    while let Ok((send, receive)) = connection.accept_bi().await {
                        tokio::spawn(say(says.clone(), send, receive, say_said.clone()));
                    }
                    // After the test nobody listens.
                    drop(say_ended.send(connection.closed().await));
                });
            }
        });
        Self { said, ended, _lock: lock.into(), _runtime: runtime }
    }
}

async fn say(
    says: Says,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    said: mpsc::Sender<()>,
) {
    let welcome = Preface::Welcome { chosen: 1, program: "scripted".into() }.to_bytes();
    let bytes = match says {
        Says::Refusal { lowest, highest } => {
            Preface::Refuse { reason: Reason::Version, lowest, highest, text: "9.9.9".into() }
                .to_bytes()
        }
        Says::Nothing => Vec::new(),
        Says::Nonsense => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        Says::Messages(make) => [welcome, make().iter().flat_map(message).collect()].concat(),
        Says::Bytes(bytes) => [welcome, bytes].concat(),
        Says::HugeFrame => [welcome, vec![0, 0xff, 0xff, 0xff, 0xff]].concat(),
        Says::Halves { first, fetched, go_on, second } => {
            drop(send.write_all(&[welcome, first].concat()).await);
            until_fetched(&mut receive, &fetched).await;
            said.send(()).ok();
            go_on.notified().await;
            second
        }
    };
    // The shim may have heard enough before the end.
    drop(send.write_all(&bytes).await);
    // The test may not listen.
    said.send(()).ok();
    // The stream stays open: the shim decides when it has heard enough.
    let _receive = receive;
    drop(send.stopped().await);
}

/// Reads until the shim has named a blob. It holds none of this content, so that it names the
/// digest only to fetch it.
async fn until_fetched(receive: &mut quinn::RecvStream, digest: &Digest) {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Some(length)) = receive.read(&mut piece).await {
        read.extend_from_slice(&piece[..length]);
        if read.windows(digest.as_bytes().len()).any(|window| window == digest.as_bytes()) {
            return;
        }
    }
}

/// A message as it is sent.
pub(crate) fn message(message: &FromAgent) -> Vec<u8> {
    let body = codec::encode(message).unwrap();
    [Header::new(Kind::Message, body.len()).unwrap().to_bytes().as_slice(), &body].concat()
}

/// A blob as it is sent, whole.
pub(crate) fn blob(content: &[u8]) -> Vec<u8> {
    let (digest, size) = (Digest::of(content), content.len() as u64);
    let blob = Blob { digest, size, encoding: Encoding::Whole };
    [message(&FromAgent::Blob(blob)), raw(content)].concat()
}

/// A piece of a blob as it is sent.
pub(crate) fn raw(content: &[u8]) -> Vec<u8> {
    let header = Header::new(Kind::Raw, content.len()).unwrap().to_bytes();
    [header.as_slice(), content].concat()
}
