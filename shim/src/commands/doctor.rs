//! `cargo burst doctor`: looks at what commands need and says what to do where something is wrong.
//!
//! Facts are gathered first ([`mod@gather`]), each within a deadline, without a change to anything.
//! Then each check judges them; no check needs a token or a network. The checks are in the order
//! in which to follow their next steps. If one is an error, the command fails with the exit code
//! that a command would have that meets it; warnings do not count.
//!
//! The JSON is stable: names and states stay, later versions only add some.
//!
//! ```json
//! {"checks": [{"name": "toolchain", "state": "ok", "finding": "…", "next_step": null}]}
//! ```
//!
//! `state` is `ok`, `warning`, `error` or `skipped`; `next_step` is `null` for the first and the
//! last. With an error the key `error` follows, as of any command that fails.

mod account;
mod background;
mod check;
mod gather;
mod machine;
mod namespaces;
mod permissions;
mod ports;
mod render;

use burst_agent::transport::SERVER_PORT;
use burst_protocol::hello::VERSIONS;

use self::check::{Check, State};
use self::gather::{Facts, account_and_ports, gather};
use super::context::Context;
use super::failure::error_value;
use crate::directories::unusable;
use crate::environment;
use crate::error::Error;
use crate::settings::{Settings, user_file};

/// `cargo burst doctor`.
pub(crate) fn doctor(context: &Context<'_>) -> Result<(), Error> {
    let settings = context.settings(None);
    let facts = gather(context, settings.as_ref());
    let checks = judge(context, settings.as_ref(), &facts);
    let failure = failure(&checks);
    if context.json {
        let mut document = render::document(&checks);
        if let Some(error) = &failure {
            document["error"] = error_value(error);
        }
        context.print_json(&document)?;
        return failure.map_or(Ok(()), |error| Err(error.reported()));
    }
    context.print(&render::text(&checks))?;
    failure.map_or(Ok(()), Err)
}

/// `cargo burst doctor --apparmor-profile`: the profile for this program.
pub(crate) fn apparmor_profile(context: &Context<'_>) -> Result<(), Error> {
    let program = std::env::current_exe()
        .map_err(|source| unusable("find", "/proc/self/exe".as_ref(), &source))?;
    context.print(&namespaces::profile(&program, environment::home().as_deref()))
}

/// Warns at the end of `init` where servers of this machine cannot be reached on their port, or
/// only by TCP. What is not known, since no server runs, is not told.
pub(super) fn warn_of_ports(context: &Context<'_>) {
    let settings = context.settings(None).ok();
    let asked = account_and_ports(settings.as_ref(), context.directories);
    let (account, network) = context.runtime.block_on(asked);
    let Check { state, finding, next_step, .. } = ports::ports(&account, &network, SERVER_PORT);
    if matches!(state, State::Warning | State::Error(_)) {
        let step = next_step.map(|step| format!("; {step}")).unwrap_or_default();
        context.terminal.warn(&format!("{finding}{step}"));
    } else if network.blocks_udp {
        context.terminal.say("this network blocks UDP, so servers are reached over TCP");
    }
}

/// All checks.
fn judge(context: &Context<'_>, settings: Result<&Settings, &Error>, facts: &Facts) -> Vec<Check> {
    let account = &facts.account;
    let types = settings.map_or(&[][..], |settings| &settings.server_type);
    let answered = |found: Option<Check>, name| {
        found.unwrap_or_else(|| Check::skipped(name, "the file system has not answered in time"))
    };
    vec![
        settings_check(context, settings),
        machine::toolchain(&facts.toolchain),
        namespaces::namespaces(&facts.namespaces),
        machine::clock(facts.clock, account),
        account::endpoint(account, &facts.access),
        account::token(account, &facts.access),
        account::rights(account),
        account::quota(account, types),
        account::image(account, types),
        ports::ports(account, &facts.network, SERVER_PORT),
        machine::buffers(facts.buffers),
        answered(facts.disk.as_ref().map(machine::disk), "disk"),
        answered(facts.owned.as_deref().map(permissions::permissions), "permissions"),
        background::keeper(&facts.keeper, account),
        background::timer(&facts.timer, account),
        background::versions(&facts.agent, (*VERSIONS.start(), *VERSIONS.end())),
    ]
}

/// The settings of the user can be read.
fn settings_check(context: &Context<'_>, settings: Result<&Settings, &Error>) -> Check {
    const NAME: &str = "settings";
    let file = user_file(&context.directories.config_home);
    match settings {
        Err(error) => Check::failed(NAME, error),
        Ok(_) if file.exists() => Check::ok(NAME, format!("valid, from `{}`", file.display())),
        Ok(_) => Check::ok(NAME, "valid; there is no user config"),
    }
}

/// The error of the command, if a check is one: its kind is that of the first.
fn failure(checks: &[Check]) -> Option<Error> {
    let (first, kind) = render::first_error(checks)?;
    let message = format!("the check `{}` failed", first.name);
    let error = Error::new(kind, message, first.next_step.as_deref().unwrap_or_default());
    Some(error.cause(&first.finding))
}
