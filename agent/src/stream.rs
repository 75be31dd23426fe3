//! One stream of a client, on whatever carries it: from its hello to its session, which gets a
//! thread of its own.

use std::sync::Arc;
use std::time::Duration;

use burst_protocol::hello::{Preface, Reason};
use burst_protocol::link::Control;
use burst_sync::SyncError;
use burst_sync::wire::{self, Beginning, Incoming, Opening, Outgoing, Writing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::agent::{Agent, VERSION};
use crate::carrier::Carrier;
use crate::client::Client;
use crate::session;

/// How long a client may take to send its hello, and what it wants of the stream.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Characters of an error that are logged if a peer can influence its text.
const PEER_TEXT_CHARACTERS_MAX: usize = 120;

/// The zstd level of what is sent to the client.
const COMPRESSION_LEVEL: i32 = 1;

/// An error of a stream.
pub(crate) type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// Serves a stream to its end. A connection that resumes a stream is handed over to the task of
/// that stream.
pub(crate) async fn serve(
    agent: &Arc<Agent>,
    carrier: Carrier,
    mut send: impl AsyncWrite + Send + Unpin + 'static,
    mut receive: impl AsyncRead + Send + Unpin + 'static,
    client: Arc<Client>,
) -> Result<(), StreamError> {
    let (answer, beginning) = match first_words(&mut receive, agent.is_ending()).await {
        // A client that only wanted to know whether this agent answers.
        Err(error) if matches!(error.downcast_ref(), Some(SyncError::Gone)) => return Ok(()),
        words => words?,
    };
    let Some(beginning) = beginning else {
        return say_last(send, receive, &answer.to_bytes()).await;
    };
    match beginning {
        Beginning::Control(Control::Open { id, grace_secs }) => {
            let next = agent.resumptions().open(id, grace_secs, carrier.clone())?;
            let link = carrier.link(receive, send);
            // The client of this stream may come back on another connection.
            let client = Arc::new(Client::default());
            let (level, opening) = (COMPRESSION_LEVEL, Opening::Read);
            let stream = wire::connect_resumable(link, level, opening, None, Box::new(next))?;
            let ended = serve_session(agent, stream, &answer, client.clone());
            until_left(ended, &client).await
        }
        Beginning::Control(Control::Resume { id, received, attempt }) => {
            match agent.resumptions().find(id) {
                Ok(latest) => {
                    send.write_all(&answer.to_bytes()).await?;
                    let link = carrier.link(receive, send).resuming_at(received);
                    // If the stream has just ended, the client sees the end of this one.
                    if !latest.offer(attempt, (link, carrier)) {
                        tracing::info!("attempt {attempt} of a client to come back is too late");
                    }
                    Ok(())
                }
                Err(refusal) => {
                    tracing::info!("a client comes back for a run that has ended: {refusal:?}");
                    let refused = wire::control_frame(&Control::Refused(refusal))?;
                    say_last(send, receive, &[answer.to_bytes(), refused].concat()).await
                }
            }
        }
        Beginning::Control(Control::Cancel { id }) => {
            if agent.resumptions().cancel(id) {
                tracing::info!("the client of a run has ended");
            }
            say_last(send, receive, &answer.to_bytes()).await
        }
        Beginning::Control(other) => Err(SyncError::out_of_turn(&other).into()),
        Beginning::Frame(header) => {
            let receive = std::io::Cursor::new(header).chain(receive);
            let stream = wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Read)?;
            serve_session(agent, stream, &answer, client).await
        }
    }
}

/// Reads how a stream begins, in time. Returns the answer to the hello and, unless that refuses the
/// client, what follows the hello.
async fn first_words<R: AsyncRead + Unpin>(
    receive: &mut R,
    is_ending: bool,
) -> Result<(Preface, Option<Beginning>), StreamError> {
    let deadline = Instant::now() + HELLO_DEADLINE;
    let hello = timeout_at(deadline, wire::read_preface(receive)).await??;
    let Preface::Hello { lowest, highest, .. } = hello else {
        return Err("the stream does not begin with a hello".into());
    };
    let answer = match is_ending {
        true => Preface::refuse(Reason::Ending, VERSION),
        false => Preface::answer(lowest, highest, VERSION),
    };
    if matches!(answer, Preface::Refuse { .. }) {
        return Ok((answer, None));
    }
    let beginning = timeout_at(deadline, wire::read_beginning(receive)).await??;
    Ok((answer, Some(beginning)))
}

