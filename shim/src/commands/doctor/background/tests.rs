use super::*;
use crate::commands::doctor::check::State;
use crate::hetzner::examination::{Examination, ExaminedServer};

fn account(servers: &[(&str, bool)]) -> Account {
    let servers = servers.iter().map(|(name, is_of_this_machine)| ExaminedServer {
        name: (*name).into(),
        is_of_this_machine: *is_of_this_machine,
        running_at: None,
        age_secs: 0,
    });
    Account::Examined(Box::new(Examination { servers: servers.collect(), ..Examination::empty() }))
}

#[test]
fn a_keeper_is_needed_where_this_machine_has_a_server() {
    assert_eq!(keeper(&Keeper::None, &Account::NoToken).state, State::Ok);
    assert_eq!(keeper(&Keeper::None, &account(&[("other", false)])).state, State::Ok);
    let check = keeper(&Keeper::None, &account(&[("other", false), ("ours", true)]));
    assert_eq!(check.state, State::Error(ErrorKind::Keeper));
    assert_eq!(check.finding, "none runs, so that no process of this machine deletes ours");
}

#[test]
fn a_keeper_tells_what_it_holds() {
    let holding =
        KeeperSummary { up_secs: 125, accounts: 1, servers: vec!["a".into()], commands: 2 };
    let check = keeper(&Keeper::Running(7, holding), &account(&[("a", true)]));
    assert_eq!(check.state, State::Ok);
    assert_eq!(
        check.finding,
        format!(
            "runs (pid 7, version {VERSION}) for 2 min 5 s, with 1 account, 2 commands, connected \
             to a"
        )
    );
    let other = keeper(&Keeper::OtherVersion(7, "0.0.9".into()), &account(&[]));
    assert_eq!(other.state, State::Warning);
    let silent = keeper(&Keeper::Silent(7), &account(&[]));
    assert_eq!(silent.state, State::Error(ErrorKind::Keeper));
    let failed = Keeper::Failed(Error::new(ErrorKind::State, "cannot read `lock`", "let it"));
    assert_eq!(keeper(&failed, &account(&[])).state, State::Error(ErrorKind::State));
}

fn enabled() -> Timer {
    Timer {
        program: Some("/bin/cargo-burst".into()),
        has_program: true,
        enabled: Some("enabled".into()),
        sees_account: true,
    }
}

#[test]
fn a_timer_that_is_installed_can_do_its_work() {
    let check = |found: Timer| timer(&found, &account(&[])).state;
    assert_eq!(check(enabled()), State::Ok);
    assert_eq!(check(Timer { program: None, enabled: None, ..enabled() }), State::Ok);
    assert_eq!(check(Timer { enabled: Some("disabled".into()), ..enabled() }), State::Warning);
    assert_eq!(check(Timer { enabled: None, ..enabled() }), State::Warning);
    assert_eq!(check(Timer { has_program: false, ..enabled() }), State::Error(ErrorKind::State));
    let blind = Timer { sees_account: false, ..enabled() };
    assert_eq!(check(blind.clone()), State::Error(ErrorKind::Token));
    // Without a token there is nothing to delete.
    assert_eq!(timer(&blind, &Account::NoToken).state, State::Ok);
}

#[test]
fn an_agent_of_another_version_is_a_warning() {
    let running = |version: &str| LocalAgent::Running { pid: 5, version: version.into() };
    let check = versions(&running(VERSION), (1, 1));
    assert_eq!(check.state, State::Ok);
    assert_eq!(
        check.finding,
        format!("cargo-burst {VERSION}, protocol 1; the agent on this machine (pid 5) is the same")
    );
    assert_eq!(versions(&running("0.0.9"), (1, 2)).state, State::Warning);
    assert_eq!(versions(&LocalAgent::None, (1, 1)).state, State::Ok);
    assert_eq!(versions(&LocalAgent::Silent, (1, 1)).state, State::Error(ErrorKind::AgentSilent));
    let failed = LocalAgent::Failed(Error::new(ErrorKind::Version, "no version", "update"));
    assert_eq!(versions(&failed, (1, 1)).state, State::Error(ErrorKind::Version));
}
