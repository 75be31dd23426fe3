//! The ways in which a machine allows runs to be contained.

/// How a run is separated from the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Containment {
    /// Mount and process namespaces, made as root.
    Root,
    /// The same inside a user namespace of the agent's own user.
    User,
    /// No namespaces: runs happen below the agent's own directory.
    Plain,
}

impl Containment {
    /// The name in arguments of helper programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Plain => "plain",
        }
    }

    /// The containment of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Root, Self::User, Self::Plain].into_iter().find(|kind| kind.name() == name)
    }

    /// Whether runs see projects at the absolute paths of the client.
    pub(crate) fn keeps_paths(self) -> bool {
        self != Self::Plain
    }
}
