//! The texts, whole, for reports at fixed times.

use super::*;
use crate::hetzner::audit::{self as record, Closed, Command, Entry, Kind, Place, Resource};
use crate::hetzner::report::ImageLine;
use burst_protocol::RelativePath;
use burst_protocol::message::ProjectStatus;

const NOW: i64 = 1_000_000_000;

/// The line of [`image`].
const IMAGE: &str = "image 1001: created 3 d ago, 2.3 GB, EUR 0.03 per month\n";

fn server() -> ServerLine {
    ServerLine {
        name: "cargo-burst-1".into(),
        own: true,
        host: "laptop".into(),
        server_type: "cx53".into(),
        location: "hel1".into(),
        status: "running".into(),
        created: NOW - 125,
        last_use: NOW - 5,
        in_use: false,
        protected: false,
        paid_until: NOW + 3475,
        deleted_at: Some(NOW + 3355),
        deleted_by: Some(DeletedBy::Keeper),
        kept: false,
        deletes_itself_at: Some(NOW + 3385),
        cost: 0.0475,
        hourly: 0.0475,
    }
}

fn volume() -> VolumeLine {
    VolumeLine {
        name: "cargo-burst-v".into(),
        own: true,
        project: "app".into(),
        location: "hel1".into(),
        gb: 10.0,
        attached: true,
        last_use: NOW - 5,
        in_use: false,
        protected: false,
        deleted_at: Some(NOW + 3595),
        deleted_by: Some(DeletedBy::Keeper),
        kept: false,
        cost: 0.001,
    }
}

fn image() -> ImageLine {
    ImageLine {
        id: 1001,
        description: "cargo-burst".into(),
        created: NOW - 3 * 86_400,
        gb: 2.3,
        monthly: 0.0273,
    }
}

fn report(servers: Vec<ServerLine>, volumes: Vec<VolumeLine>) -> Report {
    let this_month = Spent { total: 12.25, ..Spent::default() };
    let (currency, images) = ("EUR".into(), vec![image()]);
    let stuck = Vec::new();
    Report { now: NOW, currency, servers, volumes, images, this_month, stuck }
}

/// The last line of [`report`].
const MONTH: &str = "this month: EUR 12.25\n";

#[test]
fn an_idle_server_with_its_volume() {
    let expected = "\
server cargo-burst-1: cx53 in hel1, running, up 2 min 5 s, last used 5 s ago, paid for 57 min 55 s \
more, deleted in 55 min 55 s if it stays idle; EUR 0.05 so far, 0.05 per started hour
volume of app: 10 GB in hel1, attached, last used 5 s ago, deleted in 59 min 55 s if it stays idle; \
EUR 0.00 so far
";
    let text = resources(&report(vec![server()], vec![volume()]), None);
    assert_eq!(text, format!("{expected}{IMAGE}cost so far: EUR 0.05\n{MONTH}"));
}

#[test]
fn no_resources() {
    let nothing = Report { images: Vec::new(), ..report(Vec::new(), Vec::new()) };
    assert_eq!(
        resources(&nothing, None),
        "server: none; the next command creates one\n\
         image: none; without one no server can be created\n\
         cost so far: EUR 0.00\n\
         this month: EUR 12.25\n"
    );
}

#[test]
fn the_month_and_what_is_left_of_the_budget() {
    let last = |budget| {
        let text = resources(&report(Vec::new(), Vec::new()), Some(budget));
        text.lines().next_back().unwrap().to_owned()
    };
    assert_eq!(last(40.0), "this month: EUR 12.25; 27.75 left of the monthly budget of 40.00");
    assert_eq!(
        last(12.0),
        "this month: EUR 12.25; the monthly budget of 12.00 is exceeded by 0.25"
    );
}

