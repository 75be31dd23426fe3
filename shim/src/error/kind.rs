//! The kinds of errors.

use serde::{Deserialize, Serialize};

/// What failed, as far as callers, exit codes and programs that read JSON tell it apart.
///
/// The names in JSON are these in snake case; they are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorKind {
    /// The command line is not valid.
    Usage,
    /// What the command would end or delete was not agreed to.
    Unconfirmed,
    /// A settings file or an environment variable is not valid.
    Settings,
    /// A project file goes beyond the user's own settings and is not trusted.
    Untrusted,
    /// cargo itself refused; it has said why, and its exit code is ours.
    Cargo,
    /// The workspace cannot be read or sent.
    Workspace,
    /// A file changed while it was read or sent.
    WorkspaceChanged,
    /// The sync would delete all sources on the agent.
    WouldEmpty,
    /// The agent on this machine does not start.
    AgentStart,
    /// The agent does not answer.
    AgentSilent,
    /// The agent is shutting down.
    AgentEnding,
    /// The run ended without a result: the connection or the agent failed.
    RunLost,
    /// The agent was asked to end while the run was under way.
    RunEnded,
    /// The project's volume is not attached to the server.
    NoVolume,
    /// The agent holds other bytes than agreed; a full sync repairs it.
    AgentCorrupt,
    /// Results cannot be written here.
    Results,
    /// Standard output or standard error cannot be written.
    Output,
    /// The reader of the output has gone, as in `| head`. Not reported.
    BrokenPipe,
    /// The Hetzner token is missing, malformed, revoked or read-only.
    Token,
    /// No server can be had: out of stock, quota, unknown type or location.
    Unavailable,
    /// A cost limit would be exceeded.
    CostLimit,
    /// There is no image to create servers from.
    NoImage,
    /// The Hetzner API refuses, or cannot be reached.
    Api,
    /// The keeper does not start or does not answer.
    Keeper,
    /// The other end of a connection is not our agent.
    Identity,
    /// Agent and shim have no protocol version in common.
    Version,
    /// A directory or file of cargo-burst's own cannot be used.
    State,
    /// Neither cargo nor cargo-burst has the verb.
    NoCommand,
}
