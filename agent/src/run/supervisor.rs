//! The supervisor: makes the namespaces of a run, starts the init in them and waits for it.
//!
//! It has one thread, since the kernel lets only such processes enter a user namespace. It
//! never reads its standard input, which is the init's.

use std::process::{ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::CapabilitySet;

use super::containment::Containment;
use super::helper::{Assignment, INIT};

/// Runs the supervisor. Fails if the namespaces cannot be made or the init fails; errors
/// are in the log.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let Some(assignment) = Assignment::parse(arguments) else { return ExitCode::FAILURE };
    let _span = tracing::info_span!("supervisor", run = assignment.run).entered();
    if let Err(error) = enter_namespaces(assignment.containment) {
        tracing::error!("cannot make the namespaces of the run: {error}");
        return ExitCode::FAILURE;
    }
    let mut init = assignment.command(INIT);
    if assignment.run.is_none() {
        init.stdin(Stdio::null());
    }
    match init.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            tracing::warn!("the init of the run failed: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("cannot start the init of the run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn enter_namespaces(containment: Containment) -> std::io::Result<()> {
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    match containment {
        Containment::Plain => Ok(()),
        Containment::Root => Ok(unshare(spaces)?),
        Containment::User => {
            let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
            unshare(spaces | CloneFlags::CLONE_NEWUSER)?;
            write_proc("/proc/self/setgroups", "deny")?;
            write_proc("/proc/self/uid_map", &format!("{user} {user} 1"))?;
            write_proc("/proc/self/gid_map", &format!("{group} {group} 1"))?;
            keep_mounting_right()
        }
    }
}

/// Writes a control file of the kernel.
#[expect(clippy::disallowed_methods, reason = "the kernel takes such a write as a whole")]
fn write_proc(path: &str, content: &str) -> std::io::Result<()> {
    std::fs::write(path, content)
}

/// In the new namespace the user keeps its id and would lose every capability when the init
/// is started. The capability to mount is passed on; the init drops it before it starts
/// cargo.
fn keep_mounting_right() -> std::io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?)
}
