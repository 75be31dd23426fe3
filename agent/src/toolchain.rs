//! Whether the toolchain of a run is there, or rustup may install it. Otherwise the run fails
//! before it starts, with the toolchains that are there.
//!
//! rustup itself installs, when its `cargo` is called. Where another `cargo` is called, which
//! knows no toolchains, everything is let through.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, ResolveFlags, access};

use crate::error::AgentError;
use crate::run::spec::{self, RunSpec};

/// The most that is read of a toolchain file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What becomes of a run.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Its toolchain is there, or rustup reports what is wrong with its name.
    Usable,
    /// rustup installs it.
    Installable,
    /// It cannot be used, for this reason.
    Missing(String),
}

/// Fails if the run's toolchain is neither there nor may be installed.
pub(crate) fn check(spec: &RunSpec) -> Result<(), AgentError> {
    if !calls_rustup(spec) {
        return Ok(());
    }
    let Some(wanted) = spec
        .variable("RUSTUP_TOOLCHAIN")
        .map(|name| name.display().to_string())
        .or_else(|| of_file(spec))
    else {
        return Ok(());
    };
    let Some(toolchains) = rustup_home(spec).map(|home| spec.on_disk(&home.join("toolchains")))
    else {
        return Ok(());
    };
    match judge(&wanted, &names_in(&toolchains), refusal(spec, &toolchains)) {
        Judgement::Usable | Judgement::Installable => Ok(()),
        Judgement::Missing(reason) => {
            Err(AgentError::NoToolchain { wanted, source: io::Error::other(reason) })
        }
    }
}

/// `refusal` is why nothing may be installed.
fn judge(wanted: &str, there: &[String], refusal: Option<String>) -> Judgement {
    let is_meant = |name: &String| {
        let rest = name.strip_prefix(wanted);
        // A name without the target means the one for this machine.
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.starts_with(std::env::consts::ARCH))
        })
    };
    if wanted.contains('/') || there.iter().any(is_meant) {
        return Judgement::Usable;
    }
    let reason = match refusal {
        None if is_official(wanted) => return Judgement::Installable,
        None => "it is none that rustup can install".to_owned(),
        Some(refusal) => refusal,
    };
    let list = match there {
        [] => "no toolchain is installed there".to_owned(),
        there => format!("installed there: {}", there.join(", ")),
    };
    Judgement::Missing(format!("{reason}; {list}"))
}

/// Whether a name is one of the releases of Rust, which rustup can install.
fn is_official(name: &str) -> bool {
    let channel = name.split('-').next().unwrap_or_default();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    ["stable", "beta", "nightly"].contains(&channel)
        || channel.contains('.') && channel.split('.').all(is_number)
}

