//! `doc --open`: opens a page of the documentation in a browser of this machine, as cargo does.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// What desktops open files with.
const DESKTOP: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Opens a page, and waits until the browser has ended, whose streams are those of this program.
/// Without a browser the desktop's is taken, which is silent. The error is for the user.
pub(crate) fn open(page: &Path, browser: Option<&[OsString]>) -> Result<(), String> {
    let Some((program, arguments)) = browser.and_then(<[OsString]>::split_first) else {
        let mut command = Command::new(DESKTOP);
        command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        return match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("couldn't open docs: `{DESKTOP}` failed ({status})")),
            Err(error) => Err(format!("couldn't open docs with {DESKTOP}: {error}")),
        };
    };
    // Its exit code means nothing, as to cargo.
    match Command::new(program).args(arguments).arg(page).status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("Couldn't open docs with {}: {error}", program.display())),
    }
}