#[test]
fn resources_of_another_machine() {
    let servers = vec![ServerLine { own: false, ..server() }];
    let volumes = vec![VolumeLine { own: false, attached: false, ..volume() }];
    let expected = "\
server cargo-burst-1 (created by laptop): cx53 in hel1, running, up 2 min 5 s, last used 5 s ago, \
paid for 57 min 55 s more, deleted in 55 min 55 s if it stays idle; EUR 0.05 so far, 0.05 per \
started hour
volume of app (created by another machine): 10 GB in hel1, not attached, last used 5 s ago, deleted \
in 59 min 55 s if it stays idle; EUR 0.00 so far
";
    let text = resources(&report(servers, volumes), None);
    assert_eq!(text, format!("{expected}{IMAGE}cost so far: EUR 0.05\n{MONTH}"));
}

#[test]
fn what_is_protected_is_billed_until_the_protection_is_removed() {
    let servers = vec![ServerLine { protected: true, deleted_at: None, ..server() }];
    let volumes = vec![VolumeLine { protected: true, deleted_at: None, ..volume() }];
    let expected = "\
server cargo-burst-1: cx53 in hel1, running, up 2 min 5 s, last used 5 s ago, paid for 57 min 55 s \
more, protected against deletion, and billed until you remove the protection in the Hetzner \
console; EUR 0.05 so far, 0.05 per started hour
volume of app: 10 GB in hel1, attached, last used 5 s ago, protected against deletion, and billed \
until you remove the protection in the Hetzner console; EUR 0.00 so far
";
    let text = resources(&report(servers, volumes), None);
    assert_eq!(text, format!("{expected}{IMAGE}cost so far: EUR 0.05\n{MONTH}"));
}

#[test]
fn a_server_that_is_kept_and_one_in_use() {
    let kept = ServerLine { kept: true, deleted_at: None, deleted_by: None, ..server() };
    let used = ServerLine { in_use: true, last_use: NOW, ..server() };
    let deleted_at = Some(NOW + 3600);
    let volume = VolumeLine { in_use: true, last_use: NOW, deleted_at, ..volume() };
    let expected = "\
server cargo-burst-1: cx53 in hel1, running, up 2 min 5 s, last used 5 s ago, paid for 57 min 55 s \
more, kept until `cargo burst down`; EUR 0.05 so far, 0.05 per started hour
server cargo-burst-1: cx53 in hel1, running, up 2 min 5 s, in use, paid for 57 min 55 s more, \
deleted in 55 min 55 s if its use ended now; EUR 0.05 so far, 0.05 per started hour
volume of app: 10 GB in hel1, attached, in use, deleted in 1 h if its use ended now; EUR 0.00 so far
";
    let text = resources(&report(vec![kept, used], vec![volume]), None);
    assert_eq!(text, format!("{expected}{IMAGE}cost so far: EUR 0.10\n{MONTH}"));
}

#[test]
fn nothing_is_promised_that_nobody_does() {
    let watched = |by, stuck: &[&str], switch: Option<i64>| {
        let server = ServerLine { deletes_itself_at: switch, deleted_by: None, ..server() };
        let volume = VolumeLine { deleted_by: None, ..volume() };
        let mut report = report(vec![server], vec![volume]);
        report.stuck = stuck.iter().map(|name| (*name).to_owned()).collect();
        report.is_watched_by(by);
        let text = resources(&report, None);
        let clause =
            |line: &str| line.split(';').next().unwrap().rsplit(", ").next().unwrap().to_owned();
        let found: Vec<String> = text.lines().take(2).map(clause).collect();
        (found[0].clone(), found[1].clone())
    };
    let pair = |server: &str, volume: &str| (server.to_owned(), volume.to_owned());
    let nobody = "NOBODY will delete it: run `cargo burst down`";
    let no_volume = "NOBODY will delete it: run `cargo burst down --with-volumes`";
    let kept = "deleted in 55 min 55 s if it stays idle";
    let kept_volume = "deleted in 59 min 55 s if it stays idle";
    let switch = Some(NOW + 3385);
    for by in [DeletedBy::Keeper, DeletedBy::Timer] {
        assert_eq!(watched(Some(by), &[], switch), pair(kept, kept_volume));
    }
    assert_eq!(watched(None, &[], switch), pair("deletes itself in 56 min 25 s", no_volume));
    assert_eq!(watched(None, &[], None), pair(nobody, no_volume));
    let stuck = watched(Some(DeletedBy::Keeper), &["cargo-burst-1", "cargo-burst-v"], None);
    assert_eq!(stuck, pair(nobody, no_volume));
}

