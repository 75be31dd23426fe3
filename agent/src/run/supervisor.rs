//! The supervisor: makes the namespaces, starts the init in them, waits for it.
//!
//! It has one thread, since the kernel lets only such processes enter a user
//! namespace, and never reads its standard input, which is the init's.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::CapabilitySet;

use super::containment::Containment;
use super::spec::INIT;

/// The supervisor's whole life.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let kind = arguments.first().and_then(|name| Containment::from_name(name));
    let Some(kind) = kind else { return ExitCode::FAILURE };
    if let Err(error) = enter(kind) {
        // The agent sees a run without a report; this is for its log.
        tracing::error!("cannot make namespaces: {error}");
        return ExitCode::FAILURE;
    }
    let mut init = Command::new("/proc/self/exe");
    init.arg0("burst-agent").args([INIT, kind.name()]);
    if arguments.iter().any(|argument| argument == "--probe") {
        init.arg("--probe").stdin(Stdio::null());
    }
    match init.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn enter(kind: Containment) -> std::io::Result<()> {
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    match kind {
        Containment::Plain => Ok(()),
        Containment::Root => Ok(unshare(spaces)?),
        Containment::User => {
            let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
            unshare(spaces | CloneFlags::CLONE_NEWUSER)?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
            keep_mounting_right()
        }
    }
}

/// The user stays who they are, and would lose every right of the new namespace
/// with the start of the init. The right to mount is handed down; the init drops
/// it before cargo starts.
fn keep_mounting_right() -> std::io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?)
}
