//! Whether an agent runs on this machine, and the events that change it.
//!
//! The agent holds a lock in its directory of keys until it exits, and has an address file
//! there from the moment it listens until it begins to shut down. Nothing here starts or
//! stops an agent.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::background::lock;
use crate::error::Error;

/// The agent's lock, in its directory.
pub(super) const LOCK: &str = "lock";

/// How often the address file is read where the kernel has no inotify instance left, as
/// with many editors open: 128 per user is the usual limit.
const FALLBACK_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the agent on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// None runs.
    Absent,
    /// It is starting or shutting down.
    NotListening,
    /// It accepts connections.
    Listening {
        /// Its UDP address.
        address: SocketAddr,
        /// Its process id.
        pid: Option<u32>,
    },
}

impl Presence {
    /// The state of the agent in a directory of keys.
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        if !lock::is_held(&directory.join(LOCK))? {
            return Ok(Self::Absent);
        }
        let text = std::fs::read_to_string(directory.join("address")).unwrap_or_default();
        Ok(Self::parse(&text))
    }

    /// The state by an address file, `ADDRESS PID VERSION`; empty if there is none.
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        match words.next().and_then(|word| word.parse().ok()) {
            Some(address) => {
                Self::Listening { address, pid: words.next().and_then(|word| word.parse().ok()) }
            }
            None => Self::NotListening,
        }
    }

    /// The process id, where it is known.
    pub(super) const fn pid(self) -> Option<u32> {
        match self {
            Self::Listening { pid, .. } => pid,
            Self::Absent | Self::NotListening => None,
        }
    }

    /// Completes when the state is not this one any more, or may have been another in
    /// between. Returns the state at that time.
    pub(super) async fn changed(self, directory: &Path) -> Result<Self, Error> {
        let lock_path = directory.join(LOCK);
        let mut released = std::pin::pin!(lock::released(&lock_path));
        // Before the first look, so that no event is lost.
        let mut events = Events::watch(directory);
        loop {
            let now = Self::read(directory)?;
            if now != self {
                return Ok(now);
            }
            tokio::select! {
                released = &mut released => {
                    released?;
                    return Self::read(directory);
                }
                () = events.next() => {}
            }
        }
    }
}

/// Events of a directory: a file is created, renamed or deleted there. The descriptor of
/// the kernel's events is read like a pipe.
struct Events(Option<Receiver>);

impl Events {
    /// Watches a directory.
    fn watch(directory: &Path) -> Self {
        let watch = || -> std::io::Result<Receiver> {
            let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
            inotify::add_watch(&descriptor, directory, kinds)?;
            Receiver::from_owned_fd_unchecked(descriptor)
        };
        Self(watch().ok())
    }

    /// Completes after the next events.
    async fn next(&mut self) {
        let mut events = [0; 4096];
        let read = match &mut self.0 {
            Some(descriptor) => descriptor.read(&mut events).await.is_ok(),
            None => false,
        };
        if !read {
            tokio::time::sleep(FALLBACK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn an_address_file_is_parsed() {
        let address = ([127, 0, 0, 1], 4242).into();
        let found = Presence::parse("127.0.0.1:4242 77 0.1.0\n");
        assert_eq!(found, Presence::Listening { address, pid: Some(77) });
        assert_eq!(Presence::parse(""), Presence::NotListening);
        assert_eq!(Presence::parse("nonsense 5"), Presence::NotListening);
    }

    #[tokio::test]
    async fn changes_are_events() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(Presence::read(path).unwrap(), Presence::Absent);
        let lock = lock::try_take(&path.join(LOCK)).unwrap().unwrap();
        assert_eq!(Presence::read(path).unwrap(), Presence::NotListening);
        let listen = async {
            let mut file = File::create(path.join("address.new")).unwrap();
            file.write_all(b"127.0.0.1:1 5 0.1.0\n").unwrap();
            std::fs::rename(path.join("address.new"), path.join("address")).unwrap();
        };
        let (seen, ()) = tokio::join!(Presence::NotListening.changed(path), listen);
        let listening = seen.unwrap();
        assert_eq!(listening.pid(), Some(5));
        // A killed agent leaves its address file behind.
        let (seen, ()) = tokio::join!(listening.changed(path), async { drop(lock) });
        assert_eq!(seen.unwrap(), Presence::Absent);
    }
}
