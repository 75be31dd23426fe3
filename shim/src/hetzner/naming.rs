//! Names and labels of resources: they say that cargo-burst created a resource, for which
//! owner, and for which project. Pure.
//!
//! Names are deterministic and, at Hetzner, unique in a project, so two commands that
//! create the same resource at the same time create one. Labels are set on creation. Their
//! keys have a dot instead of a prefix with a slash, which is reserved for domain names.

use std::path::Path;

use burst_hcloud::label::to_value;
use burst_hcloud::{Labels, Selector};
use burst_protocol::Digest;

/// The label of all resources of cargo-burst.
pub(crate) const MANAGED_BY: (&str, &str) = ("managed-by", "cargo-burst");
/// The role of a resource: [`SERVER`], [`VOLUME`], [`FIREWALL`], [`IMAGE`] or [`SSH_KEY`].
pub(crate) const ROLE: &str = "cargo-burst.role";
/// The owner, an [`Owner`].
pub(crate) const OWNER: &str = "cargo-burst.owner";
/// The host name of the owner's machine, for display.
pub(crate) const HOST: &str = "cargo-burst.host";
/// The last use in unix seconds.
pub(crate) const LAST_USE: &str = "cargo-burst.last-use";
/// Seconds that an idle resource is kept, or `always`.
pub(crate) const KEEP_ALIVE: &str = "cargo-burst.keep-alive";
/// Whether an idle server is kept until its paid hour ends: `yes` or `no`.
pub(crate) const KEEP_PAID_HOUR: &str = "cargo-burst.keep-paid-hour";
/// The name of the key pair of a server's agent, see [`super::keys`].
pub(crate) const KEYS: &str = "cargo-burst.keys";
/// The project of a volume, a [`ProjectKey`].
pub(crate) const PROJECT: &str = "cargo-burst.project";
/// The name of the project's directory, for display.
pub(crate) const PROJECT_NAME: &str = "cargo-burst.project-name";

/// The version of the agent in an image.
pub(crate) const AGENT_VERSION: &str = "cargo-burst.agent-version";

/// Whether the rules of a firewall have been completed with TCP: `yes`, or absent.
pub(crate) const TCP_RULES: &str = "cargo-burst.tcp-rules";

/// The role of servers.
pub(crate) const SERVER: &str = "server";
/// The role of volumes.
pub(crate) const VOLUME: &str = "volume";
/// The role of the firewall.
pub(crate) const FIREWALL: &str = "firewall";
/// The role of snapshots that servers are created from.
pub(crate) const IMAGE: &str = "image";
/// The role of the SSH keys of create calls, see [`super::throwaway_key`].
pub(crate) const SSH_KEY: &str = "ssh-key";

/// The name of the firewall, which all owners share.
pub(crate) const FIREWALL_NAME: &str = "cargo-burst";

/// The value of [`KEEP_ALIVE`] for resources that only `cargo burst down` deletes.
const ALWAYS: &str = "always";

/// Hexadecimal digits of owners, projects, accounts and pairs of keys in names and labels.
const DIGITS: usize = 16;

/// The first digits of a digest, as a name.
pub(super) fn short_digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()[..DIGITS].to_owned()
}

/// Whether a text can be such a name.
pub(super) fn is_short_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The owner of resources: one installation of one user on one machine. Sixteen hexadecimal
/// digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(String);

impl Owner {
    /// The owner with this seed on the machine with this id, for this user. A label that
    /// names the owner does not disclose the machine's id.
    pub(crate) fn of(seed: &str, machine: &str, user: u32) -> Self {
        Self(short_digest(format!("{seed}\n{machine}\n{user}").as_bytes()))
    }

    /// An owner without resources.
    pub(crate) fn nobody() -> Self {
        Self("0".repeat(DIGITS))
    }

    /// The digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the owner's server.
    pub(crate) fn server_name(&self) -> String {
        format!("cargo-burst-{}", self.0)
    }

