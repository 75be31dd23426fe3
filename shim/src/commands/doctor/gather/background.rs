//! The processes that outlive commands, and the timer of systemd.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::runtime::Handle;

use super::deadline::within;
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local;
use crate::commands::doctor::background::{Keeper, LocalAgent, Timer};
use crate::commands::status::local_status;
use crate::commands::timer::{SERVICE, TIMER, program_of, sees_account};
use crate::directories::Directories;
use crate::error::Error;
use crate::keeper::client::{Tries, converse};
use crate::keeper::directory::KeeperDirectory;
use crate::keeper::message::{Ask, Event};
use crate::settings::Settings;
use crate::terminal::Terminal;

/// How long the keeper, and systemd, may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// How long the agent on this machine may take, which may be starting or ending.
const AGENT_DEADLINE: Duration = Duration::from_secs(8);

/// What the keeper says of itself.
pub(super) async fn keeper(directories: &Directories, terminal: &Terminal) -> Keeper {
    let state = &directories.state;
    match tokio::time::timeout(ANSWER_DEADLINE, ask_keeper(state, terminal)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Keeper::Failed(error),
        Err(_) => match KeeperDirectory::running(state) {
            Ok(Some(pid)) => Keeper::Silent(pid),
            Ok(None) => Keeper::None,
            Err(error) => Keeper::Failed(error),
        },
    }
}

async fn ask_keeper(state: &Path, terminal: &Terminal) -> Result<Keeper, Error> {
    let mut tries = Tries::begin();
    loop {
        let Some(pid) = KeeperDirectory::running(state)? else { return Ok(Keeper::None) };
        let directory = KeeperDirectory::open(state)?;
        match converse(&directory, Ask::Summary, terminal).await {
            Ok((Event::Summary(summary), _)) => return Ok(Keeper::Running(pid, summary)),
            Ok((Event::OtherVersion(version), _)) => return Ok(Keeper::OtherVersion(pid, version)),
            Ok((Event::Failed(error), _)) => return Err(error),
            Ok(_) => return Ok(Keeper::Silent(pid)),
            // A command may hold the keeper's lock for a moment.
            Err(error) => tokio::time::sleep(tries.pause(error)?).await,
        }
    }
}

/// The units of the timer, and what systemd says of it.
pub(super) async fn timer(directories: &Directories, settings: Option<&Settings>) -> Timer {
    let units = directories.config_home.join("systemd/user");
    let is_there = units.join(TIMER).exists();
    let service = fs::read_to_string(units.join(SERVICE)).ok().filter(|_| is_there);
    let program = service.and_then(|service| program_of(&service));
    let enabled = match is_there {
        true => enabled().await,
        false => None,
    };
    Timer {
        has_program: program.as_ref().is_some_and(|program| Path::new(program).exists()),
        program,
        enabled,
        sees_account: settings
            .is_some_and(|settings| sees_account(directories, settings).unwrap_or(false)),
    }
}

/// What `systemctl is-enabled` prints, such as `enabled`; `None` if it prints nothing in time.
async fn enabled() -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(["--user", "is-enabled", TIMER]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_DEADLINE, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The agent on this machine.
pub(super) async fn agent(runtime: &Handle, directories: &Directories) -> LocalAgent {
    let provider = local::LocalAgent::new(directories, KeepAlive::Seconds(0), 0);
    let runtime = runtime.clone();
    match within(AGENT_DEADLINE, move || local_status(&runtime, &provider)).await {
        None => LocalAgent::Silent,
        Some(Ok(None)) => LocalAgent::None,
        Some(Ok(Some(status))) => LocalAgent::Running { pid: status.pid, version: status.version },
        Some(Err(error)) => LocalAgent::Failed(error),
    }
}
