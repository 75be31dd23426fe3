//! The JSON of `status`. Keys are stable: later versions only add some. Times are RFC 3339
//! in UTC, durations are seconds, amounts are without tax in the `currency` of the document,
//! paths are strings. `null` stands where something does not exist or does not end.
//!
//! ```json
//! {
//!   "hetzner": {
//!     "now": "2026-11-24T10:00:00Z", "currency": "EUR",
//!     "servers": [{ "name", "own", "host", "server_type", "location", "status", "created",
//!                   "last_use", "in_use", "paid_until", "protected", "deleted_at", "deleted_by",
//!                   "kept", "deletes_itself_at", "cost", "hourly" }],
//!     "volumes": [{ "name", "own", "project", "location", "gb", "attached", "last_use",
//!                   "in_use", "protected", "deleted_at", "deleted_by", "kept", "cost" }],
//!     "images": [{ "id", "description", "created", "gb", "monthly" }],
//!     "this_month": { "started_hours", "servers", "volumes", "images", "total" },
//!     "monthly_budget", "budget_left"
//!   },
//!   "local": { "version", "pid", "up_secs", "ends_in_secs",
//!              "projects": [{ "path", "idle_secs", "runs": ["cargo build"] }] },
//!   "copies": { "projects", "bytes", "limit_gb" },
//!   "runs": [{ "number", "title", "workspace", "started", "terminal", "state", "ended",
//!              "exit_code", "signal", "ended_by_down", "waits_for", "shown" }],
//!   "unreadable_runs": [{ "number", "path", "why" }]
//! }
//! ```
//!
//! `runs` are all that were started with `--detach` and are kept; `state` is `running`, `ended` or
//! `lost`. `waits_for` is what a running one waits for, if anything; `exit_code` and `signal` are
//! `null`, too, for one that has ended if its end cannot be read or `ended_by_down` is true.
//! `unreadable_runs` are records that are kept but cannot be read, such as those of a later version.
//! `copies` is what projects take on this machine's disk, as last measured; `bytes` is `null`
//! until all were. `idle_secs` is `null` while `runs` of the project are there.
//! `hetzner` is `null` without a token, `local` where no agent runs on this machine.
//! `deleted_at` is the time of deletion if no command uses it from now on, also while one does:
//! the earliest that is possible.
//! `deleted_by` is `keeper`, `timer`, or `server` for one that deletes itself; `null` for what is
//! `kept` until `cargo burst down`, for what no process deletes, and for what is not `own`.
//! `deletes_itself_at` is when a server does so if no keeper renews its lease.
//! `this_month` counts everything of cargo-burst that this installation has seen, also what is
//! deleted or of other machines. `monthly_budget` and `budget_left` are `null` without that
//! setting.
//! What is `protected` in the Hetzner console is not deleted before the protection is removed there.

use burst_hcloud::Timestamp;
use burst_protocol::message::AgentStatus;
use serde_json::{Value, json};

use super::copies::Copies;
use super::render::ENDLESS_SECS;
use crate::detached::record::{How, Run, RunState};
use crate::detached::runs::{Found, Unreadable};
use crate::hetzner::report::{ImageLine, Report, ServerLine, VolumeLine};

/// The document of `status`.
pub(super) fn status(
    report: Option<&Report>,
    budget: Option<f64>,
    local: Option<&AgentStatus>,
    copies: &Copies,
    found: &Found,
) -> Value {
    let Copies { projects, bytes, limit_gb } = copies;
    json!({
        "hetzner": report.map(|report| hetzner(report, budget)),
        "local": local.map(agent),
        "copies": { "projects": projects, "bytes": bytes, "limit_gb": limit_gb },
        "runs": found.runs.iter().map(detached_run).collect::<Vec<_>>(),
        "unreadable_runs": found.unreadable.iter().map(unreadable).collect::<Vec<_>>(),
    })
}

fn unreadable(record: &Unreadable) -> Value {
    let Unreadable { number, path, why } = record;
    json!({ "number": number, "path": path.to_string_lossy(), "why": why })
}