    /// The name of an SSH key with this digest.
    pub(crate) fn ssh_key_name(&self, digest: &str) -> String {
        format!("cargo-burst-{}-{digest}", self.0)
    }

    /// The name of a project's volume in a location. Volumes of one project in two
    /// locations exist side by side while one replaces the other.
    pub(crate) fn volume_name(&self, project: &ProjectKey, location: &str) -> String {
        format!("cargo-burst-{}-{}-{location}", self.0, project.0)
    }
}

/// A project in names and labels: sixteen hexadecimal digits for a workspace's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct ProjectKey(String);

impl ProjectKey {
    /// The key of a workspace's absolute path.
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self(short_digest(path.as_os_str().as_bytes()))
    }

    /// The key in the labels of a volume; `None` without that label.
    pub(crate) fn of_volume(labels: &Labels) -> Option<Self> {
        labels.get(PROJECT).cloned().map(Self)
    }

    /// The digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Selects all resources of cargo-burst, or those of one role.
pub(crate) fn ours(role: Option<&str>) -> Selector {
    let all = Selector::equals(MANAGED_BY.0, MANAGED_BY.1);
    match role {
        Some(role) => all.and(ROLE, role),
        None => all,
    }
}

/// The labels that identify a resource: role and owner.
pub(crate) fn identity(role: &str, owner: &Owner) -> Labels {
    let pairs = [MANAGED_BY, (ROLE, role), (OWNER, owner.as_str())];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The labels of a resource that all owners share.
pub(crate) fn shared_identity(role: &str) -> Labels {
    [MANAGED_BY, (ROLE, role)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The labels of the lifetime: the last use in unix seconds, and the seconds that an idle
/// resource is kept (`None`: until it is deleted by hand).
pub(crate) fn lifetime(last_use: i64, keep_alive: Option<i64>) -> Labels {
    let keep_alive = keep_alive.map_or_else(|| ALWAYS.to_owned(), |secs| secs.to_string());
    [(LAST_USE.to_owned(), last_use.to_string()), (KEEP_ALIVE.to_owned(), keep_alive)].into()
}

/// The value of [`HOST`] for this machine.
pub(crate) fn host_label() -> String {
    to_value(&rustix::system::uname().nodename().to_string_lossy())
}

/// The last use of a resource by its labels, else its creation.
pub(crate) fn last_use(labels: &Labels, created: i64) -> i64 {
    labels.get(LAST_USE).and_then(|text| text.parse().ok()).unwrap_or(created)
}

/// Seconds that an idle resource is kept by its labels, else `fallback`; `None`: until it
/// is deleted by hand.
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
    fn names_are_unique_and_within_the_limits_of_the_api() {
        let owner = Owner::of("seed", "machine", 0);
        let projects = ["/a", "/b"].map(|path| ProjectKey::of(Path::new(path)));
        let names = projects.clone().map(|project| owner.volume_name(&project, "hel1"));
        assert_ne!(names[0], names[1]);
        // The API's limits of names of volumes and servers.
        assert!(names[0].len() <= 64 && owner.server_name().len() <= 63);
        let labels = identity(SERVER, &owner);
        assert!(labels.values().all(|value| is_value(value)));
        assert!(is_value(&host_label()));
    }

    #[test]
    fn seed_machine_and_user_make_an_owner() {
        let owner = Owner::of("seed", "machine", 0);
        assert_eq!(Owner::of("seed", "machine", 0), owner);
        for other in [
            Owner::of("other", "machine", 0),
            Owner::of("seed", "", 0),
            Owner::of("seed", "machine", 1),
        ] {
            assert_ne!(other, owner);
        }
    }

    #[test]
    fn lifetimes_survive_their_labels() {
        let labels = lifetime(77, Some(300));
        assert_eq!((last_use(&labels, 5), keep_alive(&labels, 9)), (77, Some(300)));
        assert_eq!(keep_alive(&lifetime(77, None), 9), None);
        let nothing = Labels::new();
        assert_eq!((last_use(&nothing, 5), keep_alive(&nothing, 9)), (5, Some(9)));
    }
}
