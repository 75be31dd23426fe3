//! Actions, and their effects on completion.

use super::firewalls::Target;
use super::{Effect, World};
use crate::catalogue::ServerType;
use crate::scenario::ActionFaultKind;

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
    change: Change,
    fault: Option<ActionFaultKind>,
}

/// The parameters of an action's effect, for commands that have some.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The command says everything.
    Plain,
    /// Deletion is refused from now on, or no longer.
    Protection(bool),
    /// An address is assigned to a server, or taken from it.
    Assignment(bool),
    /// A firewall is applied to a resource, or taken off.
    Firewall {
        /// The resource.
        target: Target,
        /// Whether it is applied.
        is_applied: bool,
    },
    /// A server has another image, and other user data where there is some.
    Rebuild {
        /// The id of the image.
        image: u64,
        /// The new user data.
        user_data: Option<String>,
    },
    /// A server has another type.
    Type {
        /// The type.
        kind: &'static ServerType,
        /// The size of the disk from then on, in GB.
        disk_gb: u32,
    },
    /// The next start of a server until this time is that of the rescue system.
    Rescue {
        /// The time, in milliseconds of virtual time.
        until: Option<i64>,
    },
}

impl Action {
    /// The id of its resource of a kind, or 0.
    pub(super) fn of(&self, kind: &str) -> u64 {
        self.resources.iter().find(|(other, _)| *other == kind).map_or(0, |(_, id)| *id)
    }
}

impl World {
    /// Begins an action at a virtual time, with the duration from the scenario.
    pub(super) fn begin(
        &mut self,
        command: &'static str,
        resources: Vec<(&'static str, u64)>,
        starts: i64,
    ) -> u64 {
        self.begin_change(command, resources, Change::Plain, starts)
    }

    /// Begins an action whose effect has parameters.
    pub(super) fn begin_change(
        &mut self,
        command: &'static str,
        resources: Vec<(&'static str, u64)>,
        change: Change,
        started: i64,
    ) -> u64 {
        let id = self.new_id();
        let ends = started + self.scenario.action_millis(command);
        let by_rule = self.scenario.take_action_fault(command);
        let by_call = self.next_action_fails.take();
        let fault = by_call.map(|code| ActionFaultKind::Fails { code }).or(by_rule);
        let outcome = Outcome::Running;
        let action = Action { id, command, outcome, started, ends, resources, change, fault };
        self.actions.insert(id, action);
        id
    }

    /// Completes the actions that are due, and undoes those that the scenario undoes, in the
    /// order of time.
    pub fn settle(&mut self, now: i64) {
        loop {
            let due = self
                .actions
                .values()
                .filter(|action| action.outcome == Outcome::Running && action.ends <= now)
                .min_by_key(|action| (action.ends, action.id))
                .cloned();
            let until = due.as_ref().map_or(now, |action| action.ends);
            self.undo(until);
            let Some(action) = due else { return self.end_rescues(now) };
            self.finish(&action);
        }
    }

    fn finish(&mut self, action: &Action) {
        let outcome = match &action.fault {
            Some(ActionFaultKind::Fails { code }) => Outcome::Error(code.clone()),
            Some(ActionFaultKind::Undone { after_secs }) => {
                self.complete(action);
                self.undone.insert((action.ends + (after_secs * 1000.0) as i64, action.id));
                Outcome::Success
            }
            None => {
                self.complete(action);
                Outcome::Success
            }
        };
        if let Some(held) = self.actions.get_mut(&action.id) {
            held.outcome = outcome;
        }
    }

    /// Undoes the attachments whose time has come: the volume is detached without an action.
    fn undo(&mut self, until: i64) {
        while let Some((due, action)) = self.undone.first().copied().filter(|one| one.0 <= until) {
            self.undone.remove(&(due, action));
            let action = &self.actions[&action];
            let (server, volume) = (action.of("server"), action.of("volume"));
            if self.volumes.get(&volume).is_some_and(|volume| volume.server == Some(server)) {
                self.detach(volume);
            }
        }
    }

    fn complete(&mut self, action: &Action) {
        let (server, volume) = (action.of("server"), action.of("volume"));
        match action.command {
            "delete_server" => self.remove_server(server, action.ends),
            "attach_volume" => {
                if let Some(volume) = self.volumes.get_mut(&volume) {
                    volume.server = Some(server);
                }
                self.effects.push(Effect::Plug { volume, server });
            }
            "detach_volume" => self.detach(volume),
            "create_image" => self.complete_image(action.of("image"), action.ends),
            _ => self.complete_power(action),
        }
        match (&action.change, action.resources.first()) {
            (Change::Protection(is_protected), Some((kind, id))) => {
                if let Some(held) = self.protection_of(kind, *id) {
                    *held = *is_protected;
                }
            }
            (Change::Firewall { target, is_applied }, _) => {
                self.set_applied(action.of("firewall"), target, *is_applied);
            }
            (Change::Rebuild { image, user_data }, _) => {
                self.complete_rebuild(server, *image, user_data.as_ref());
            }
            (Change::Type { kind, disk_gb }, _) => {
                self.complete_type(server, kind, *disk_gb, action.ends);
            }
            (Change::Rescue { until }, _) => {
                if let Some(server) = self.servers.get_mut(&server) {
                    server.rescue_until = *until;
                }
            }
            (Change::Assignment(is_on), _) => {
                if let Some(address) = self.primary_ips.get_mut(&action.of("primary_ip")) {
                    address.server = is_on.then_some(server);
                }
            }
            _ => {}
        }
    }
}
