//! The checks of this machine: toolchain, clock, socket buffers and disk. Pure.

use std::time::Duration;

use super::account::Account;
use super::check::Check;
use crate::error::ErrorKind;
use crate::terminal::{bytes, span};

/// What a program says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Its name and version.
    Version(String),
    /// Why it says nothing.
    Missing(String),
}

/// The programs of a Rust toolchain.
#[derive(Clone, Debug)]
pub(super) struct Toolchain {
    /// `cargo`
    pub(super) cargo: Tool,
    /// `rustc`
    pub(super) rustc: Tool,
    /// `rustup`
    pub(super) rustup: Tool,
    /// `cargo nextest`
    pub(super) nextest: Tool,
}

/// cargo and rustc work; rustup and nextest are told.
pub(super) fn toolchain(found: &Toolchain) -> Check {
    const NAME: &str = "toolchain";
    let mut parts = Vec::new();
    for (name, tool) in [("cargo", &found.cargo), ("rustc", &found.rustc)] {
        match tool {
            Tool::Version(version) => parts.push(version.clone()),
            Tool::Missing(why) => {
                return Check::error(
                    NAME,
                    ErrorKind::Workspace,
                    format!("`{name}` does not work: {why}"),
                    "install Rust from https://rustup.rs, or set CARGO to the path of cargo",
                );
            }
        }
    }
    parts.push(match &found.rustup {
        Tool::Version(version) => version.clone(),
        Tool::Missing(_) => "no rustup, so that this machine has one toolchain".to_owned(),
    });
    parts.push(match &found.nextest {
        Tool::Version(version) => version.clone(),
        Tool::Missing(_) => "no cargo-nextest, so that `test` runs `cargo test`".to_owned(),
    });
    Check::ok(NAME, parts.join(", "))
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The wall clock, in seconds since 1970.
    pub(super) now: i64,
    /// How far the wall clock has moved against the monotonic one during the checks.
    pub(super) moved: Duration,
}

/// The clock is right, as far as can be told.
pub(super) fn clock(found: Clock, account: &Account) -> Check {
    const NAME: &str = "clock";
    const SET: &str = "set the clock, such as with `sudo timedatectl set-ntp true`";
    /// The beginning of 2026, in seconds since 1970: this program is younger.
    const TOO_EARLY: i64 = 1_767_225_600;
    /// The deviation that users may notice.
    const DEVIATION_SECS: u64 = 60;
    const MOVED_MAX: Duration = Duration::from_secs(1);
    if found.now < TOO_EARLY {
        let finding = "the clock of this machine is before 2026, so that no certificate is valid";
        return Check::error(NAME, ErrorKind::State, finding, SET);
    }
    if found.moved > MOVED_MAX {
        let moved = found.moved.as_secs_f64();
        let finding = format!("the clock was set by {moved:.1} s while this command looked at it");
        return Check::warning(NAME, finding, SET);
    }
    let Ok(examined) = account.examined() else {
        return Check::ok(NAME, "steady; not compared with Hetzner's");
    };
    let offset = examined.clock_offset_secs;
    if offset.unsigned_abs() <= DEVIATION_SECS {
        return Check::ok(NAME, format!("{} s from Hetzner's", offset.unsigned_abs()));
    }
    let direction = if offset > 0 { "behind" } else { "ahead of" };
    let by = span(i64::try_from(offset.unsigned_abs()).unwrap_or(i64::MAX));
    Check::warning(
        NAME,
        format!(
            "the clock of this machine is {by} {direction} Hetzner's, by which servers are billed \
             and deleted; certificates and files go by this one"
        ),
        SET,
    )
}

/// The limits of the kernel for the buffers of a socket, in bytes, where they are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    /// `net.core.rmem_max`
    pub(super) receive: Option<u64>,
    /// `net.core.wmem_max`
    pub(super) send: Option<u64>,
}

/// The buffers of sockets. No size is a warning: with 208 KiB some packets are sent again, and on
/// loopback that has cost no throughput.
pub(super) fn buffers(found: Buffers) -> Check {
    const NAME: &str = "buffers";
    let Buffers { receive: Some(receive), send: Some(send) } = found else {
        return Check::skipped(NAME, "the kernel does not tell net.core.rmem_max and wmem_max");
    };
    let shown =
        format!("a socket may receive into {} and send from {}", bytes(receive), bytes(send));
    Check::ok(NAME, shown)
}

/// A directory of ours and its file system.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What is there.
    pub(super) what: &'static str,
    /// Its path, for display.
    pub(super) path: String,
    /// The bytes that are free for this user.
    pub(super) free: u64,
}

/// The space on disks.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// The directories, where their file systems tell.
    pub(super) places: Vec<Place>,
    /// The bytes that the copies of projects take, as last measured.
    pub(super) copies: Option<u64>,
    /// `local_disk_gb`; `None` if the settings cannot be read.
    pub(super) limit_gb: Option<u64>,
    /// Whether cargo runs on this machine, or has.
    pub(super) is_used: bool,
}

/// There is space where cargo-burst writes; the limit of copies fits.
pub(super) fn disk(found: &Disk) -> Check {
    const NAME: &str = "disk";
    const GB: u64 = 1_000_000_000;
    /// Less space than the state, a log and the results of a small program take.
    const FULL: u64 = GB / 4;
    let free =
        |place: &Place| format!("{} free in {} (`{}`)", bytes(place.free), place.what, place.path);
    if let Some(full) = found.places.iter().find(|place| place.free < FULL) {
        let finding = format!("only {}", free(full));
        return Check::error(NAME, ErrorKind::State, finding, "free disk space there");
    }
    let places = found.places.iter().map(free).collect::<Vec<_>>().join(", ");
    let Some(limit) = found.limit_gb else { return Check::ok(NAME, places) };
    let more = (limit * GB).saturating_sub(found.copies.unwrap_or(0));
    let room = found.places.iter().find(|place| place.what == "cache").map(|place| place.free);
    match room {
        Some(room) if found.is_used && room < more => Check::warning(
            NAME,
            format!(
                "{places}; copies of projects may take {limit} GB here, so that the disk is full \
                 before old ones are deleted"
            ),
            format!(
                "set `local_disk_gb` to {} or less, or free disk space",
                (room + found.copies.unwrap_or(0)) / GB
            ),
        ),
        _ => Check::ok(NAME, format!("{places}; copies of projects may take {limit} GB")),
    }
}

#[cfg(test)]
mod tests;
