//! The check of the port of servers, by UDP and TCP. Pure.

use super::account::Account;
use super::check::Check;
use crate::connection::port_probe::Answers;
use crate::error::ErrorKind;
use crate::terminal::counted;

/// The youngest age at which a server has booted, in seconds.
pub(super) const BOOT_SECS: i64 = 180;

/// The name of the check.
const NAME: &str = "ports";

/// A running server that was tried.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// Its name.
    pub(super) name: String,
    /// How long it has existed, in seconds.
    pub(super) age_secs: i64,
    /// What has answered.
    pub(super) answers: Answers,
}

/// What is known of this network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// The running servers.
    pub(super) tried: Vec<Tried>,
    /// Whether it was found to block UDP within the last hour.
    pub(super) blocks_udp: bool,
}

/// The port gets through. `port` is that of agents on servers.
pub(super) fn ports(account: &Account, network: &Network, port: u16) -> Check {
    if let Err(why) = account.examined() {
        return Check::skipped(NAME, why);
    }
    if network.tried.is_empty() {
        let known = match network.blocks_udp {
            true => "this network has blocked UDP within the last hour, so TCP is tried first",
            false => "nothing is known of this network, so UDP is tried first",
        };
        let why = format!("no server runs, and the next one is tried when it has booted; {known}");
        return Check::skipped(NAME, why);
    }
    let is_silent = |one: &&Tried| !one.answers.udp && !one.answers.tcp;
    let (young, silent): (Vec<&Tried>, Vec<&Tried>) =
        network.tried.iter().filter(is_silent).partition(|one| one.age_secs < BOOT_SECS);
    if let Some(silent) = silent.first() {
        return Check::error(
            NAME,
            ErrorKind::AgentSilent,
            format!("port {port} of {} answers neither by UDP nor by TCP", silent.name),
            format!(
                "let UDP or TCP to port {port} out of this network, and look at the firewall \
                 `cargo-burst` in the Hetzner console; if both are open, `cargo burst down`"
            ),
        );
    }
    let answering = network.tried.len() - young.len();
    if answering == 0 {
        return Check::skipped(NAME, "the server boots: run the command again in a minute");
    }
    if let Some(blocked) = network.tried.iter().find(|one| one.answers.tcp && !one.answers.udp) {
        return Check::warning(
            NAME,
            format!("port {port} of {} answers by TCP and not by UDP", blocked.name),
            format!("let UDP to port {port} out of this network: a run then survives its changes"),
        );
    }
    let servers = counted(answering as u64, "server");
    match network.tried.iter().find(|one| one.answers.udp && !one.answers.tcp) {
        Some(one) => Check::ok(
            NAME,
            format!("port {port} of {servers} answers by UDP; that of {} not by TCP", one.name),
        ),
        None => Check::ok(NAME, format!("port {port} of {servers} answers by UDP and TCP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::account::Account;
    use crate::commands::doctor::check::State;
    use crate::hetzner::examination::Examination;

    fn answering(udp: bool, tcp: bool, age_secs: i64) -> Tried {
        Tried { name: "s".into(), age_secs, answers: Answers { udp, tcp } }
    }

    fn check(tried: Vec<Tried>) -> Check {
        let account = Account::Examined(Box::new(Examination::empty()));
        ports(&account, &Network { tried, blocks_udp: false }, 7777)
    }

    #[test]
    fn what_answers_decides() {
        let old = BOOT_SECS;
        assert_eq!(check(vec![answering(true, true, 0)]).state, State::Ok);
        assert_eq!(check(vec![answering(true, false, old)]).state, State::Ok);
        let blocked = check(vec![answering(true, true, old), answering(false, true, old)]);
        assert_eq!(blocked.state, State::Warning);
        assert_eq!(blocked.finding, "port 7777 of s answers by TCP and not by UDP");
        let silent = check(vec![answering(false, false, old)]);
        assert_eq!(silent.state, State::Error(ErrorKind::AgentSilent));
    }

    #[test]
    fn a_server_that_boots_is_not_blamed() {
        assert_eq!(check(vec![answering(false, false, BOOT_SECS - 1)]).state, State::Skipped);
        let other = check(vec![answering(false, false, 0), answering(true, true, 0)]);
        assert_eq!(other.finding, "port 7777 of 1 server answers by UDP and TCP");
    }

    #[test]
    fn without_a_server_the_memory_of_the_network_is_told() {
        let account = Account::Examined(Box::new(Examination::empty()));
        let told = |blocks_udp| {
            let network = Network { tried: Vec::new(), blocks_udp };
            let check = ports(&account, &network, 7777);
            assert_eq!(check.state, State::Skipped);
            check.finding
        };
        assert!(told(true).ends_with("so TCP is tried first"));
        assert!(told(false).ends_with("so UDP is tried first"));
        let network = Network { tried: Vec::new(), blocks_udp: true };
        assert_eq!(ports(&Account::NoToken, &network, 7777).state, State::Skipped);
    }
}
