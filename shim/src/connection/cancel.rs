//! Tells an agent that the client of a stream has ended without saying so.

use std::io;
use std::time::Duration;

use burst_protocol::hello::Preface;
use burst_protocol::link::{Control, StreamId};
use burst_sync::SyncError;
use burst_sync::wire;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::VERSION;

/// How long an agent may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Has the agent end the stream of this name, whose client will not resume it. `read` and `write`
/// are a new stream.
pub(crate) async fn cancel(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    id: StreamId,
) -> Result<(), SyncError> {
    let control = wire::control_frame(&Control::Cancel { id })?;
    let said = [Preface::hello(VERSION).to_bytes(), control].concat();
    write.write_all(&said).await.map_err(SyncError::Stream)?;
    let answer = tokio::time::timeout(ANSWER_DEADLINE, wire::read_preface(&mut read)).await;
    // An agent that refuses is about to end, and its runs with it.
    answer.map_err(|_| SyncError::Stream(io::ErrorKind::TimedOut.into()))?.map(drop)
}
