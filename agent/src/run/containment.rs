//! How runs can be contained on this machine.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::spec::SUPERVISOR;

/// What the kernel allows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Containment {
    /// Mount and process namespaces, as root.
    Root,
    /// The same inside a user namespace of our own.
    User,
    /// No namespaces: runs happen under the agent's own directory.
    Plain,
}

impl Containment {
    /// As the supervisor's argument.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Plain => "plain",
        }
    }

    /// From the supervisor's argument.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Root, Self::User, Self::Plain].into_iter().find(|kind| kind.name() == name)
    }

    /// Whether projects are seen at their own paths.
    pub(crate) fn keeps_paths(self) -> bool {
        self != Self::Plain
    }

    /// Tries what this machine allows, best first.
    pub(crate) fn probe() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let candidates: &[Self] = if root { &[Self::Root, Self::User] } else { &[Self::User] };
        candidates.iter().copied().find(|kind| kind.works()).unwrap_or(Self::Plain)
    }

    fn works(self) -> bool {
        Command::new("/proc/self/exe")
            .arg0("burst-agent")
            .args([SUPERVISOR, self.name(), "--probe"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}