#[test]
fn the_agent_idle_and_busy() {
    let project = |runs: &[&str]| ProjectStatus {
        project: RelativePath::new(b"home/me/app").unwrap(),
        idle_secs: 61,
        runs: runs.iter().map(|run| (*run).to_owned()).collect(),
    };
    let idle = AgentStatus {
        version: "0.1.0".into(),
        pid: 5,
        up_secs: 7200,
        ends_in_secs: Some(299),
        projects: vec![project(&[])],
    };
    assert_eq!(
        agent(&idle),
        "agent on this machine: running, pid 5, version 0.1.0, up 2 h, exits in 4 min 59 s if it \
         stays idle\n  /home/me/app  idle for 1 min 1 s\n"
    );
    let busy = AgentStatus {
        ends_in_secs: None,
        projects: vec![project(&["cargo build", "cargo test"])],
        ..idle
    };
    assert_eq!(
        agent(&busy),
        "agent on this machine: running, pid 5, version 0.1.0, up 2 h, busy\n  \
         /home/me/app  running `cargo build`\n  /home/me/app  running `cargo test`\n"
    );
}

#[test]
fn detached_runs_are_on_one_line_each() {
    let started = Started {
        title: "cargo run -- a\n\u{1b}[31mb".into(),
        workspace: "/w\nx".into(),
        at: NOW - 61,
        terminal: None,
        one_output: false,
    };
    let run = |state, waits: Option<&str>, is_shown| Run {
        number: 3,
        started: started.clone(),
        state,
        waits_for: waits.map(str::to_owned),
        is_shown,
    };
    let ended = |how| RunState::Ended(Ended { at: NOW - 5, how, unrecorded: 0 });
    let name = "detached run 3: `cargo run -- a \\u001b[31mb` of /w x";
    let shows = "`cargo burst attach 3` shows it";
    for (one, expected) in [
        (run(RunState::Running, None, false), "running for 1 min 1 s"),
        (run(RunState::Running, Some("`x`"), false), "waiting for `x`, started 1 min 1 s ago"),
        (run(ended(How::Code(4)), None, false), "ended 5 s ago with code 4, not shown yet"),
        (run(ended(How::Signal(9)), None, false), "ended 5 s ago by signal 9, not shown yet"),
        (run(ended(How::Down), None, false), "ended 5 s ago by `cargo burst down`, not shown yet"),
        (
            run(RunState::EndUnknown, None, false),
            "started 1 min 1 s ago, has ended: how cannot be read",
        ),
        (run(RunState::Lost, None, false), "started 1 min 1 s ago, lost: its holder is gone"),
    ] {
        let found = Found { runs: vec![one], ..Found::default() };
        assert_eq!(runs(&found, NOW), format!("{name}, {expected}; {shows}\n"));
    }
    let unreadable = vec![Unreadable { number: 4, path: "/s/4".into(), why: "why".into() }];
    let shown = vec![run(ended(How::Code(0)), None, true)];
    let found = Found { runs: shown, unreadable, ..Found::default() };
    let line = "detached run 4: its record cannot be read (why); `/s/4` is kept\n";
    assert_eq!(runs(&found, NOW), line);
}

#[test]
fn deletions_and_none() {
    assert_eq!(reaped(&ReapReport::default()), "nothing to delete at Hetzner\n");
    let some = ReapReport {
        servers: vec!["s".into()],
        volumes: vec!["v".into()],
        failed: vec!["w: locked".into()],
        ..ReapReport::default()
    };
    assert_eq!(reaped(&some), "deleted the server s\ndeleted the volume v\n");
    let failed = ReapReport { failed: vec!["w: locked".into()], ..ReapReport::default() };
    assert_eq!(reaped(&failed), "");
}

