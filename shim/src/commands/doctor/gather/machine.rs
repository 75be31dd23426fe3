//! What this machine tells: programs, limits of the kernel, file systems.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::deadline::within;
use crate::agent::keep_alive::KeepAlive;
use crate::agent::local::LocalAgent;
use crate::commands::copies::Copies;
use crate::commands::doctor::machine::{Buffers, Disk, Place, Tool, Toolchain};
use crate::commands::doctor::namespaces::Namespaces;
use crate::commands::doctor::permissions::{Owned, Role};
use crate::directories::Directories;
use crate::environment;
use crate::settings::{Settings, user_file};

/// How long a program may take to tell its version, and a file system to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How deep keys lie below the state directory, at most.
const KEYS_DEPTH: u32 = 5;

/// The versions of the programs.
pub(super) async fn toolchain() -> Toolchain {
    let cargo = |words: &[&str]| {
        let mut command = environment::cargo_command();
        command.args(words);
        command
    };
    let other = |name: &str| {
        let mut command = std::process::Command::new(name);
        command.arg("--version");
        command
    };
    let (cargo, rustc, rustup, nextest) = tokio::join!(
        version(cargo(&["--version"])),
        version(other("rustc")),
        version(other("rustup")),
        version(cargo(&["nextest", "--version"])),
    );
    Toolchain { cargo, rustc, rustup, nextest }
}

/// The first two words that a program prints: its name and its version.
async fn version(command: std::process::Command) -> Tool {
    let mut command = Command::from(command);
    // A toolchain that a file here names is not installed by this.
    command.env("RUSTUP_AUTO_INSTALL", "0").stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(DEADLINE, command.output()).await {
        Err(_) => return Tool::Missing(format!("no answer within {} s", DEADLINE.as_secs())),
        Ok(Err(error)) => return Tool::Missing(error.to_string()),
        Ok(Ok(output)) => output,
    };
    let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().map(str::to_owned);
    if !output.status.success() {
        let said = first(&output.stderr).unwrap_or_else(|| output.status.to_string());
        return Tool::Missing(said);
    }
    let line = first(&output.stdout).unwrap_or_default();
    Tool::Version(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// What allows and forbids namespaces.
pub(super) async fn namespaces() -> Namespaces {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let label = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok());
    Namespaces {
        work: within(DEADLINE, burst_agent::host::keeps_paths).await,
        is_root: rustix::process::geteuid().is_root(),
        apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        apparmor_label: label.map(|label| label.trim_matches(['\n', '\0']).to_owned()),
        unprivileged: number("/proc/sys/kernel/unprivileged_userns_clone"),
        most: number("/proc/sys/user/max_user_namespaces"),
    }
}

/// The buffers of sockets.
pub(super) fn buffers() -> Buffers {
    let limit = |name: &str| {
        fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok()
    };
    Buffers { receive: limit("rmem_max"), send: limit("wmem_max") }
}

/// The space on the disks of state and cache, and what the copies of projects take.
pub(super) async fn disk(settings: Option<&Settings>, directories: &Directories) -> Option<Disk> {
    let limit_gb = settings.map(|settings| settings.local_disk_gb);
    let has_token = settings.is_some_and(|settings| settings.hetzner_token.is_some());
    let directories = directories.clone();
    let look = move || {
        let places = [("cache", &directories.cache), ("state", &directories.state)];
        let places = places.into_iter().filter_map(|(what, path)| {
            // What does not exist yet will be on the disk of the directory above.
            let there = path.ancestors().find(|path| path.exists())?;
            let found = rustix::fs::statvfs(there).ok()?;
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            Some(Place { what, path: path.display().to_string(), free })
        });
        let agent = LocalAgent::new(&directories, KeepAlive::Seconds(0), limit_gb.unwrap_or(0));
        let copies = Copies::of(&agent.copies(), limit_gb.unwrap_or(0));
        Disk {
            places: places.collect(),
            copies: copies.bytes,
            limit_gb,
            is_used: !has_token || copies.projects > 0,
        }
    };
    within(DEADLINE, look).await
}

/// The directories of ours, the user config and the keys, as far as they exist.
pub(super) async fn owned(directories: &Directories) -> Option<Vec<Owned>> {
    let [config, cache, state] = directories.own();
    let file = user_file(&directories.config_home);
    let look = move || {
        let mut found = Vec::new();
        for (path, role) in [
            (&config, Role::Config),
            (&file, Role::Config),
            (&cache, Role::Private),
            (&state, Role::Private),
        ] {
            found.extend(examined(path, role));
        }
        keys(&state, KEYS_DEPTH, &mut found);
        found
    };
    within(DEADLINE, look).await
}

/// The keys below a directory. Links are not followed.
fn keys(directory: &Path, depth: u32, found: &mut Vec<Owned>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => keys(&path, depth - 1, found),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "key") => {
                found.extend(examined(&path, Role::Private));
            }
            _ => {}
        }
    }
}

fn examined(path: &Path, role: Role) -> Option<Owned> {
    let there = path.metadata().ok()?;
    Some(Owned {
        path: path.to_owned(),
        role,
        mode: there.permissions().mode(),
        is_ours: there.uid() == rustix::process::geteuid().as_raw(),
    })
}