fn detached_run(run: &Run) -> Value {
    let Run { number, started, state, waits_for, is_shown } = run;
    let (state, ended) = match state {
        RunState::Running => ("running", None),
        RunState::Ended(ended) => ("ended", Some(ended)),
        RunState::EndUnknown => ("ended", None),
        RunState::Lost => ("lost", None),
    };
    let how = ended.map(|ended| ended.how);
    let (code, signal) = match how {
        Some(How::Code(code)) => (Some(code), None),
        Some(How::Signal(signal)) => (None, Some(signal)),
        Some(How::Down) | None => (None, None),
    };
    json!({
        "number": number,
        "title": started.title,
        "workspace": started.workspace.to_string_lossy(),
        "started": time(started.at),
        "terminal": started.terminal.is_some(),
        "state": state,
        "ended": ended.map(|ended| time(ended.at)),
        "exit_code": code,
        "signal": signal,
        "ended_by_down": how == Some(How::Down),
        "waits_for": waits_for,
        "shown": is_shown,
    })
}

fn hetzner(report: &Report, budget: Option<f64>) -> Value {
    json!({
        "now": time(report.now),
        "currency": report.currency,
        "servers": report.servers.iter().map(server).collect::<Vec<_>>(),
        "volumes": report.volumes.iter().map(volume).collect::<Vec<_>>(),
        "images": report.images.iter().map(image).collect::<Vec<_>>(),
        "this_month": report.this_month,
        "monthly_budget": budget,
        "budget_left": budget.map(|budget| budget - report.this_month.total),
    })
}

fn server(server: &ServerLine) -> Value {
    json!({
        "name": server.name,
        "own": server.own,
        "host": server.host,
        "server_type": server.server_type,
        "location": server.location,
        "status": server.status,
        "created": time(server.created),
        "last_use": time(server.last_use),
        "in_use": server.in_use,
        "paid_until": time(server.paid_until),
        "protected": server.protected,
        "deleted_at": server.deleted_at.map(time),
        "deleted_by": server.deleted_by,
        "kept": server.kept,
        "deletes_itself_at": server.deletes_itself_at.map(time),
        "cost": server.cost,
        "hourly": server.hourly,
    })
}

fn volume(volume: &VolumeLine) -> Value {
    json!({
        "name": volume.name,
        "own": volume.own,
        "project": volume.project,
        "location": volume.location,
        "gb": volume.gb,
        "attached": volume.attached,
        "last_use": time(volume.last_use),
        "in_use": volume.in_use,
        "protected": volume.protected,
        "deleted_at": volume.deleted_at.map(time),
        "deleted_by": volume.deleted_by,
        "kept": volume.kept,
        "cost": volume.cost,
    })
}

fn image(image: &ImageLine) -> Value {
    json!({
        "id": image.id,
        "description": image.description,
        "created": time(image.created),
        "gb": image.gb,
        "monthly": image.monthly,
    })
}

fn agent(status: &AgentStatus) -> Value {
    let projects = status.projects.iter().map(|project| {
        json!({
            "path": project.project.absolute().to_string_lossy(),
            "idle_secs": project.runs.is_empty().then_some(project.idle_secs),
            "runs": project.runs,
        })
    });
    json!({
        "version": status.version,
        "pid": status.pid,
        "up_secs": status.up_secs,
        "ends_in_secs": status.ends_in_secs.filter(|left| *left < ENDLESS_SECS),
        "projects": projects.collect::<Vec<_>>(),
    })
}