/// A server of one hour that served two commands.
fn entries() -> Vec<Entry> {
    let command = |began: i64, cold: bool| {
        let reach_secs = if cold { 10.0 } else { 0.0 };
        Entry::Command(Box::new(Command {
            verb: "build".into(),
            began,
            reach_secs,
            sync_secs: 1.0,
            run_secs: 9.0,
            total_secs: reach_secs + 10.0,
            cold,
            place: Place::Server { server_type: "cx53".into(), location: "hel1".into() },
            ..Command::default()
        }))
    };
    let server = Resource::server_of_tests(1, 0);
    let reason = "idle".into();
    vec![
        Entry::Opened(Box::new(server)),
        command(0, true),
        command(600, false),
        Entry::Closed(Closed { kind: Kind::Server, id: 1, at: 3480, seen: None, reason }),
    ]
}

/// The means of [`entries`].
const MEANS: &str = "\
cold              1 command, on average    20.0 s: server 10.0, sync 1.0, cargo 9.0
warm              1 command, on average    10.0 s: server 0.0, sync 1.0, cargo 9.0
build            2 commands, on average    15.0 s: server 5.0, sync 1.0, cargo 9.0
";

/// The result of other settings for [`entries`], at the recorded price.
const RULES: &str = "\
cost with other settings:
  keep_alive_secs = 60    keep_paid_hour = true       1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 60    keep_paid_hour = false     2 hours, EUR     1.00,    2 cold starts
  keep_alive_secs = 300   keep_paid_hour = true       1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 300   keep_paid_hour = false     2 hours, EUR     1.00,    2 cold starts
  keep_alive_secs = 900   keep_paid_hour = true       1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 900   keep_paid_hour = false      1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 1800  keep_paid_hour = true       1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 1800  keep_paid_hour = false      1 hour, EUR     0.50,     1 cold start
  keep_alive_secs = 3600  keep_paid_hour = true      2 hours, EUR     1.00,     1 cold start
  keep_alive_secs = 3600  keep_paid_hour = false     2 hours, EUR     1.00,     1 cold start
";

#[test]
fn an_audit_at_the_recorded_price() {
    let first = "1 server, 1 started hour, EUR 0.50; optimum with perfect foresight: 1 hour\n";
    let first = format!("{first}this month: EUR 0.50, EUR 0.00 in the one before\n");
    let text = audit(&record::audit(&entries(), None, 4000), None, None, None);
    assert_eq!(text, format!("{first}{MEANS}{RULES}"));
}

#[test]
fn an_audit_at_another_rate() {
    let first = "1 server, 1 started hour, EUR 2.00; optimum with perfect foresight: 1 hour\n";
    let first = format!("{first}this month: EUR 0.50, EUR 0.00 in the one before\n");
    let rules = RULES.replace("EUR     1.00", "EUR     4.00");
    let rules = rules.replace("EUR     0.50", "EUR     2.00");
    let text = audit(&record::audit(&entries(), Some(2.0), 4000), None, None, None);
    assert_eq!(text, format!("{first}{MEANS}{rules}"));
}

#[test]
fn an_audit_of_an_empty_record() {
    let text = audit(&record::audit(&[], None, 4000), None, None, None);
    assert_eq!(text, "no command has run yet\n");
}

#[test]
fn the_right_size_and_a_further_hour() {
    let fit = |name: &str, cores: f64, cost: f64, run_secs: f64| Fit {
        server_type: name.into(),
        cores,
        cost,
        run_secs,
    };
    let size = RightSize {
        commands: 12,
        run_secs: 10.0,
        cheapest: fit("cx23", 2.0, 0.1, 52.0),
        fastest: fit("ccx63", 48.0, 15.0, 6.0),
    };
    assert_eq!(
        right_size(&size, Some("/w")),
        "today cheapest: cx23 (2 cores, EUR 0.10, 52.0 s a run); fastest: ccx63 (48 cores, \
         EUR 15.00, 6.0 s a run); it took 10.0 s; from 12 commands of /w, if only cores count"
    );
    assert_eq!(
        holding(&Holding { hours: 3, cold_starts: 1, secs: 90.0 }),
        "one more hour after each with a use: 3 hours more, 1 cold start fewer, 1 min 30 s less waiting"
    );
}
