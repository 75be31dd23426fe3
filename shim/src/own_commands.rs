//! The commands that are not cargo's: `status`, `down`, `reap`, `config`.

use std::time::Duration;

use burst_protocol::message::{AgentStatus, FromAgent, FromShim};
use tokio::runtime::Handle;

use crate::failure::Failure;
use crate::hetzner::account::{Account, Credentials};
use crate::hetzner::audit::{self, AuditLog};
use crate::hetzner::sweep::{Downing, Swept};
use crate::hetzner::trouble::{Kind, Trouble};
use crate::keeper::client::{Brain, Tries, talk};
use crate::keeper::words::{Ask, Event};
use crate::overview;
use crate::provider::hetzner::HetznerProvider;
use crate::provider::local::LocalProvider;
use crate::settings::{DEFAULTS, Settings};
use crate::state::Directories;
use crate::terminal::{Terminal, seconds};

/// What these commands work with.
pub struct Context<'a> {
    /// Who prints.
    pub terminal: &'a Terminal,
    /// The network's runtime.
    pub runtime: &'a Handle,
    /// Ours.
    pub directories: &'a Directories,
    /// Whether the result is for programs.
    pub json: bool,
}

impl Context<'_> {
    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let settings = Settings::load(&self.directories.config_home, None, variable)?;
        let provider = HetznerProvider::of(self.directories, &settings);
        Ok(provider.map(|provider| provider.credentials().clone()))
    }

    /// Asks the keeper, or does it ourselves where there is none.
    fn with_account<T>(
        &self,
        credentials: &Credentials,
        ask: impl Fn() -> Ask,
        taken: impl Fn(Event) -> Option<T>,
        own: impl AsyncFnOnce(&Account) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let mut tries = Tries::begin();
        loop {
            let place = match Brain::find(self.directories, credentials, self.runtime)? {
                Brain::Own(account, _lock) => {
                    return self.runtime.block_on(own(&account)).map_err(Failure::Server);
                }
                Brain::Keeper(place) => place,
            };
            match self.runtime.block_on(talk(&place, ask(), self.terminal)) {
                Ok((Event::Failed(trouble), _)) => return Err(Failure::Server(trouble)),
                Ok((event, _)) => {
                    return taken(event).ok_or_else(|| {
                        let words = "the keeper that is running is of another version";
                        Failure::Server(Trouble::new(Kind::Keeper, words))
                    });
                }
                // Another command may be doing the keeper's work for a moment.
                Err(failure) => std::thread::sleep(tries.pause(failure)?),
            }
        }
    }

    /// The result, on standard output.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        print(self.terminal, text)
    }

    /// The result for programs.
    pub fn print_json(&self, value: &serde_json::Value) -> Result<(), Failure> {
        self.print(&format!("{value:#}\n"))
    }
}

/// `cargo burst status`.
pub fn status(context: &Context<'_>, all: bool) -> Result<(), Failure> {
    let report = match context.credentials()? {
        None => None,
        Some(credentials) => {
            let ask = || Ask::Report { credentials: credentials.clone(), all };
            let taken = |event| match event {
                Event::Reported(report) => Some(*report),
                _ => None,
            };
            let own = async |account: &Account| account.report(all).await;
            Some(context.with_account(&credentials, ask, taken, own)?)
        }
    };
    let local = local_status(context)?;
    if context.json {
        return context.print_json(&serde_json::json!({ "hetzner": report, "local": local }));
    }
    let mut text = report.as_ref().map(overview::shown).unwrap_or_default();
    match local {
        Some(status) => text.push_str(&shown(&status)),
        None if report.is_none() => {
            text.push_str("local agent: not running (the next run starts it)\n");
        }
        None => {}
    }
    context.print(&text)
}

