//! What `down` asks before it ends runs and deletes caches.
//!
//! Nothing is asked where all is idle and nothing is lost: a server and an agent come back with
//! the next command, a run and caches do not.

use crate::commands::render;
use crate::detached::record::Run;
use crate::error::{Error, ErrorKind};
use crate::hetzner::loss::{Losses, LostRun, LostServer, LostVolume};
use crate::terminal::{Answer, Terminal, can_ask, counted, harmless_line, span};

/// What would be ended and deleted.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// At Hetzner.
    pub(super) hetzner: Losses,
    /// Detached runs.
    pub(super) detached: Vec<Run>,
    /// Runs of the agent on this machine.
    pub(super) local: Vec<LostRun>,
    /// The number of copies of projects on this machine, if they are deleted.
    pub(super) copies: usize,
}

impl Loss {
    /// Asks for what does not come back. Returns whether the user has agreed to it: false where
    /// there is nothing of that kind. Fails without a yes.
    pub(super) fn confirm(&self, terminal: &Terminal) -> Result<bool, Error> {
        if !self.needs_consent() {
            return Ok(false);
        }
        let lines = self.lines();
        if !can_ask() {
            let message = "`cargo burst down` would end or delete what does not come back, and \
                           there is no terminal to ask on";
            let hint = "add `--yes` to end and delete it; nothing was changed";
            let error = Error::new(ErrorKind::Unconfirmed, message, hint);
            return Err(lines.into_iter().fold(error, Error::cause));
        }
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        let question = format!("This ends and deletes:\n{lines}Go on?");
        match terminal.ask(&question, Answer::No) {
            true => Ok(true),
            false => Err(Error::new(
                ErrorKind::Unconfirmed,
                "nothing was ended or deleted",
                "a server that is idle is deleted in time by itself; `cargo burst status` says when",
            )),
        }
    }

    /// Whether something is lost that does not come back, or may be.
    fn needs_consent(&self) -> bool {
        let is_in_use = |server: &LostServer| !server.runs.is_empty() || server.of_other.is_some();
        self.hetzner.servers.iter().any(is_in_use)
            || !self.hetzner.volumes.is_empty()
            || !self.detached.is_empty()
            || !self.local.is_empty()
            || self.copies > 0
    }

    /// All that is ended and deleted, one line each.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for server in &self.hetzner.servers {
            lines.push(server_line(server));
            lines.extend(self.unnamed(&server.runs).map(|run| format!("its {}", run_name(run))));
        }
        lines.extend(self.detached.iter().map(render::run_name));
        let local = self.unnamed(&self.local);
        lines.extend(local.map(|run| format!("the {} on this machine", run_name(run))));
        lines.extend(self.hetzner.volumes.iter().map(volume_line));
        if self.copies > 0 {
            let copies = counted(self.copies as u64, "project");
            lines.push(format!("the agent's copies of {copies} on this machine"));
        }
        lines.iter().map(|line| harmless_line(line)).collect()
    }

    /// Those that are not detached runs, which are named with their numbers.
    fn unnamed<'a>(&'a self, runs: &'a [LostRun]) -> impl Iterator<Item = &'a LostRun> {
        runs.iter().filter(|run| {
            !self.detached.iter().any(|detached| {
                let started = &detached.started;
                run.title.as_ref().is_none_or(|title| *title == started.title)
                    && started.workspace.ends_with(run.workspace.trim_start_matches('/'))
            })
        })
    }
}

fn server_line(server: &LostServer) -> String {
    let LostServer { name, server_type, location, age_secs, of_other, .. } = server;
    let whose = match of_other.as_deref() {
        None => String::new(),
        Some("") => ", created by another machine, which may be using it".to_owned(),
        Some(host) => format!(", created by {host}, which may be using it"),
    };
    format!("the server {name}: {server_type} in {location}, up {}{whose}", span(*age_secs))
}

fn volume_line(volume: &LostVolume) -> String {
    let LostVolume { project, gb, location } = volume;
    format!("the volume of {project} with its caches: {gb} GB in {location}")
}

fn run_name(run: &LostRun) -> String {
    let LostRun { title, workspace } = run;
    match title {
        Some(title) => format!("run `{title}` of {workspace}"),
        None => format!(
            "command of {workspace}, which has not started cargo yet, and may create a server again"
        ),
    }
}
