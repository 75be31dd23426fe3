//! The Hetzner provider, as a command sees it: it asks the keeper for a server.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use burst_agent::transport::IdleTimeout;
use burst_protocol::FileName;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Reached;
use crate::arguments::Flags;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::hetzner::account::{Credentials, ServerSummary};
use crate::hetzner::naming::ProjectKey;
use crate::hetzner::provision::Tell;
use crate::hetzner::trouble::{Kind, Trouble};
use crate::hetzner::wishes::Wishes;
use crate::keeper::client;
use crate::keeper::place::Place;
use crate::keeper::route::{Arrival, KeeperRoute};
use crate::keeper::words::{Ask, Event, Ready};
use crate::provider::local::grace_secs;
use crate::settings::Settings;
use crate::state::Directories;
use crate::terminal::Terminal;

/// The provider's name, in paths of the cache.
pub const NAME: &str = "hetzner";

/// A command's hold on the server: over when it is dropped.
#[derive(Debug)]
pub struct Lease {
    _end: mpsc::Sender<()>,
}

/// Servers of one token.
#[derive(Debug)]
pub struct HetznerProvider {
    directories: Directories,
    credentials: Credentials,
}

impl HetznerProvider {
    /// For a token, if there is one.
    pub fn of(directories: &Directories, settings: &Settings) -> Option<Self> {
        let token = settings.hetzner_token.as_ref()?;
        let credentials = Credentials::new(&settings.hetzner_endpoint, token);
        Some(Self { directories: directories.clone(), credentials })
    }

    /// What the token is for.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Reaches a server that has the volume of a project; `anew` if the connection that
    /// was had for it does not work. Returns as soon as it is known which disk that will
    /// be: what is to be said can be said, and waits for the server.
    pub fn reach(
        &self,
        runtime: &Handle,
        wishes: &Wishes,
        anew: bool,
        terminal: &Arc<Terminal>,
    ) -> Result<Reached, Failure> {
        let place = Place::open(&self.directories.state)?;
        let (arrive, arrival) = watch::channel(Arrival::Awaited);
        let (end, ended) = mpsc::channel::<()>();
        let (know, known) = mpsc::channel();
        let relay = Relay { terminal: terminal.clone(), know: know.clone() };
        let (directories, credentials) = (self.directories.clone(), self.credentials.clone());
        let (asking, wishes) = (runtime.clone(), wishes.clone());
        std::thread::spawn(move || {
            let ask = || Ask::Reach {
                credentials: credentials.clone(),
                wishes: Box::new(wishes.clone()),
                anew,
            };
            let asked = asking.block_on(client::ask(&directories, ask, &relay));
            relay.terminal.quiet();
            match asked {
                Ok((Event::Ready(ready), talk)) => {
                    let device = ready.device.clone();
                    arrive.send_replace(Arrival::There(Box::new(ready), Instant::now()));
                    drop(know.send(Ok(device)));
                    // The server is in use until whoever reached it is done.
                    match ended.recv() {
                        Ok(()) | Err(_) => drop(talk),
                    }
                }
                Ok(_) => {
                    drop(know.send(Err(odd("it is not ready"))));
                }
                Err(failure) => {
                    arrive.send_replace(Arrival::Failed(trouble_of(&failure)));
                    drop(know.send(Err(failure)));
                }
            }
        });
        let device = known.recv().unwrap_or_else(|_| Err(odd("it says nothing")))?;
        let device = FileName::new(device.as_bytes())
            .map_err(|_| odd("the volume's name is no file name"))?;
        let route = KeeperRoute::new(place, arrival, runtime.clone());
        Ok(Reached {
            connection: Connection::through(route),
            started: false,
            device: Some(device),
            lease: Some(Lease { _end: end }),
        })
    }
}

/// Passes on what the keeper tells.
struct Relay {
    terminal: Arc<Terminal>,
    know: mpsc::Sender<Result<String, Failure>>,
}

impl Tell for Relay {
    fn step(&self, text: &str) {
        self.terminal.begin(text);
    }

    fn warn(&self, text: &str) {
        self.terminal.warn(text);
    }

    fn disk(&self, device: &str) {
        // Whoever waits needs to hear it once.
        drop(self.know.send(Ok(device.to_owned())));
    }
}

/// A failure as those hear it who already speak.
fn trouble_of(failure: &Failure) -> Trouble {
    match failure {
        Failure::Server(trouble) => trouble.clone(),
        other => Trouble::own(Kind::Keeper, other),
    }
}

/// What a server is and costs, its age told by our clock, which may be wrong.
pub fn by_our_clock(ready: &Ready, at: Instant) -> ServerSummary {
    let age = ready.age_secs + i64::try_from(at.elapsed().as_secs()).unwrap_or(0);
    let created = burst_hcloud::Timestamp::now().as_second() - age;
    ServerSummary { created, ..ready.server.clone() }
}

/// The server that a command asks for, out of its settings and flags.
pub fn wishes(
    settings: &Settings,
    flags: &Flags,
    spend_at_most: Option<f64>,
    root: &Path,
) -> Wishes {
    let seconds = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX / 4);
    let kept = |secs: u64| (!flags.no_reap).then(|| seconds(secs));
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Wishes {
        project: ProjectKey::of(root),
        project_name: name,
        regions: settings.region.clone(),
        server_types: settings.server_type.clone(),
        volume_gb: settings.volume_gb,
        keep_alive: kept(flags.keep_alive.unwrap_or(settings.keep_alive_secs)),
        volume_keep_alive: kept(settings.volume_keep_alive_secs),
        keep_paid_hour: settings.keep_paid_hour,
        dead_man: settings.dead_man_switch.then(dead_man_secs),
        spend_at_most,
        gone_after_secs: grace_secs().min(IdleTimeout::default().gone_after.as_secs()),
    }
}

/// Seconds beyond its time that a forgotten server waits. Nobody has to set it; tests
/// do.
fn dead_man_secs() -> u64 {
    let set = std::env::var("CARGO_BURST_DEAD_MAN_SECS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(600)
}

fn odd(words: &str) -> Failure {
    let mut trouble = Trouble::new(Kind::Keeper, "the keeper's answer makes no sense");
    trouble.messages.push(words.to_owned());
    Failure::Server(trouble)
}

impl Tell for Terminal {
    fn step(&self, text: &str) {
        self.begin(text);
    }

    fn warn(&self, text: &str) {
        Self::warn(self, text);
    }
}