/// A time in Unix seconds as RFC 3339; `null` if it is out of range.
fn time(secs: i64) -> Value {
    Timestamp::from_second(secs).map_or(Value::Null, |time| time.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detached::record::{Ended, Started};
    use crate::hetzner::audit::Spent;
    use crate::hetzner::report::DeletedBy;
    use burst_protocol::RelativePath;
    use burst_protocol::message::ProjectStatus;

    fn local() -> AgentStatus {
        AgentStatus {
            version: "0.1.0".into(),
            pid: 5,
            up_secs: 6,
            ends_in_secs: Some(7),
            projects: vec![
                ProjectStatus {
                    project: RelativePath::new(b"home/me/app").unwrap(),
                    idle_secs: 8,
                    runs: vec!["cargo build".into()],
                },
                ProjectStatus {
                    project: RelativePath::new(b"home/me/lib").unwrap(),
                    idle_secs: 9,
                    runs: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn the_document_has_the_documented_keys() {
        let report = Report {
            now: 1_000_000_000,
            currency: "EUR".into(),
            servers: Vec::new(),
            volumes: vec![VolumeLine {
                name: "v".into(),
                own: true,
                project: "app".into(),
                location: "hel1".into(),
                gb: 10.0,
                attached: false,
                last_use: 999_999_999,
                in_use: true,
                protected: false,
                deleted_at: None,
                deleted_by: Some(DeletedBy::Keeper),
                kept: false,
                cost: 0.5,
            }],
            images: vec![ImageLine {
                id: 7,
                description: "d".into(),
                created: 0,
                gb: 2.5,
                monthly: 0.1,
            }],
            stuck: Vec::new(),
            this_month: Spent { started_hours: 3, servers: 1.0, total: 1.5, ..Spent::default() },
        };
        let copies = Copies { projects: 2, bytes: Some(9), limit_gb: 100 };
        let unreadable =
            vec![Unreadable { number: 4, path: "/s/runs/4".into(), why: "why".into() }];
        let found = Found { unreadable, ..Found::default() };
        assert_eq!(
            status(Some(&report), Some(2.0), Some(&local()), &copies, &found),
            json!({
                "hetzner": {
                    "now": "2001-09-09T01:46:40Z",
                    "currency": "EUR",
                    "servers": [],
                    "volumes": [{
                        "name": "v", "own": true, "project": "app", "location": "hel1",
                        "gb": 10.0, "attached": false, "last_use": "2001-09-09T01:46:39Z",
                        "in_use": true, "protected": false,
                        "deleted_at": null, "deleted_by": "keeper", "kept": false, "cost": 0.5,
                    }],
                    "images": [{
                        "id": 7, "description": "d", "created": "1970-01-01T00:00:00Z",
                        "gb": 2.5, "monthly": 0.1,
                    }],
                    "this_month": {
                        "started_hours": 3, "servers": 1.0, "volumes": 0.0, "images": 0.0,
                        "total": 1.5,
                    },
                    "monthly_budget": 2.0, "budget_left": 0.5,
                },
                "local": {
                    "version": "0.1.0", "pid": 5, "up_secs": 6, "ends_in_secs": 7,
                    "projects": [{
                        "path": "/home/me/app", "idle_secs": null, "runs": ["cargo build"],
                    }, {
                        "path": "/home/me/lib", "idle_secs": 9, "runs": [],
                    }],
                },
                "copies": { "projects": 2, "bytes": 9, "limit_gb": 100 },
                "runs": [],
                "unreadable_runs": [{ "number": 4, "path": "/s/runs/4", "why": "why" }],
            })
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let unknown = Copies { projects: 1, bytes: None, limit_gb: 1 };
        assert_eq!(
            status(None, None, None, &unknown, &Found::default()),
            json!({
                "hetzner": null, "local": null, "runs": [], "unreadable_runs": [],
                "copies": { "projects": 1, "bytes": null, "limit_gb": 1 },
            })
        );
    }

    #[test]
    fn a_detached_run_has_the_documented_keys() {
        let title = "cargo build".to_owned();
        let workspace = "/w".into();
        let started = Started { title, workspace, at: 0, terminal: None, one_output: false };
        let run = |state| {
            let waits_for = (state == RunState::Running).then(|| "x".to_owned());
            Run { number: 3, started: started.clone(), state, waits_for, is_shown: false }
        };
        let ended = |how| RunState::Ended(Ended { at: 9, how, unrecorded: 0 });
        let expected = |state: &str, ended: Value, code: Value, signal: Value| {
            let waits_for = (state == "running").then_some("x");
            json!({
                "number": 3, "title": "cargo build", "workspace": "/w",
                "started": "1970-01-01T00:00:00Z", "terminal": false, "state": state,
                "ended": ended, "exit_code": code, "signal": signal, "ended_by_down": false,
                "waits_for": waits_for, "shown": false,
            })
        };
        let (null, at) = (Value::Null, json!("1970-01-01T00:00:09Z"));
        for (state, expected) in [
            (ended(How::Signal(2)), expected("ended", at.clone(), null.clone(), json!(2))),
            (ended(How::Code(0)), expected("ended", at, json!(0), null.clone())),
            (RunState::Running, expected("running", null.clone(), null.clone(), null.clone())),
            (RunState::Lost, expected("lost", null.clone(), null.clone(), null.clone())),
        ] {
            assert_eq!(detached_run(&run(state)), expected);
        }
        let down = detached_run(&run(ended(How::Down)));
        assert_eq!([&down["state"], &down["signal"]], [&json!("ended"), &null]);
        assert_eq!(down["ended_by_down"], true);
        assert_eq!(detached_run(&run(RunState::EndUnknown))["state"], "ended");
    }
}
