//! Names and labels: how we know what is ours, and what it is for.
//!
//! Names are deterministic and, with Hetzner, unique in a project: two who create the
//! same thing make one. Labels are there from the creation on. Keys have no prefix of
//! their own, since not every label grammar allows one without a dot in it.

use std::path::Path;

use burst_hcloud::label::to_value;
use burst_hcloud::{Labels, Selector};
use burst_protocol::Digest;

/// On everything of ours: `managed-by=cargo-burst`.
pub(crate) const MANAGED_BY: (&str, &str) = ("managed-by", "cargo-burst");
/// What it is: [`SERVER`], [`VOLUME`], [`FIREWALL`], [`IMAGE`].
pub(crate) const ROLE: &str = "cargo-burst.role";
/// Whose it is.
pub(crate) const OWNER: &str = "cargo-burst.owner";
/// The owner's machine, for people.
pub(crate) const HOST: &str = "cargo-burst.host";
/// When it was last used, in unix seconds.
pub(crate) const LAST_USE: &str = "cargo-burst.last-use";
/// Seconds that it is kept when idle, or `always`.
pub(crate) const KEEP_ALIVE: &str = "cargo-burst.keep-alive";
/// Whether its paid hour is used up: `yes` or `no`.
pub(crate) const KEEP_PAID_HOUR: &str = "cargo-burst.keep-paid-hour";
/// The keys by which its agent is known: see [`super::keys`].
pub(crate) const KEYS: &str = "cargo-burst.keys";
/// The project that a volume is for.
pub(crate) const PROJECT: &str = "cargo-burst.project";
/// The project's directory name, for people.
pub(crate) const PROJECT_NAME: &str = "cargo-burst.project-name";

/// A server.
pub(crate) const SERVER: &str = "server";
/// A volume.
pub(crate) const VOLUME: &str = "volume";
/// The firewall.
pub(crate) const FIREWALL: &str = "firewall";
/// A snapshot that servers are made from.
pub(crate) const IMAGE: &str = "image";

/// The firewall's name; all owners share it.
pub(crate) const FIREWALL_NAME: &str = "cargo-burst";

/// What keeps a thing until it is deleted by hand.
const ALWAYS: &str = "always";

/// Hexadecimal digits of owners and projects in names.
const DIGITS: usize = 16;

/// Who owns servers: one installation of one user, made up once and kept in the state
/// directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(String);

impl Owner {
    /// From what was kept, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self(text.to_owned()))
    }

    /// From random bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes).to_hex()[..DIGITS].to_owned())
    }

    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its server.
    pub(crate) fn server_name(&self) -> String {
        format!("cargo-burst-{}", self.0)
    }

    /// The name of a project's volume in a location: one that replaces another in
    /// another location exists beside it for a while.
    pub(crate) fn volume_name(&self, project: &ProjectKey, location: &str) -> String {
        format!("cargo-burst-{}-{}-{location}", self.0, project.0)
    }
}

/// A project, in names and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct ProjectKey(String);

impl ProjectKey {
    /// Of a workspace's absolute path.
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self(Digest::of(path.as_os_str().as_bytes()).to_hex()[..DIGITS].to_owned())
    }

    /// From a label.
    pub(crate) fn from_label(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All that is ours, or all of one role.
pub(crate) fn ours(role: Option<&str>) -> Selector {
    let all = Selector::equals(MANAGED_BY.0, MANAGED_BY.1);
    match role {
        Some(role) => all.and(ROLE, role),
        None => all,
    }
}

/// The labels that tell what a thing is and whose.
pub(crate) fn identity(role: &str, owner: &Owner) -> Labels {
    let pairs = [MANAGED_BY, (ROLE, role), (OWNER, owner.as_str())];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The labels that tell how long it is kept.
pub(crate) fn lifetime(last_use: i64, keep_alive: Option<i64>) -> Labels {
    let keep_alive = keep_alive.map_or_else(|| ALWAYS.to_owned(), |secs| secs.to_string());
    [(LAST_USE.to_owned(), last_use.to_string()), (KEEP_ALIVE.to_owned(), keep_alive)].into()
}

/// For people: on which machine it was made.
pub(crate) fn host_label() -> String {
    to_value(&rustix::system::uname().nodename().to_string_lossy())
}

/// When it was last used, as its labels tell; else when it was created.
pub(crate) fn last_use(labels: &Labels, created: i64) -> i64 {
    labels.get(LAST_USE).and_then(|text| text.parse().ok()).unwrap_or(created)
}

/// How long it is kept when idle; `fallback` where the labels do not tell.
pub(crate) fn keep_alive(labels: &Labels, fallback: i64) -> Option<i64> {
    match labels.get(KEEP_ALIVE).map(String::as_str) {
        Some(ALWAYS) => None,
        Some(text) => Some(text.parse().unwrap_or(fallback)),
        None => Some(fallback),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burst_hcloud::label::is_value;

    #[test]
    fn names_are_short_and_told_apart() {
        let owner = Owner::from_bytes(b"random");
        let projects = ["/a", "/b"].map(|path| ProjectKey::of(Path::new(path)));
        let names = projects.clone().map(|project| owner.volume_name(&project, "hel1"));
        assert_ne!(names[0], names[1]);
        // The API's limits of names of volumes and servers.
        assert!(names[0].len() <= 64 && owner.server_name().len() <= 63);
        assert_eq!(Owner::parse(owner.as_str()), Some(owner.clone()));
        assert_eq!(Owner::parse("short"), None);
        let labels = identity(SERVER, &owner);
        assert!(labels.values().all(|value| is_value(value)));
        assert!(is_value(&host_label()));
    }

    #[test]
    fn lifetimes_survive_labels() {
        let labels = lifetime(77, Some(300));
        assert_eq!((last_use(&labels, 5), keep_alive(&labels, 9)), (77, Some(300)));
        assert_eq!(keep_alive(&lifetime(77, None), 9), None);
        let nothing = Labels::new();
        assert_eq!((last_use(&nothing, 5), keep_alive(&nothing, 9)), (5, Some(9)));
    }
}
