//! Actions, and their effects on completion.

use super::{Effect, ServerStatus, World};

/// The state of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In progress.
    Running,
    /// Completed.
    Success,
    /// Failed with this error code.
    Error(String),
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// The id.
    pub id: u64,
    /// The operation, such as `create_server`.
    pub command: &'static str,
    /// The state.
    pub outcome: Outcome,
    /// The start, in milliseconds of virtual time.
    pub started: i64,
    /// The end, in milliseconds of virtual time.
    pub ends: i64,
    /// The kinds and ids of its resources.
    pub resources: Vec<(&'static str, u64)>,
    fails: Option<String>,
}

impl World {
    /// Begins an action at a virtual time, with the duration from the scenario.
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

    /// Completes the actions that are due.
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