/// Waits until a session or the process of its client has ended. However that comes, the client
/// has left.
async fn until_left(
    ended: impl Future<Output = Result<(), StreamError>>,
    client: &Client,
) -> Result<(), StreamError> {
    let ended = tokio::select! {
        ended = ended => ended,
        () = client.process_ended() => Ok(()),
    };
    client.leave();
    ended
}

/// Sends the last bytes of a stream, and waits until the client, which has received them, ends it
/// or is gone.
async fn say_last(
    mut send: impl AsyncWrite + Unpin,
    mut receive: impl AsyncRead + Unpin,
    bytes: &[u8],
) -> Result<(), StreamError> {
    send.write_all(bytes).await?;
    send.shutdown().await?;
    let rest = async { tokio::io::copy(&mut receive, &mut tokio::io::sink()).await };
    drop(tokio::time::timeout(HELLO_DEADLINE, rest).await);
    Ok(())
}

/// Serves a stream on a thread of its own. Completes when the stream has ended; dropped, it ends
/// the stream.
async fn serve_session(
    agent: &Arc<Agent>,
    (incoming, outgoing, writing): (Incoming, Outgoing, Writing),
    answer: &Preface,
    client: Arc<Client>,
) -> Result<(), StreamError> {
    let (agent, runtime, answer) = (agent.clone(), Handle::current(), answer.clone());
    let mut ends = AbortOnDrop(writing);
    std::thread::Builder::new().name("session".into()).stack_size(8 << 20).spawn(move || {
        if outgoing.preface(&answer).is_ok() {
            session::serve(runtime, &agent, incoming, &outgoing, &client);
        }
    })?;
    if let Err(error) = (&mut ends.0).await? {
        // The session reports it, unless it was the client that had heard enough.
        tracing::debug!("a stream has ended: {}", shortened(&error));
    }
    Ok(())
}

/// A task that ends with this.
struct AbortOnDrop(Writing);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The text of an error on one short line; it can quote what a peer sent.
pub(crate) fn shortened(error: &impl std::fmt::Display) -> String {
    let text: String = error.to_string().chars().take(PEER_TEXT_CHARACTERS_MAX).collect();
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_more_is_not_waited_for() {
        let hello = Preface::hello("test").to_bytes();
        let header = [0, 9, 0, 0, 0];
        for said in [&[][..], &hello[..3], &hello, &[&hello[..], &header[..4]].concat()] {
            let (mut near, mut far) = tokio::io::duplex(1000);
            near.write_all(said).await.unwrap();
            let began = Instant::now();
            let error = first_words(&mut far, false).await.unwrap_err();
            assert_eq!(error.to_string(), "deadline has elapsed");
            assert!(began.elapsed() >= HELLO_DEADLINE, "{:?}", began.elapsed());
        }
        let (mut near, mut far) = tokio::io::duplex(1000);
        near.write_all(&[&hello[..], &header].concat()).await.unwrap();
        let (answer, beginning) = first_words(&mut far, false).await.unwrap();
        assert!(matches!(answer, Preface::Welcome { .. }), "{answer:?}");
        assert!(matches!(beginning, Some(Beginning::Frame(found)) if found == header));
        // A client that is refused need not say what it wants.
        near.write_all(&hello).await.unwrap();
        let (answer, beginning) = first_words(&mut far, true).await.unwrap();
        assert!(matches!(answer, Preface::Refuse { reason: Reason::Ending, .. }), "{answer:?}");
        assert!(beginning.is_none());
    }

    #[tokio::test]
    async fn a_client_has_left_however_its_session_ends() {
        let ends: [Result<(), StreamError>; 2] = [Ok(()), Err("a task panicked".into())];
        for end in ends {
            let (client, is_ok) = (Client::default(), end.is_ok());
            let ended = until_left(std::future::ready(end), &client).await;
            assert_eq!((ended.is_ok(), client.is_gone()), (is_ok, true));
        }
    }

    #[test]
    fn an_error_with_text_of_a_peer_stays_one_short_line() {
        let reason = format!("closed: {}\u{1b}[31m\n{}", "x".repeat(5), "y".repeat(1000));
        let line = shortened(&reason);
        assert!(line.starts_with("closed: xxxxx\\u{1b}[31m\\nyyy"), "{line}");
        assert!(line.len() < 140, "{}", line.len());
    }
}