/// Whether the `cargo` that a run finds is rustup's.
fn calls_rustup(spec: &RunSpec) -> bool {
    let path = spec.variable("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).map(|directory| spec.on_disk(&directory));
    let found = directories.find(|directory| directory.join("cargo").is_file());
    found.is_some_and(|directory| directory.join("rustup").is_file())
}

fn rustup_home(spec: &RunSpec) -> Option<PathBuf> {
    let below_home = || Some(PathBuf::from(spec.variable("HOME")?).join(".rustup"));
    spec.variable("RUSTUP_HOME").map(PathBuf::from).or_else(below_home)
}

fn names_in(toolchains: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(toolchains).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Why rustup may not install a toolchain for a run.
fn refusal(spec: &RunSpec, toolchains: &Path) -> Option<String> {
    if spec.variable("RUSTUP_AUTO_INSTALL").is_some_and(|value| value == "0") {
        return Some("RUSTUP_AUTO_INSTALL=0 forbids to install it".to_owned());
    }
    let may_write = match spec.user {
        None => access(toolchains, Access::WRITE_OK).is_ok(),
        Some((user, group)) => toolchains.metadata().is_ok_and(|found| {
            let bit = match () {
                () if found.uid() == user => 0o200,
                () if found.gid() == group => 0o020,
                () => 0o002,
            };
            found.mode() & bit != 0
        }),
    };
    (!may_write).then(|| format!("builds may not write to `{}`", toolchains.display()))
}

/// The toolchain that the nearest toolchain file names.
fn of_file(spec: &RunSpec) -> Option<String> {
    let directory = spec::path(&spec.working_directory);
    let files = directory
        .ancestors()
        .flat_map(|above| ["rust-toolchain", "rust-toolchain.toml"].map(|name| above.join(name)));
    let text = files.filter_map(|file| read(spec, &file)).next()?;
    channel(&text)
}

/// Reads a file that was sent. No link in it is followed, and nothing but a file is read.
fn read(spec: &RunSpec, seen: &Path) -> Option<String> {
    let (root, place) = spec.mounted(seen)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let root = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let file = rustix::fs::openat2(&root, &place, flags, Mode::empty(), resolve).ok()?;
    let file = File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The channel of a toolchain file. In one without TOML it is the only line. rustup reports
/// what is wrong in the file.
fn channel(text: &str) -> Option<String> {
    let line = text.trim();
    if !line.contains(['=', '[', '\n']) {
        return (!line.is_empty()).then(|| line.to_owned());
    }
    let behind_key = |line: &str| {
        let (before, rest) = line.split_once("channel")?;
        let is_key = before.trim_end().is_empty() || before.trim_end().ends_with(['.', '{', ',']);
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote) && is_key)?;
        value[1..].split(quote).next().map(str::to_owned)
    };
    text.lines().find_map(behind_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_used_installed_or_missing() {
        let arch = std::env::consts::ARCH;
        let there = [
            format!("1.95.0-{arch}-unknown-linux-gnu"),
            "mine".to_owned(),
            format!("nightly-2026-01-01-{arch}-unknown-linux-gnu"),
        ];
        let installed = there.join(", ");
        let none = || None;
        let forbidden = || Some("forbidden".to_owned());
        let missing =
            |reason: &str| Judgement::Missing(format!("{reason}; installed there: {installed}"));
        for (wanted, refusal, expected) in [
            ("1.95.0", none(), Judgement::Usable),
            (there[0].as_str(), forbidden(), Judgement::Usable),
            ("mine", forbidden(), Judgement::Usable),
            ("nightly-2026-01-01", forbidden(), Judgement::Usable),
            ("/opt/rust", forbidden(), Judgement::Usable),
            ("nightly", none(), Judgement::Installable),
            ("1.90", none(), Judgement::Installable),
            ("beta-2026-02-03", none(), Judgement::Installable),
            ("nightly", forbidden(), missing("forbidden")),
            ("min", none(), missing("it is none that rustup can install")),
            ("1.95.0-other", forbidden(), missing("forbidden")),
        ] {
            assert_eq!(judge(wanted, &there, refusal), expected, "{wanted}");
        }
        let nothing = Judgement::Missing("forbidden; no toolchain is installed there".to_owned());
        assert_eq!(judge("stable", &[], forbidden()), nothing);
    }

    #[test]
    fn toolchain_files_name_a_channel() {
        for (text, expected) in [
            ("nightly-2026-01-01\n", Some("nightly-2026-01-01")),
            ("[toolchain]\nchannel = \"1.95.0\"\ncomponents = ['rustfmt']\n", Some("1.95.0")),
            ("toolchain.channel='beta'", Some("beta")),
            ("toolchain = { profile = 'minimal', channel = 'stable' }", Some("stable")),
            ("[toolchain]\npath = '/opt/rust'\n", None),
            ("[toolchain]\n# channel = 'x'\nmychannel = 'x'\nchannel = x\n", None),
            ("", None),
        ] {
            assert_eq!(channel(text).as_deref(), expected, "{text}");
        }
    }
}