fn local_status(context: &Context<'_>) -> Result<Option<AgentStatus>, Failure> {
    let provider = LocalProvider::new(context.directories, 0);
    let Some(connection) = provider.reach_running(context.runtime)? else { return Ok(None) };
    let answered = connection.ask(context.runtime, &FromShim::Status);
    context.runtime.block_on(connection.close());
    match answered {
        Ok(FromAgent::Status(status)) => Ok(Some(status)),
        Ok(_) | Err(Failure::AgentEnding) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// `cargo burst down`.
pub fn down(context: &Context<'_>, downing: Downing) -> Result<(), Failure> {
    let swept = match context.credentials()? {
        None => None,
        Some(credentials) => {
            let ask = || Ask::Down { credentials: credentials.clone(), downing };
            let own = async |account: &Account| account.down(downing, context.terminal).await;
            Some(context.with_account(&credentials, ask, swept_of, own)?)
        }
    };
    let ended = end_local(context, downing.with_volumes)?;
    if context.json {
        let value = serde_json::json!({ "hetzner": swept, "local_agent_ended": ended });
        context.print_json(&value)?;
        return unfinished(swept);
    }
    let mut text = swept.as_ref().map(overview::swept).unwrap_or_default();
    if swept.is_none() || ended {
        text.push_str(if ended { "ended the local agent" } else { "no local agent is running" });
        if downing.with_volumes {
            text.push_str(", deleted what it kept of every project");
        }
        text.push('\n');
    }
    context.print(&text)?;
    unfinished(swept)
}

/// `cargo burst reap`.
pub fn reap(context: &Context<'_>) -> Result<(), Failure> {
    let Some(credentials) = context.credentials()? else {
        return match context.json {
            true => context.print_json(&serde_json::Value::Null),
            false => context.print("there is no Hetzner token, so nothing to reap\n"),
        };
    };
    let ask = || Ask::Reap { credentials: credentials.clone() };
    let own = async |account: &Account| account.sweep().await;
    let swept = context.with_account(&credentials, ask, swept_of, own)?;
    match context.json {
        true => context.print_json(&serde_json::json!(swept))?,
        false => context.print(&overview::swept(&swept))?,
    }
    unfinished(Some(swept))
}

/// `cargo burst audit`.
pub fn audit(context: &Context<'_>, rate: Option<f64>) -> Result<(), Failure> {
    let state = context.directories.state.join("hetzner");
    let entries = AuditLog::new(&state)
        .read()
        .map_err(|source| Failure::Directory { path: state.join("audit.jsonl"), source })?;
    let now = burst_hcloud::Timestamp::now().as_second();
    let found = audit::audit(&entries, rate, now);
    match context.json {
        true => context.print_json(&serde_json::json!(found)),
        false => context.print(&overview::audit(&found)),
    }
}

fn swept_of(event: Event) -> Option<Swept> {
    match event {
        Event::Swept(swept) => Some(swept),
        _ => None,
    }
}

/// What could not be deleted is an error, also where the rest could.
fn unfinished(swept: Option<Swept>) -> Result<(), Failure> {
    let failed = swept.map(|swept| swept.failed).unwrap_or_default();
    if failed.is_empty() {
        return Ok(());
    }
    let mut trouble = Trouble::new(Kind::Other, "not everything could be deleted");
    trouble.messages.extend(failed);
    Err(Failure::Server(trouble))
}

/// Ends the agent on this machine; whether there was one.
fn end_local(context: &Context<'_>, with_volumes: bool) -> Result<bool, Failure> {
    let provider = LocalProvider::new(context.directories, 0);
    let ended = match provider.reach_running(context.runtime) {
        Ok(Some(connection)) => {
            let asked = connection.ask(context.runtime, &FromShim::End { with_volumes });
            context.runtime.block_on(connection.close());
            match asked {
                Ok(_) => provider.wait_until_ended().map(|()| true)?,
                // It speaks another version, or not at all: it still has to go.
                Err(_) => provider.stop()?.is_some(),
            }
        }
        Ok(None) => false,
        Err(_) => provider.stop()?.is_some(),
    };
    if with_volumes {
        let disk = provider.disk().join("projects");
        match std::fs::remove_dir_all(&disk) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::Directory { path: disk, source });
            }
            _ => {}
        }
    }
    Ok(ended)
}

/// `cargo burst config`.
pub fn config(
    terminal: &Terminal,
    directories: &Directories,
    defaults: bool,
) -> Result<(), Failure> {
    if defaults {
        return print(terminal, DEFAULTS);
    }
    let workspace = std::env::current_dir()
        .ok()
        .and_then(|directory| crate::workspace::Workspace::find(&directory, &[]).ok());
    let root = workspace.as_ref().map(|workspace| workspace.root.as_path());
    let settings = Settings::load(&directories.config_home, root, |name| std::env::var(name).ok())?;
    let mut text = String::new();
    for effective in &settings.effective {
        let origins: Vec<String> = effective.origins.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "{} = {}  # {}\n",
            effective.key,
            effective.shown,
            origins.join("; ")
        ));
    }
    print(terminal, &text)
}

fn shown(status: &AgentStatus) -> String {
    let mut text = String::new();
    let ago = |secs| seconds(Duration::from_secs(secs));
    let ends = match status.ends_in_secs {
        Some(secs) => format!("ends in {} if idle", ago(secs)),
        None => "busy".to_owned(),
    };
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let (pid, version) = (status.pid, &status.version);
    line(format!(
        "local agent: running, pid {pid}, version {version}, up {}, {ends}",
        ago(status.up_secs)
    ));
    for project in &status.projects {
        let path = project.project.absolute();
        let path = burst_protocol::path::display(&path);
        if project.runs.is_empty() {
            line(format!("  {path}  idle for {}", ago(project.idle_secs)));
        }
        for run in &project.runs {
            line(format!("  {path}  running `{run}`"));
        }
    }
    text
}

fn print(terminal: &Terminal, text: &str) -> Result<(), Failure> {
    terminal.result(text).map_err(Failure::Output)
}
