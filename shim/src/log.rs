//! The log of a command, for developers. It is written only where `CARGO_BURST_LOG` asks
//! for it, into a file and not among cargo's output.
//!
//! Levels: `info` for the steps of a command, `debug` for decisions. No line holds a
//! secret, a content of a file or a byte of the program's input and output.

use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::background::log_file;
use crate::directories::{Directories, create_private, unusable};
use crate::environment;
use crate::error::{Error, ErrorKind};

/// The name of the log below the state directory.
const FILE: &str = "shim.log";

/// Starts the log of this command, if it is asked for. Fails if the filter is not valid or
/// the file cannot be written.
pub(crate) fn start(directories: &Directories) -> Result<(), Error> {
    let Some(filter) = environment::log_filter() else { return Ok(()) };
    let filter = EnvFilter::try_new(filter.to_string_lossy()).map_err(|error| {
        Error::new(
            ErrorKind::Settings,
            "CARGO_BURST_LOG is not a valid log filter",
            "use a level such as `debug`, or `cargo_burst=debug,burst_sync=info`",
        )
        .caused_by(&error)
    })?;
    let path = directories.state.join(FILE);
    create_private(&directories.state)?;
    let file = log_file(&path).map_err(|source| unusable("open", &path, &source))?;
    let started = tracing_subscriber::fmt()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_env_filter(filter)
        .try_init();
    // A second start in one process would be a test; the first log stays.
    drop(started);
    Ok(())
}
