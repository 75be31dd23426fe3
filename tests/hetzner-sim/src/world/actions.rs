//! Actions, and what becomes true when they end.

use super::{Effect, ServerStatus, World};

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    Running,
    /// Well.
    Success,
    /// With this error code.
    Error(String),
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, in milliseconds.
    pub started: i64,
    /// When it ends.
    pub ends: i64,
    /// What it is about.
    pub resources: Vec<(&'static str, u64)>,
    fails: Option<String>,
}

impl World {
    /// Begins an action that starts at a time and takes as long as the scenario says.
    pub(super) fn begin(
        &mut self,
        command: &'static str,
        resources: Vec<(&'static str, u64)>,
        starts: i64,
    ) -> u64 {
        let id = self.new_id();
        let ends = starts + self.scenario.action_millis(command);
        let fails = self.next_action_fails.take();
        let outcome = Outcome::Running;
        self.actions
            .insert(id, Action { id, command, outcome, started: starts, ends, resources, fails });
        id
    }

    /// Lets everything happen whose time has come.
    pub fn settle(&mut self, now: i64) {
        loop {
            let due = self
                .actions
                .values()
                .filter(|action| action.outcome == Outcome::Running && action.ends <= now)
                .min_by_key(|action| (action.ends, action.id))
                .cloned();
            let Some(action) = due else { return };
            let outcome = match &action.fails {
                Some(code) => Outcome::Error(code.clone()),
                None => {
                    self.complete(&action);
                    Outcome::Success
                }
            };
            if let Some(held) = self.actions.get_mut(&action.id) {
                held.outcome = outcome;
            }
        }
    }

    fn complete(&mut self, action: &Action) {
        let of = |kind: &str| {
            action.resources.iter().find(|(other, _)| *other == kind).map_or(0, |(_, id)| *id)
        };
        let (server, volume, image) = (of("server"), of("volume"), of("image"));
        match action.command {
            "create_server" => self.set_status(server, ServerStatus::Starting),
            "start_server" => self.set_status(server, ServerStatus::Running),
            "stop_server" => {
                self.set_status(server, ServerStatus::Off);
                self.effects.push(Effect::Stop(server));
            }
            "shutdown_server" if !self.scenario.ignores_shutdown => {
                self.set_status(server, ServerStatus::Off);
                self.effects.push(Effect::Stop(server));
            }
            "delete_server" => self.remove_server(server, action.ends),
            "attach_volume" => {
                if let Some(volume) = self.volumes.get_mut(&volume) {
                    volume.server = Some(server);
                }
                self.effects.push(Effect::Plug { volume, server });
            }
            "detach_volume" => {
                self.effects.push(Effect::Unplug { volume, server });
                if let Some(volume) = self.volumes.get_mut(&volume) {
                    volume.server = None;
                }
            }
            "create_image" => self.complete_image(image, action.ends),
            _ => {}
        }
    }

    fn set_status(&mut self, server: u64, status: ServerStatus) {
        if let Some(server) = self.servers.get_mut(&server) {
            if status == ServerStatus::Starting {
                self.effects.push(Effect::Boot(server.id));
            }
            server.status = status;
        }
    }
}
