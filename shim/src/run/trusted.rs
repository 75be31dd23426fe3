//! The settings that hold in a workspace, whose project file the user trusts as far as it
//! needs that.

use std::path::Path;

use crate::directories::Directories;
use crate::environment;
use crate::error::Error;
use crate::settings::{Project, ProjectFile, Request, Settings, TrustStore};
use crate::terminal::{Answer, Terminal, can_ask};

/// Loads the settings. A project file that needs trust and has none is asked about on a
/// terminal; without one, and where the answer is no, this fails.
pub(super) fn load_settings(
    directories: &Directories,
    root: &Path,
    terminal: &Terminal,
) -> Result<Settings, Error> {
    let trust = TrustStore::of(directories);
    let project = Some(Project { root, trust: &trust });
    let load = || Settings::load(&directories.config_home, project, environment::all());
    let settings = load()?;
    let Some(file) = settings.untrusted() else { return Ok(settings) };
    if !can_ask() || !terminal.ask(&question(file, settings.requests()), Answer::No) {
        settings.check_trust()?;
        return Ok(settings);
    }
    trust.record(&file.content)?;
    // The file may have changed since it was shown.
    let settings = load()?;
    settings.check_trust()?;
    Ok(settings)
}

fn question(file: &ProjectFile, requests: &[Request]) -> String {
    format!("{}Trust this content of it?", file.asks_for(requests))
}
