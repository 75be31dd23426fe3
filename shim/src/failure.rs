//! Every error that ends a command, with its exit code and its hint. This is the
//! only place that decides either.

use std::io;
use std::path::PathBuf;

use burst_agent::error::AgentError;
use burst_protocol::hello::VERSIONS;
use burst_protocol::message::{self, FailureKind};
use burst_sync::SyncError;

use crate::exit_code::Own;
use crate::hetzner::trouble::{Kind, Trouble};

/// How a program that SIGPIPE has ended looks to a shell: 128 and the signal's number.
const SIGPIPE_CODE: u8 = 141;

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An error that says all of itself.
    #[error(transparent)]
    Said(#[from] crate::error::Error),
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// There is no local cargo to ask about the workspace.
    #[error("cannot run `{program}` to look at the workspace")]
    NoCargo {
        /// As it was called.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// cargo does not accept the workspace. Its own words come first.
    #[error("cargo cannot read this workspace")]
    NoWorkspace {
        /// What cargo wrote.
        words: String,
        /// How it exited.
        code: u8,
    },
    /// A directory of ours.
    #[error("cannot use `{}`", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The workspace cannot be read.
    #[error("the workspace cannot be sent")]
    Workspace(#[source] SyncError),
    /// A file kept changing.
    #[error("the workspace keeps changing while it is read")]
    Restless(#[source] SyncError),
    /// The local agent does not start.
    #[error("the agent on this machine does not start")]
    AgentStart {
        /// What it wrote last.
        words: String,
        /// Its log.
        log: PathBuf,
    },
    /// Servers, or the keeper of them.
    #[error(transparent)]
    Server(Trouble),
    /// Keys of the connection.
    #[error("the connection to the agent cannot be prepared")]
    Keys(#[source] AgentError),
    /// Nothing answers.
    #[error("the agent at {address} does not answer")]
    Silent {
        /// Where.
        address: std::net::SocketAddr,
        /// What QUIC says.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Somebody else answers.
    #[error("what answers at {address} is not our agent")]
    NotOurs {
        /// Where.
        address: std::net::SocketAddr,
        /// What gave it away.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Versions that have nothing in common.
    #[error("the agent ({agent}) and this cargo-burst ({own}) speak different protocol versions")]
    Version {
        /// The agent's program version.
        agent: String,
        /// The lowest and the highest protocol version that it speaks.
        speaks: (u16, u16),
        /// Our program version.
        own: &'static str,
        /// Whether the agent is the newer one.
        agent_is_newer: bool,
    },
    /// The agent is going away.
    #[error("the agent is ending")]
    AgentEnding,
    /// The connection broke.
    #[error("the connection to the agent was lost{}", if *started { " while cargo ran" } else { "" })]
    Lost {
        /// Whether cargo was running.
        started: bool,
        /// Why.
        source: SyncError,
    },
    /// The agent gave up, and says why.
    #[error("{}", .0.messages.first().map_or("the agent gave up", String::as_str))]
    Agent(message::Failure),
    /// Results were not all written.
    #[error("cargo is done, but its results are not all here")]
    Results(#[source] SyncError),
    /// What was to be shown cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl Failure {
    /// How the program exits.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Said(error) => error.exit_code(),
            Self::Usage(_) => Own::Usage as u8,
            Self::NoCargo { .. } | Self::Workspace(_) | Self::Restless(_) => Own::Workspace as u8,
            Self::NoWorkspace { code, .. } => *code,
            Self::Directory { .. }
            | Self::AgentStart { .. }
            | Self::Server(_)
            | Self::Keys(_)
            | Self::Silent { .. }
            | Self::NotOurs { .. }
            | Self::Version { .. }
            | Self::AgentEnding => Own::Agent as u8,
            Self::Agent(failure) => match failure.kind {
                FailureKind::WouldEmpty => Own::Workspace as u8,
                _ => Own::Run as u8,
            },
            Self::Lost { .. } => Own::Run as u8,
            Self::Results(_) => Own::Results as u8,
            Self::Output(_) if self.is_silent() => SIGPIPE_CODE,
            Self::Output(_) => Own::Results as u8,
        }
    }

    /// Whether nothing is to be said of it: whoever closes a pager or has seen enough
    /// with `head` knows.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the connection can still be used.
    pub const fn leaves_connection(&self) -> bool {
        matches!(self, Self::Restless(_) | Self::Agent(_))
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        if let Self::Agent(failure) = self {
            let mut causes: Vec<String> = failure.messages.iter().skip(1).cloned().collect();
            if failure.kind == FailureKind::WouldEmpty {
                causes.push("the scan here found none of the project's sources".into());
            }
            return causes;
        }
        match self {
            Self::Said(error) => return error.causes().to_vec(),
            Self::Server(trouble) => return trouble.messages.iter().skip(1).cloned().collect(),
            Self::AgentStart { words, .. } if words.is_empty() => {
                return vec!["it was not ready in time and wrote nothing".into()];
            }
            Self::AgentStart { words, .. } => return words.lines().map(str::to_owned).collect(),
            Self::NoWorkspace { code, .. } => {
                return vec![format!("`cargo metadata` exited with code {code}")];
            }
            Self::Version { speaks: (lowest, highest), .. } => {
                let (low, high) = (VERSIONS.start(), VERSIONS.end());
                return vec![format!(
                    "the agent speaks versions {lowest} to {highest}, this program {low} to {high}"
                )];
            }
            Self::Silent { source: None, .. } => {
                return vec!["the handshake was not answered in time".into()];
            }
            _ => {}
        }
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let text = error.to_string();
            // Wrappers that say nothing new are left out.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = error.source();
        }
        causes
    }

    /// What the user can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Said(error) => error.hint().to_owned(),
            Self::Usage(_) => "`cargo burst --help` lists the commands".into(),
            Self::NoCargo { .. } => "install Rust from https://rustup.rs, or set CARGO".into(),
            Self::NoWorkspace { .. } => {
                "run it inside a cargo workspace, or name one with --manifest-path".into()
            }
            Self::Directory { path, .. } => format!(
                "make `{}` writable, or point XDG_STATE_HOME, XDG_CACHE_HOME and \
                 XDG_CONFIG_HOME elsewhere",
                path.display()
            ),
            Self::Workspace(error) => workspace_hint(error),
            Self::Restless(_) => {
                "wait until nothing writes to it, or name what does in `extra_excludes`".into()
            }
            Self::AgentStart { log, .. } => format!("its log is `{}`", log.display()),
            Self::Server(trouble) => server_hint(&trouble.kind),
            Self::Keys(_) => {
                "`cargo burst down` ends the agent; new keys are made when it starts again".into()
            }
            Self::Silent { .. } | Self::AgentEnding => {
                "run it again; if it stays so, `cargo burst down` ends the agent and the next \
                 run starts a new one"
                    .into()
            }
            Self::NotOurs { .. } => {
                "end what listens there, or `cargo burst down`; then run it again".into()
            }
            Self::Version { agent_is_newer: true, .. } => {
                "update this program: `cargo install cargo-burst`".into()
            }
            Self::Version { .. } => {
                "`cargo burst down` ends the old agent; the next run starts a new one".into()
            }
            Self::Lost { .. } => {
                "nothing here was changed; run it again, the agent goes on from what it has".into()
            }
            Self::Agent(failure) => agent_hint(failure.kind).into(),
            Self::Results(error) => results_hint(error),
            Self::Output(_) => {
                "make room where standard output and standard error go, and run it again".into()
            }
        }
    }
}

fn server_hint(kind: &Kind) -> String {
    match kind {
        Kind::Token => {
            "make a token in the Hetzner console (project, Security, API tokens, Read & \
             Write) and put it into HCLOUD_TOKEN or ~/.config/cargo-burst/config.toml"
                .into()
        }
        Kind::ReadOnlyToken => "make a token with Read & Write in the Hetzner console".into(),
        Kind::NoImage => "`cargo burst image build` makes one".into(),
        Kind::OutOfStock => {
            "try again later, or name more in `region` and `server_type`, which take lists".into()
        }
        Kind::ServerType(nearest) => {
            format!("set `server_type`; did you mean {}?", nearest.join(", "))
        }
        Kind::Location(names) => format!("set `region` to one of {}", names.join(", ")),
        Kind::Quota => {
            "delete what is not needed (`cargo burst status --all`), or have the limit raised in \
             the Hetzner console"
                .into()
        }
        Kind::TooExpensive => {
            "raise `--max-cost` or `monthly_budget`, or name a smaller `server_type`".into()
        }
        Kind::Taken => "rename or delete it in the Hetzner console".into(),
        Kind::Outage => {
            "run it again later; https://status.hetzner.com tells more. What is there stays, and \
             is found again"
                .into()
        }
        Kind::Silent => {
            "run it again; if it stays so, check that UDP port 7777 is open on your network, or \
             let `cargo burst down` delete the server"
                .into()
        }
        Kind::Keeper => "run it again: the next command starts a new keeper".into(),
        Kind::Other => "`cargo burst status` shows what is there".into(),
    }
}

fn workspace_hint(error: &SyncError) -> String {
    match error {
        SyncError::Read { path, .. } => format!(
            "make `/{0}` readable, or add it to `extra_excludes` in .config/cargo-burst.toml",
            path.display()
        ),
        SyncError::Path { .. } => "shorten the path, or add it to `extra_excludes`".into(),
        _ => "check the workspace's directories".into(),
    }
}

fn results_hint(error: &SyncError) -> String {
    if error.is_disk_full() {
        return "make room on this disk and run it again: cargo's work is kept on the agent".into();
    }
    "run it again: cargo's work is kept on the agent and only the results travel".into()
}

const fn agent_hint(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::DiskFull => {
            "make room on the agent's disk, or drop its projects with \
             `cargo burst down --with-volumes`"
        }
        FailureKind::WouldEmpty => {
            "check that the workspace's files are here and not all excluded; nothing was \
             deleted. If it is meant, `cargo burst down --with-volumes` first"
        }
        FailureKind::NoCargo => "install Rust on the agent's machine, or fix its PATH",
        FailureKind::Corrupt | FailureKind::Ending => "run it again",
        FailureKind::Other => {
            "run it again; if it stays so, `cargo burst down --with-volumes` begins anew"
        }
    }
}
