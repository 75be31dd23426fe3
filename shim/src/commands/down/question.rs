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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detached::record::{RunState, Started};

    fn run(title: Option<&str>, workspace: &str) -> LostRun {
        LostRun { title: title.map(str::to_owned), workspace: workspace.into() }
    }

    fn server(of_other: Option<&str>, runs: Vec<LostRun>) -> LostServer {
        LostServer {
            name: "s".into(),
            server_type: "cx53".into(),
            location: "hel1".into(),
            age_secs: 125,
            of_other: of_other.map(str::to_owned),
            runs,
        }
    }

    fn detached(title: &str, workspace: &str) -> Run {
        let (title, workspace) = (title.to_owned(), workspace.into());
        let started = Started { title, workspace, at: 0, terminal: None, one_output: false };
        let state = RunState::Running;
        Run { number: 3, started, state, waits_for: None, is_shown: false }
    }

    fn on_servers(servers: Vec<LostServer>) -> Loss {
        Loss { hetzner: Losses { servers, ..Losses::default() }, ..Loss::default() }
    }

    #[test]
    fn what_is_idle_or_comes_back_needs_no_consent() {
        let needs = |loss: &Loss| loss.needs_consent();
        assert!(!needs(&Loss::default()));
        assert!(!needs(&on_servers(vec![server(None, Vec::new())])));
        assert!(needs(&on_servers(vec![server(None, vec![run(None, "app")])])));
        // What runs there is not known here.
        assert!(needs(&on_servers(vec![server(Some("laptop"), Vec::new())])));
        assert!(needs(&Loss { copies: 1, ..Loss::default() }));
        assert!(needs(&Loss { local: vec![run(Some("cargo test"), "/w")], ..Loss::default() }));
        assert!(needs(&Loss { detached: vec![detached("cargo test", "/w")], ..Loss::default() }));
    }

    #[test]
    fn everything_is_named_once() {
        let runs = vec![
            run(Some("cargo test"), "/w/app"),
            run(Some("cargo doc"), "/w/app"),
            run(None, "lib"),
        ];
        let volume = LostVolume { project: "app".into(), gb: 10, location: "hel1".into() };
        let loss = Loss {
            hetzner: Losses {
                servers: vec![server(None, runs), server(Some("laptop"), Vec::new())],
                volumes: vec![volume],
            },
            detached: vec![detached("cargo doc", "/w/app")],
            local: vec![run(Some("cargo run \u{1b}[2J"), "/w/app")],
            copies: 2,
        };
        assert_eq!(
            loss.lines(),
            [
                "the server s: cx53 in hel1, up 2 min 5 s",
                "its run `cargo test` of /w/app",
                "its command of lib, which has not started cargo yet, and may create a server again",
                "the server s: cx53 in hel1, up 2 min 5 s, created by laptop, which may be using it",
                "detached run 3: `cargo doc` of /w/app",
                "the run `cargo run \\u001b[2J` of /w/app on this machine",
                "the volume of app with its caches: 10 GB in hel1",
                "the agent's copies of 2 projects on this machine",
            ]
        );
    }
}
