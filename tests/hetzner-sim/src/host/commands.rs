//! Programs of the system, called.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Runs a program; its output, or its own words as the error.
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
