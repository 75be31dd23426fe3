//! The environment of this process. No other module of the shim reads it, so that this
//! page lists every variable that has an effect beside the settings.
//!
//! A variable that is set to nothing counts as not set, as with cargo. A toolchain that the
//! command line chooses replaces those that `CARGO` and `RUSTUP_TOOLCHAIN` name.

#![expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What HTTPS needs of the environment: proxies and trusted certificates. None is secret.
pub(crate) const HTTPS: [&str; 6] =
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];

/// The toolchain of the command line.
static TOOLCHAIN: OnceLock<String> = OnceLock::new();

/// Takes the toolchain that `+TOOLCHAIN` names on the command line, for the rest of the process.
pub(crate) fn choose_toolchain(name: String) {
    TOOLCHAIN.get_or_init(|| name);
}

/// The value of a variable.
pub(crate) fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The value of a variable, if it is Unicode.
pub(crate) fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

/// All variables.
pub(crate) fn all() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The cargo to call: `CARGO`, which cargo sets for its subcommands, else `cargo`. Some other
/// program in that variable, by its name, is not called.
fn cargo() -> OsString {
    let is_cargo = |path: &OsString| Path::new(path).file_stem() == Some(OsStr::new("cargo"));
    variable("CARGO").filter(is_cargo).unwrap_or_else(|| "cargo".into())
}

/// A call of cargo, with the toolchain of the command line. Only rustup's `cargo` knows
/// toolchains, so that one is called then.
pub(crate) fn cargo_command() -> Command {
    match TOOLCHAIN.get() {
        None => Command::new(cargo()),
        Some(toolchain) => {
            let mut command = Command::new("cargo");
            command.arg(format!("+{toolchain}"));
            command
        }
    }
}

/// cargo's home: `CARGO_HOME`, else `~/.cargo`.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cargo")))
}

/// `HOME`.
pub(crate) fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// The directory of git's configuration of the user: `XDG_CONFIG_HOME/git`, else
/// `~/.config/git`.
pub(crate) fn git_home() -> Option<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    Some(config.or_else(|| Some(home()?.join(".config")))?.join("git"))
}

/// The directory that git is installed below, such as `/usr/local`: that of the first git in
/// `PATH`.
pub(crate) fn git_prefix() -> Option<PathBuf> {
    let path = variable("PATH")?;
    let bin = std::env::split_paths(&path).find(|directory| directory.join("git").is_file())?;
    bin.parent().map(PathBuf::from)
}

/// The toolchain of the command line, else `RUSTUP_TOOLCHAIN`, which rustup sets. One that rustup
/// has taken from a file is left to the rustup of the agent, which installs the components and
/// targets of that file, too.
pub(crate) fn toolchain() -> Option<String> {
    let is_of_file =
        text("RUSTUP_TOOLCHAIN_SOURCE").is_some_and(|source| source == "toolchain-file");
    let of_variable = || text("RUSTUP_TOOLCHAIN").filter(|_| !is_of_file);
    TOOLCHAIN.get().cloned().or_else(of_variable)
}

/// `TERM`.
pub(crate) fn terminal_name() -> Option<String> {
    text("TERM")
}

/// Whether cargo draws progress bars on a terminal: `CARGO_TERM_PROGRESS_WHEN`, else whether
/// the terminal can, and nothing says that a CI service runs this.
pub(crate) fn allows_progress_bars() -> bool {
    match text("CARGO_TERM_PROGRESS_WHEN").as_deref() {
        Some("never") => false,
        Some("always") => true,
        _ => {
            let is_dumb = terminal_name().is_some_and(|name| name == "dumb");
            !is_dumb && !["CI", "TF_BUILD"].iter().any(|name| variable(name).is_some())
        }
    }
}

/// Whether `CARGO_TERM_QUIET` quietens cargo, and so us.
pub(crate) fn is_quiet() -> bool {
    text("CARGO_TERM_QUIET").is_some_and(|value| value == "true")
}

/// Whether only a variable names the target directory.
pub(crate) fn names_target_directory() -> bool {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].iter().any(|name| variable(name).is_some())
}

/// Whether this process is part of a run on an agent.
pub(crate) fn is_inside_run() -> bool {
    variable(burst_agent::host::INSIDE).is_some()
}

/// The filter of log messages, in the syntax of `tracing-subscriber`.
pub(crate) fn log_filter() -> Option<OsString> {
    variable("CARGO_BURST_LOG")
}

/// The browser that `BROWSER` names.
pub(crate) fn browser() -> Option<OsString> {
    variable("BROWSER")
}

/// Seconds of silence after which the other end of a connection is considered gone.
/// `CARGO_BURST_GRACE_SECS` shortens them in tests.
pub(crate) fn grace_secs(default: u64) -> u64 {
    text("CARGO_BURST_GRACE_SECS").and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Seconds for which the agent of a server that runs may be silent. `CARGO_BURST_PORT_SECS`
/// shortens them in tests.
pub(crate) fn port_secs(default: u64) -> u64 {
    text("CARGO_BURST_PORT_SECS").and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Seconds by which a server deletes itself later than a keeper would.
/// `CARGO_BURST_DEAD_MAN_SECS` shortens them in tests.
pub(crate) fn dead_man_secs(default: u64) -> u64 {
    text("CARGO_BURST_DEAD_MAN_SECS").and_then(|text| text.parse().ok()).unwrap_or(default)
}
