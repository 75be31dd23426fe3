//! The checks of what outlives commands: keeper, timer, agent, and their versions. Pure.

use super::account::Account;
use super::check::Check;
use crate::connection::VERSION;
use crate::error::{Error, ErrorKind};
use crate::keeper::message::KeeperSummary;
use crate::terminal::{counted, span};

/// The keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// None runs.
    None,
    /// One runs and answers.
    Running(u32, KeeperSummary),
    /// One of another version runs.
    OtherVersion(u32, String),
    /// One runs, and does not answer.
    Silent(u32),
    /// Its directory cannot be used.
    Failed(Error),
}

/// A keeper runs where one is needed.
pub(super) fn keeper(found: &Keeper, account: &Account) -> Check {
    const NAME: &str = "keeper";
    match found {
        Keeper::None => no_keeper(NAME, account),
        Keeper::Running(pid, KeeperSummary { up_secs, accounts, servers, commands }) => {
            let up = span(i64::try_from(*up_secs).unwrap_or(i64::MAX));
            let servers = match servers.as_slice() {
                [] => "no server".to_owned(),
                names => names.join(" and "),
            };
            let accounts = counted(*accounts as u64, "account");
            let commands = counted(*commands as u64, "command");
            Check::ok(
                NAME,
                format!(
                    "runs (pid {pid}, version {VERSION}) for {up}, with {accounts}, {commands}, \
                     connected to {servers}"
                ),
            )
        }
        Keeper::OtherVersion(pid, version) => Check::warning(
            NAME,
            format!("one of version {version} runs (pid {pid}); this program is {VERSION}"),
            "the next command that needs a server replaces it once no command of that version runs",
        ),
        Keeper::Silent(pid) => Check::error(
            NAME,
            ErrorKind::Keeper,
            format!("one runs (pid {pid}) and does not answer"),
            format!("`kill -9 {pid}`: the next command starts another one"),
        ),
        Keeper::Failed(error) => Check::failed(NAME, error),
    }
}

fn no_keeper(name: &'static str, account: &Account) -> Check {
    let Ok(found) = account.examined() else {
        return Check::ok(name, "none runs; it starts with the first command on a server");
    };
    let mut ours = found.servers.iter().filter(|server| server.is_of_this_machine).peekable();
    if ours.peek().is_none() {
        return Check::ok(name, "none runs, and this machine has no server");
    }
    let names: Vec<&str> = ours.map(|server| server.name.as_str()).collect();
    Check::error(
        name,
        ErrorKind::Keeper,
        format!("none runs, so that no process of this machine deletes {}", names.join(" and ")),
        "`cargo burst down` deletes it now; any command on the server starts a keeper",
    )
}

/// The timer of systemd that reaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    /// The program that its unit starts; `None` if there is no unit.
    pub(super) program: Option<String>,
    /// Whether that program exists.
    pub(super) has_program: bool,
    /// What systemd says of it, such as `enabled`; `None` if systemd cannot be asked.
    pub(super) enabled: Option<String>,
    /// Whether the user config, which is all that the timer sees, leads to the account of commands.
    pub(super) sees_account: bool,
}

/// The timer, if one is installed, can do its work.
pub(super) fn timer(found: &Timer, account: &Account) -> Check {
    const NAME: &str = "timer";
    const INSTALL: &str = "`cargo burst reap --install-timer`";
    let Some(program) = &found.program else {
        return Check::ok(NAME, format!("not installed; {INSTALL} has systemd look every 10 min"));
    };
    if !found.has_program {
        let finding = format!("installed, but its program `{program}` is not there");
        return Check::error(NAME, ErrorKind::State, finding, INSTALL);
    }
    match found.enabled.as_deref() {
        Some("enabled") => {}
        state => {
            let state = state.unwrap_or("systemd does not answer");
            return Check::warning(
                NAME,
                format!("installed, but not enabled ({state})"),
                "`systemctl --user enable --now cargo-burst-reap.timer`",
            );
        }
    }
    if !found.sees_account && !matches!(account, Account::NoToken) {
        return Check::error(
            NAME,
            ErrorKind::Token,
            "enabled, but the user config has not the token and endpoint that commands have, so that \
             it deletes nothing of theirs",
            "store them in the user config with `cargo burst init`",
        );
    }
    Check::ok(NAME, "enabled")
}

/// The agent on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LocalAgent {
    /// None runs.
    None,
    /// One runs.
    Running {
        /// Its process id.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// It has not answered in time.
    Silent,
    /// It cannot be reached.
    Failed(Error),
}

/// All programs are of one version. `protocol` are the versions of the protocol that this one has.
pub(super) fn versions(agent: &LocalAgent, protocol: (u16, u16)) -> Check {
    const NAME: &str = "versions";
    const DOWN: &str = "`cargo burst down` ends it; the next command starts one of this version";
    let protocol = match protocol {
        (low, high) if low == high => format!("protocol {high}"),
        (low, high) => format!("protocols {low} to {high}"),
    };
    let own = format!("cargo-burst {VERSION}, {protocol}");
    match agent {
        LocalAgent::None => Check::ok(NAME, format!("{own}; no agent runs on this machine")),
        LocalAgent::Running { pid, version } if version == VERSION => {
            Check::ok(NAME, format!("{own}; the agent on this machine (pid {pid}) is the same"))
        }
        LocalAgent::Running { pid, version } => Check::warning(
            NAME,
            format!("{own}; the agent on this machine (pid {pid}) is {version}"),
            DOWN,
        ),
        LocalAgent::Silent => Check::error(
            NAME,
            ErrorKind::AgentSilent,
            format!("{own}; the agent on this machine does not answer"),
            DOWN,
        ),
        LocalAgent::Failed(error) => Check::failed(NAME, error),
    }
}

#[cfg(test)]
mod tests;
