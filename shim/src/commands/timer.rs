//! `cargo burst reap --install-timer`: a systemd timer of the user that reaps even when no
//! command runs for days. It uses the token of the user config, and is refused with another one:
//! what is only in the environment of a shell is not seen there.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::context::Context;
use crate::atomic_file;
use crate::directories::{Directories, unusable};
use crate::error::{Error, ErrorKind};
use crate::hetzner::credentials::Credentials;
use crate::settings::Settings;

/// The name of the unit that reaps.
pub(super) const SERVICE: &str = "cargo-burst-reap.service";
/// The name of the timer.
pub(super) const TIMER: &str = "cargo-burst-reap.timer";

/// Whether the timer is enabled, and reaps the account of these settings.
pub(super) fn reaps(context: &Context<'_>, settings: &Settings) -> Result<bool, Error> {
    let enabled = units(context).join("timers.target.wants").join(TIMER);
    Ok(enabled.symlink_metadata().is_ok() && sees_account(context.directories, settings)?)
}

/// Whether the timer, which has the user config alone, uses the account of these settings.
pub(super) fn sees_account(directories: &Directories, settings: &Settings) -> Result<bool, Error> {
    let seen = Settings::load(&directories.config_home, None, [])?;
    let account = |settings| Credentials::of(settings).map(|credentials| credentials.account());
    Ok(account(&seen).is_some() && account(&seen) == account(settings))
}

/// The directory of the user's units.
fn units(context: &Context<'_>) -> PathBuf {
    context.directories.config_home.join("systemd/user")
}

/// Writes both units and enables the timer.
pub(crate) fn install(context: &Context<'_>) -> Result<(), Error> {
    if !sees_account(context.directories, &context.settings(None)?)? {
        return Err(Error::new(
            ErrorKind::Token,
            "the timer would delete nothing",
            "store the token with `cargo burst init`, then install the timer",
        )
        .cause(
            "it sees neither a token nor an endpoint that is only in the environment of a shell, \
             and your user config has not the same",
        ));
    }
    let directory = units(context);
    let failed = |source| unusable("write the units in", &directory, &source);
    let program = std::env::current_exe().map_err(failed)?;
    std::fs::create_dir_all(&directory).map_err(failed)?;
    for (name, text) in [(SERVICE, service(&program)), (TIMER, timer())] {
        atomic_file::write(&directory.join(name), text.as_bytes(), 0o644).map_err(failed)?;
    }
    let calls: [&[&str]; 2] = [&["daemon-reload"], &["enable", "--now", TIMER]];
    let path = directory.join(TIMER);
    let shown = path.display();
    let refusal = calls.iter().find_map(|call| refusal_of(call));
    if context.json {
        let enabled = refusal.is_none();
        let value = json!({ "timer": shown.to_string(), "enabled": enabled, "reason": refusal });
        context.print_json(&value)?;
    }
    if let Some(reason) = refusal {
        context.terminal.warn(&format!(
            "`{shown}` is written but not enabled ({reason}): run `systemctl --user enable \
             --now {TIMER}`"
        ));
        return Ok(());
    }
    if context.json { Ok(()) } else { context.print(&format!("enabled `{shown}`\n")) }
}

/// Why `systemctl --user` refuses a call; `None` if it does not.
fn refusal_of(arguments: &[&str]) -> Option<String> {
    match Command::new("systemctl").arg("--user").args(arguments).output() {
        Err(error) => Some(format!("systemctl: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Some(text.lines().next().unwrap_or("systemctl failed").to_owned())
        }
    }
}

/// The unit that reaps. The keeper that it starts, if something is left, outlives it.
fn service(program: &Path) -> String {
    // In unit files `%` is a specifier and quotes are escaped.
    let program = program.display().to_string().replace('%', "%%").replace('"', "\\\"");
    format!(
        "[Unit]\nDescription=Delete idle cargo-burst servers and volumes\n\n\
         [Service]\nType=oneshot\nKillMode=process\nExecStart=\"{program}\" reap\n"
    )
}

/// The program that a unit of [`service`] starts.
pub(super) fn program_of(service: &str) -> Option<String> {
    let line = service.lines().find_map(|line| line.strip_prefix("ExecStart=\""))?;
    let program = line.strip_suffix("\" reap")?;
    Some(program.replace("\\\"", "\"").replace("%%", "%"))
}

/// The unit that starts it every ten minutes.
fn timer() -> String {
    "[Unit]\nDescription=Look for idle cargo-burst servers and volumes\n\n\
     [Timer]\nOnBootSec=2min\nOnUnitActiveSec=10min\n\n\
     [Install]\nWantedBy=timers.target\n"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_unit_is_read_as_it_was_written() {
        let program = "/home/me/a \"b\"/100%/cargo-burst";
        assert_eq!(program_of(&service(Path::new(program))).as_deref(), Some(program));
        assert_eq!(program_of("[Service]\nExecStart=/usr/bin/other\n"), None);
    }
}
