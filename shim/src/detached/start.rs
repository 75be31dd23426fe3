//! `--detach`: starts a command in the background and returns once it is started.

use std::ffi::OsString;
use std::path::Path;

use burst_sync::clock::Moment;

use super::HOLDER;
use super::holder::READY;
use super::prune::prune;
use super::record::{RunDirectory, Started};
use super::runs::Runs;
use super::title::shortened;
use crate::background::{self, log_file};
use crate::directories::{Directories, unusable};
use crate::error::{Error, ErrorKind};
use crate::terminal::streams::{is_one_output, start_terminal};

/// Starts the command of these words, which call this program, and returns the number of the
/// run. It has a terminal if standard output is one here, else an empty input and pipes, one
/// alone if both outputs are one file here. Blocks for up to 20 seconds, and before that for up to
/// 30 until no other command creates or deletes runs.
pub(crate) fn start(
    directories: &Directories,
    workspace: &Path,
    title: String,
    words: &[OsString],
) -> Result<u32, Error> {
    let runs = Runs::below(&directories.state);
    let _lock = runs.lock()?;
    let now = Moment::now().seconds;
    prune(&runs, &runs.list()?, now, None);
    let (number, directory) = runs.create()?;
    let started = Started {
        title: shortened(title),
        workspace: workspace.to_owned(),
        at: now,
        terminal: start_terminal(),
        one_output: is_one_output(),
    };
    start_holder(&directory, &started, words)?;
    Ok(number)
}

fn start_holder(
    directory: &RunDirectory,
    started: &Started,
    words: &[OsString],
) -> Result<(), Error> {
    let failed = |cause: String| {
        // What it has left counts as no run.
        drop(std::fs::remove_dir_all(directory.path()));
        Error::new(
            ErrorKind::State,
            "the run cannot be started in the background",
            "run it without `--detach`, or check the disk of the state directory, the load of this \
             machine and the limits of processes (`ulimit -u`)",
        )
        .cause(cause)
    };
    let log = directory.log();
    let stderr = log_file(&log).map_err(|source| unusable("open", &log, &source))?;
    let started = serde_json::to_string(started).map_err(|error| failed(error.to_string()))?;
    let mut command = background::same_environment(HOLDER);
    command.arg(directory.path()).arg(started).args(words);
    let holder = background::start_here(&mut command, stderr);
    let mut holder = holder.map_err(|error| failed(error.to_string()))?;
    let report = holder.report.take();
    let report = report.as_deref().map(str::trim);
    if report == Some(READY) {
        return Ok(());
    }
    // Before its record is deleted: a command that it starts later would have none.
    holder.kill().map_err(|error| failed(error.to_string()))?;
    Err(failed(match report {
        None => "its holder was not ready within 20 seconds and was killed".to_owned(),
        Some("") => {
            let message = directory.last_message().unwrap_or_default();
            format!("its holder was killed, or failed: {message}")
        }
        Some(message) => message.to_owned(),
    }))
}
