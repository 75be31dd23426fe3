//! The environment variables that cargo sees on the other end: those that the settings or
//! `--env` name, except the ones that would break the run there.
//!
//! An agent on this machine may have been started by another shell. It is also told the
//! few variables that every agent has of its own (`PATH`, `HOME`, language, proxies),
//! since those of the calling shell are the right ones.

use std::os::unix::ffi::OsStringExt;

use burst_protocol::ByteBuf;

use crate::environment;
use crate::settings;
use crate::terminal::Terminal;

/// The variables that an agent on this machine uses in place of its own.
pub(crate) fn of_this_shell() -> Vec<(ByteBuf, ByteBuf)> {
    let bytes = |text: std::ffi::OsString| ByteBuf::from(text.into_vec());
    burst_agent::host::passed_on().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

/// The variables to send. `--env` wins over the settings, the last over the first. A name
/// that is not set here is skipped.
pub(crate) fn forwarded(
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
        if !settings::is_forwardable(name) {
            terminal.warn(&format!("{name} is not forwarded: the agent needs a value of its own"));
            continue;
        }
        let value = match value {
            Some(value) => value.as_bytes().to_vec(),
            None => match environment::variable(name) {
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
