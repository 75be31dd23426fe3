//! `cargo burst config`: the effective settings and their origins.

use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::settings::{DEFAULTS, Settings};
use crate::terminal::Terminal;

/// `cargo burst config`.
pub(crate) fn config(
    terminal: &Terminal,
    directories: &Directories,
    defaults: bool,
) -> Result<(), Error> {
    if defaults {
        return terminal.result(DEFAULTS);
    }
    let workspace = std::env::current_dir()
        .ok()
        .and_then(|directory| crate::workspace::Workspace::find(&directory, &[]).ok());
    let root = workspace.as_ref().map(|workspace| workspace.root.as_path());
    let settings = Settings::load(&directories.config_home, root, environment::text)?;
    let mut text = String::new();
    for effective in &settings.effective {
        let origins: Vec<String> = effective.origins.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "{} = {}  # {}\n",
            effective.key,
            effective.shown,
            origins.join("; ")
        ));
    }
    terminal.result(&text)
}
