//! Which environment variables cargo sees on the other end: none but those that
//! are named, in settings or by `--env`, and of those none that would break it.
//!
//! An agent on this machine may have been started by another shell: to it go also
//! the few that any agent has of its own (`PATH`, `HOME`, language, proxies), since
//! those of the calling shell are the right ones.

use std::os::unix::ffi::OsStringExt;

use burst_protocol::ByteBuf;

use crate::settings::Settings;
use crate::terminal::Terminal;

/// What an agent on this machine is to use in place of its own.
pub fn of_this_shell() -> Vec<(ByteBuf, ByteBuf)> {
    let bytes = |text: std::ffi::OsString| ByteBuf::from(text.into_vec());
    burst_agent::host::passed_on().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

/// The variables to send. `--env` wins over the settings, the last over the
/// first; a name that is not set here is skipped.
pub fn forwarded(
    terminal: &Terminal,
    standing: &[String],
    flags: &[String],
) -> Vec<(ByteBuf, ByteBuf)> {
    let standing = standing.iter().map(|name| (name.as_str(), None));
    let flags = flags.iter().map(|flag| match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag.as_str(), None),
    });
    let mut sent: Vec<(ByteBuf, ByteBuf)> = Vec::new();
    for (name, value) in standing.chain(flags) {
        if !Settings::forwardable([name]).1.is_empty() {
            terminal.warn(&format!("{name} is not forwarded: the other end has its own"));
            continue;
        }
        let value = match value {
            Some(value) => value.as_bytes().to_vec(),
            None => match std::env::var_os(name) {
                Some(value) => value.into_vec(),
                None => continue,
            },
        };
        let name = ByteBuf::from(name.as_bytes());
        sent.retain(|(other, _)| *other != name);
        sent.push((name, ByteBuf::from(value)));
    }
    sent
}
