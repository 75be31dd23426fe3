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
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    let gathered = async {
        tokio::join!(
            account_and_ports(settings, directories),
            machine::toolchain(),
            machine::namespaces(),
            machine::disk(settings, directories),
            machine::owned(directories),
            background::keeper(directories, terminal),
            background::timer(directories),
            background::agent(runtime, directories),
        )
    };
    let ((account, network), toolchain, namespaces, disk, owned, keeper, timer, agent) =
        runtime.block_on(gathered);
    let clock =
        Clock { now: seconds(wall), moved: moved(wall, SystemTime::now(), monotonic.elapsed()) };
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

/// How far the wall clock has moved beyond the time that has passed.
fn moved(before: SystemTime, after: SystemTime, passed: Duration) -> Duration {
    match after.duration_since(before) {
        Ok(shown) => shown.abs_diff(passed),
        Err(back) => back.duration() + passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_moves_either_way() {
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let passed = Duration::from_secs(2);
        let moved =
            |secs: u64| moved(before, SystemTime::UNIX_EPOCH + Duration::from_secs(secs), passed);
        assert_eq!(moved(1002), Duration::ZERO);
        assert_eq!(moved(1010), Duration::from_secs(8));
        assert_eq!(moved(995), Duration::from_secs(7));
    }
}
