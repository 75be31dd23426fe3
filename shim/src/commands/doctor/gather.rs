//! What the checks go by, gathered at the same time and each within a deadline: the longest way,
//! the API and then the servers, takes 11 seconds at most.

mod background;
mod deadline;
mod machine;
mod network;

use std::time::{Duration, Instant, SystemTime};

pub(super) use self::network::account_and_ports;
use super::account::{Access, Account};
use super::background::{Keeper, LocalAgent, Timer};
use super::machine::{Buffers, Clock, Disk, Toolchain};
use super::namespaces::Namespaces;
use super::permissions::Owned;
use super::ports::Network;
use crate::commands::context::Context;
use crate::error::Error;
use crate::settings::Settings;

/// All of it.
#[derive(Debug)]
pub(super) struct Facts {
    /// What the API tells.
    pub(super) account: Account,
    /// Endpoint and token, as they are set.
    pub(super) access: Access,
    /// The port of servers.
    pub(super) network: Network,
    /// cargo and its kin.
    pub(super) toolchain: Toolchain,
    /// What allows and forbids namespaces.
    pub(super) namespaces: Namespaces,
    /// The clocks.
    pub(super) clock: Clock,
    /// The buffers of sockets.
    pub(super) buffers: Buffers,
    /// The space on disks; `None` if the file systems have not answered in time.
    pub(super) disk: Option<Disk>,
    /// The files of ours; `None` as with the disk.
    pub(super) owned: Option<Vec<Owned>>,
    /// The keeper.
    pub(super) keeper: Keeper,
    /// The timer of systemd.
    pub(super) timer: Timer,
    /// The agent on this machine.
    pub(super) agent: LocalAgent,
}

/// Gathers it. Blocks.
pub(super) fn gather(context: &Context<'_>, settings: Result<&Settings, &Error>) -> Facts {
    let Context { runtime, directories, terminal, .. } = *context;
    let settings = settings.ok();
    let first = Reading::take();
    let gathered = async {
        tokio::join!(
            account_and_ports(settings, directories),
            machine::toolchain(),
            machine::namespaces(),
            machine::disk(settings, directories),
            machine::owned(directories),
            background::keeper(directories, terminal),
            background::timer(directories, settings),
            background::agent(runtime, directories),
        )
    };
    let ((account, network), toolchain, namespaces, disk, owned, keeper, timer, agent) =
        runtime.block_on(gathered);
    let clock = Clock { now: seconds(first.wall), moved: moved(&first, &Reading::take()) };
    Facts {
        access: network::access(settings),
        buffers: machine::buffers(),
        account,
        network,
        toolchain,
        namespaces,
        clock,
        disk,
        owned,
        keeper,
        timer,
        agent,
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A reading of the wall clock. This thread may have been interrupted around it.
struct Reading {
    before: Instant,
    wall: SystemTime,
    after: Instant,
}

impl Reading {
    fn take() -> Self {
        let before = Instant::now();
        let wall = SystemTime::now();
        Self { before, wall, after: Instant::now() }
    }
}

/// How far the wall clock has moved, at least, beyond the time that has passed between two readings.
fn moved(first: &Reading, last: &Reading) -> Duration {
    let least = last.before.duration_since(first.after);
    let most = last.after.duration_since(first.before);
    match last.wall.duration_since(first.wall) {
        Ok(shown) if shown > most => shown - most,
        Ok(shown) => least.saturating_sub(shown),
        Err(back) => back.duration() + least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_moves_either_way() {
        let start = Instant::now();
        let secs = Duration::from_secs;
        let reading = |before: u64, wall: u64, after: u64| Reading {
            before: start + secs(before),
            wall: SystemTime::UNIX_EPOCH + secs(wall),
            after: start + secs(after),
        };
        let first = reading(0, 1000, 0);
        assert_eq!(moved(&first, &reading(2, 1002, 2)), secs(0));
        assert_eq!(moved(&first, &reading(2, 1010, 2)), secs(8));
        assert_eq!(moved(&first, &reading(2, 1001, 2)), secs(1));
        assert_eq!(moved(&first, &reading(2, 995, 2)), secs(7));
        // The thread was interrupted for five seconds.
        assert_eq!(moved(&first, &reading(2, 1005, 7)), secs(0));
        assert_eq!(moved(&first, &reading(2, 1009, 7)), secs(2));
    }
}
