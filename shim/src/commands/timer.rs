//! `cargo burst reap --install-timer`: a systemd timer of the user's, which reaps also
//! when no command comes for days.

use std::path::Path;
use std::process::Command;

use super::context::Context;
use crate::directories::unusable;
use crate::error::Error;

const SERVICE: &str = "cargo-burst-reap.service";
const TIMER: &str = "cargo-burst-reap.timer";

/// Writes both units and switches the timer on.
pub(crate) fn install(context: &Context<'_>) -> Result<(), Error> {
    let directory = context.directories.config_home.join("systemd/user");
    let failed = |source| unusable("write the units in", &directory, &source);
    let program = std::env::current_exe().map_err(failed)?;
    std::fs::create_dir_all(&directory).map_err(failed)?;
    for (name, text) in [(SERVICE, service(&program)), (TIMER, timer())] {
        let temporary = directory.join(format!("{name}.new"));
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, directory.join(name)))
            .map_err(failed)?;
    }
    let calls: [&[&str]; 2] = [&["daemon-reload"], &["enable", "--now", TIMER]];
    let enabled = calls.iter().all(|call| {
        let output = Command::new("systemctl").arg("--user").args(*call).output();
        output.is_ok_and(|output| output.status.success())
    });
    let path = directory.join(TIMER);
    match enabled {
        true => context.print(&format!("switched on `{}`\n", path.display())),
        false => context.print(&format!(
            "wrote `{}`; systemd is not at hand here, so switch it on where it is: \
             systemctl --user enable --now {TIMER}\n",
            path.display()
        )),
    }
}

/// The unit that reaps. A token in the environment of a shell is not seen there.
fn service(program: &Path) -> String {
    // systemd reads `%` and quotes in its own way.
    let program = program.display().to_string().replace('%', "%%").replace('"', "\\\"");
    format!(
        "[Unit]\nDescription=Delete idle cargo-burst servers and volumes\n\n\
         [Service]\nType=oneshot\nExecStart=\"{program}\" reap\n"
    )
}

fn timer() -> String {
    "[Unit]\nDescription=Look for idle cargo-burst servers and volumes\n\n\
     [Timer]\nOnBootSec=2min\nOnUnitActiveSec=10min\n\n\
     [Install]\nWantedBy=timers.target\n"
        .to_owned()
}
