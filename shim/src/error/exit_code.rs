//! The exit codes of this program. They are part of its interface: a script may rely on
//! each of them.
//!
//! cargo's own codes pass through. Ours lie where neither cargo (1 and 101), nor nextest
//! (4 and 96 to 110), nor `timeout` (124), nor shells (126 to 165) have theirs.

use super::kind::ErrorKind;

/// The command line is not valid, or lacks the agreement to what it would end or delete.
pub(crate) const USAGE: u8 = 2;
/// A settings file or an environment variable is not valid, or a project file is not trusted.
pub(crate) const SETTINGS: u8 = 111;
/// The workspace cannot be read or sent.
pub(crate) const WORKSPACE: u8 = 112;
/// The agent cannot be started or reached.
pub(crate) const AGENT: u8 = 113;
/// The run was lost: the connection or the agent failed; or `attach` has left it, so that its
/// exit code is not known.
pub(crate) const RUN_LOST: u8 = 114;
/// cargo ran, but its results or its output cannot be written here.
pub(crate) const RESULTS: u8 = 115;
/// The Hetzner token is missing, malformed, revoked or read-only.
pub(crate) const TOKEN: u8 = 116;
/// No server can be had: out of stock, quota, unknown type or location.
pub(crate) const UNAVAILABLE: u8 = 117;
/// A cost limit would be exceeded.
pub(crate) const COST_LIMIT: u8 = 118;
/// There is no image to create servers from.
pub(crate) const NO_IMAGE: u8 = 119;
/// The Hetzner API refuses, or cannot be reached.
pub(crate) const API: u8 = 120;
/// The keeper does not start or does not answer.
pub(crate) const KEEPER: u8 = 121;
/// What answers is not our agent, or has no protocol version in common with us.
pub(crate) const IDENTITY: u8 = 122;
/// A directory or file of cargo-burst's own cannot be used.
pub(crate) const STATE: u8 = 123;
/// The reader of the output has gone: 128 and the number of SIGPIPE, as a shell shows it.
pub(crate) const BROKEN_PIPE: u8 = 141;

/// Our codes with their meanings, for the help.
pub(crate) const MEANINGS: [(u8, &str); 15] = [
    (USAGE, "command line"),
    (SETTINGS, "settings not valid or not trusted"),
    (WORKSPACE, "workspace"),
    (AGENT, "agent"),
    (RUN_LOST, "run lost or left"),
    (RESULTS, "results not written"),
    (TOKEN, "token"),
    (UNAVAILABLE, "no server available"),
    (COST_LIMIT, "cost limit"),
    (NO_IMAGE, "no image"),
    (API, "Hetzner API"),
    (KEEPER, "keeper"),
    (IDENTITY, "not our agent, or another protocol version"),
    (STATE, "own files"),
    (BROKEN_PIPE, "closed output pipe"),
];

/// The exit code of an error. The only place that decides one.
pub(crate) const fn of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage | ErrorKind::Unconfirmed => USAGE,
        ErrorKind::Settings | ErrorKind::Untrusted => SETTINGS,
        // Only where cargo's own code is not known; a verb that does not exist is no error of ours.
        ErrorKind::Cargo | ErrorKind::NoCommand => 101,
        ErrorKind::Workspace | ErrorKind::WorkspaceChanged | ErrorKind::WouldEmpty => WORKSPACE,
        ErrorKind::AgentStart | ErrorKind::AgentSilent | ErrorKind::AgentEnding => AGENT,
        ErrorKind::RunLost
        | ErrorKind::RunEnded
        | ErrorKind::AgentCorrupt
        | ErrorKind::NoVolume => RUN_LOST,
        ErrorKind::Results | ErrorKind::Output => RESULTS,
        ErrorKind::BrokenPipe => BROKEN_PIPE,
        ErrorKind::Token => TOKEN,
        ErrorKind::Unavailable => UNAVAILABLE,
        ErrorKind::CostLimit => COST_LIMIT,
        ErrorKind::NoImage => NO_IMAGE,
        ErrorKind::Api => API,
        ErrorKind::Keeper => KEEPER,
        ErrorKind::Identity | ErrorKind::Version => IDENTITY,
        ErrorKind::State => STATE,
    }
}
