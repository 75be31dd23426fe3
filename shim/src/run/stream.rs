//! The stream of an exchange. On a server its name is recorded, and the runs of commands of this
//! workspace that have ended without saying so are ended: the next command would wait for them.

use tokio::runtime::Handle;

use crate::agent::reached::ReachedAgent;
use crate::connection::cancel::cancel;
use crate::connection::reconnect::new_stream_id;
use crate::connection::{ConnectionError, Stream};
use crate::error::Error;
use crate::keeper::stream::KeeperRoute;
use crate::transfer::stream_record::{StreamRecord, orphans};
use crate::workspace::error::unreadable;
use crate::workspace::state::WorkspaceState;

/// Opens a stream. Its record is to be removed once the agent knows that the exchange is over.
pub(super) fn open(
    runtime: &Handle,
    reached: &ReachedAgent,
    state: &WorkspaceState,
    grace_secs: u32,
) -> Result<(Stream, Option<StreamRecord>), Error> {
    let id = new_stream_id()
        .map_err(|error| ConnectionError::Lost(burst_sync::SyncError::Stream(error)))?;
    // An agent on this machine, where projects share its disk, sees the end of a process.
    let record = match (reached.connection.keeper(), &reached.device) {
        (Some(route), Some(disk)) => {
            for orphan in orphans(state.directory(), disk) {
                runtime.spawn(tell(route.clone(), orphan));
            }
            Some(StreamRecord::begin(state.directory(), id, disk).map_err(unreadable)?)
        }
        _ => None,
    };
    let stream = runtime.block_on(reached.connection.stream(id, grace_secs))?;
    Ok((stream, record))
}

/// Has the agent end an orphaned stream. If that fails, the next command tries it again.
async fn tell(route: KeeperRoute, stream: StreamRecord) {
    let told = match route.open().await {
        Ok((read, write)) => {
            cancel(read, write, stream.id).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.one_line()),
    };
    match told {
        Ok(()) => stream.finish(),
        Err(error) => {
            tracing::info!("cannot end the run of a command that has ended: {error}");
        }
    }
}
