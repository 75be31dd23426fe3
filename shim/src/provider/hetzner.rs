//! The Hetzner provider, as a command sees it: it asks the keeper for a server.

use std::path::Path;

use burst_agent::identity::Patience;
use burst_hcloud::volume::{GB_MAX, GB_MIN};
use burst_protocol::FileName;
use tokio::runtime::Handle;

use super::Reached;
use crate::arguments::Flags;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::hetzner::account::{Credentials, ServerSummary};
use crate::hetzner::naming::ProjectKey;
use crate::hetzner::provision::Tell;
use crate::hetzner::trouble::{Kind, Trouble};
use crate::hetzner::wishes::Wishes;
use crate::keeper::client::{self, Talk};
use crate::keeper::place::Place;
use crate::keeper::route::KeeperRoute;
use crate::keeper::words::{Ask, Event};
use crate::provider::local::grace_secs;
use crate::settings::{Settings, SettingsError};
use crate::sources::below_root;
use crate::state::Directories;
use crate::terminal::Terminal;

/// The provider's name, in paths of the cache.
pub const NAME: &str = "hetzner";

/// A command's hold on the server: over when it is dropped.
#[derive(Debug)]
pub struct Lease(Talk);

impl Lease {
    /// Returns when the keeper is gone.
    pub async fn until_gone(&mut self) {
        self.0.until_gone().await;
    }
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

    /// Reaches a server that has the volume of a workspace; `anew` if the connection that
    /// was had for it does not work.
    pub fn reach(
        &self,
        runtime: &Handle,
        root: &Path,
        wishes: &Wishes,
        anew: bool,
        terminal: &Terminal,
    ) -> Result<Reached, Failure> {
        let path = below_root(root).map_err(Failure::Workspace)?;
        let ask = || Ask::Reach {
            credentials: self.credentials.clone(),
            path: path.clone(),
            wishes: Box::new(wishes.clone()),
            anew,
        };
        let asked = client::ask(&self.directories, ask, terminal);
        let (event, talk) = runtime.block_on(asked)?;
        let Event::Ready(ready) = event else { return Err(odd("it is not ready")) };
        let device = FileName::new(ready.device.as_bytes())
            .map_err(|_| odd("the volume's name is no file name"))?;
        let place = Place::open(&self.directories.state)?;
        let route = KeeperRoute::new(place, ready.ticket);
        // From here on its age is told by our clock, which may be wrong.
        let created = burst_hcloud::Timestamp::now().as_second() - ready.age_secs;
        let server = ServerSummary { created, ..ready.server };
        Ok(Reached {
            connection: Connection::through(route, ready.address),
            started: ready.fresh_server,
            device: Some(device),
            server: Some(server),
            lease: Some(Lease(talk)),
        })
    }
}

/// What a command wishes for. An error if no volume can have the size that is set.
pub fn wishes(
    settings: &Settings,
    flags: &Flags,
    spend_at_most: Option<f64>,
    root: &Path,
) -> Result<Wishes, Failure> {
    if !(GB_MIN..=GB_MAX).contains(&settings.volume_gb) {
        // Found out by the API, it would cost a server's first hour.
        return Err(Failure::Settings(SettingsError::WrongValue {
            key: "volume_gb",
            allowed: "10 to 10240",
            value: settings.volume_gb.to_string(),
            origin: settings.origin_of("volume_gb"),
        }));
    }
    let seconds = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX / 4);
    let kept = |secs: u64| (!flags.no_reap).then(|| seconds(secs));
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Wishes {
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
        gone_after_secs: grace_secs().min(Patience::default().gone_after.as_secs()),
    })
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
