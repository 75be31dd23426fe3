//! Calls of system programs.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Runs a program and returns its output. The error contains its standard error.
pub(super) fn succeed<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program}: {words}")))
}
