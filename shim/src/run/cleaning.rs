//! `cargo clean` on this machine, after the one on the agent and before the agent admits
//! another command of the project.

use std::ffi::OsString;
use std::path::Path;

use crate::environment;
use crate::error::Error;
use crate::workspace::metadata::run_cargo;

/// Removes here what the same call has removed on the agent. cargo's output is the agent's;
/// only an error of this call is reported.
pub(super) fn clean_here(directory: &Path, arguments: &[OsString]) -> Result<(), Error> {
    let mut command = environment::cargo_command();
    command.args(arguments).current_dir(directory);
    run_cargo(&mut command).map(drop)
}
