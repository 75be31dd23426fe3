//! `cargo clean` on this machine, after the one on the agent.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::environment;
use crate::error::{Error, ErrorKind};

/// Removes here what the same call has removed on the agent. cargo's output is the agent's;
/// only an error of this call is reported, in cargo's words.
pub(super) fn clean_here(directory: &Path, arguments: &[OsString]) -> Result<(), Error> {
    let program = environment::cargo();
    let mut command = Command::new(&program);
    command.args(arguments).arg("--quiet").current_dir(directory).stdin(Stdio::null());
    let output = command.output().map_err(|source| {
        Error::new(
            ErrorKind::Workspace,
            format!("cannot run `{}`", program.display()),
            "install Rust from https://rustup.rs, or set CARGO to the path of cargo",
        )
        .caused_by(&source)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::cargo(words, code.unwrap_or(101).max(1)))
}
