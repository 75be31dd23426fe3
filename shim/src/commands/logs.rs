//! `cargo burst logs`: the logs of the agent on this machine, the keeper and commands.
//!
//! Lines are printed as they are. Where several logs are shown, each line begins with the
//! name of its log. With `--json` each line is one JSON object:
//!
//! ```json
//! {"log": "agent", "path": "/home/me/.local/state/cargo-burst/local/agent.log", "line": "…"}
//! ```
//!
//! `--follow` prints lines when they are written, until it is interrupted. A log that is
//! replaced by a new one is read from its beginning.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::directories::{Directories, unusable};
use crate::error::{Error, ErrorKind};
use crate::terminal::Terminal;

/// What `logs` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogsArguments {
    /// `--follow`
    pub(crate) follow: bool,
    /// The logs to show; empty for all.
    pub(crate) chosen: Vec<Log>,
    /// The number of last lines of each log.
    pub(crate) lines: usize,
    /// `--json`
    pub(crate) json: bool,
}

/// A log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Of the agent on this machine.
    Agent,
    /// Of the keeper.
    Keeper,
    /// Of commands.
    Shim,
}

impl Log {
    const ALL: [Self; 3] = [Self::Agent, Self::Keeper, Self::Shim];

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Keeper => "keeper",
            Self::Shim => "shim",
        }
    }

    fn path(self, directories: &Directories) -> PathBuf {
        directories.state.join(match self {
            Self::Agent => "local/agent.log",
            Self::Keeper => "keeper/keeper.log",
            Self::Shim => "shim.log",
        })
    }
}

/// `cargo burst logs`.
pub(crate) fn logs(
    terminal: &Terminal,
    directories: &Directories,
    arguments: &LogsArguments,
) -> Result<(), Error> {
    let chosen = match arguments.chosen.as_slice() {
        [] => Log::ALL.to_vec(),
        chosen => chosen.to_vec(),
    };
    let named = chosen.len() > 1;
    let mut readers: Vec<Reader> =
        chosen.iter().map(|log| Reader::new(log.name(), log.path(directories))).collect();
    // Watching begins before the first read, so that no line falls in between.
    let watch = if arguments.follow { Some(watch(&readers)?) } else { None };
    for reader in &mut readers {
        let lines = reader.new_lines()?;
        let last = &lines[lines.len().saturating_sub(arguments.lines)..];
        print(terminal, reader, last, named, arguments.json)?;
    }
    let Some(watch) = watch else {
        if readers.iter().all(|reader| reader.file.is_none()) {
            terminal.say(
                "no such log yet: agent and keeper write theirs when they start, a command where \
                 CARGO_BURST_LOG is set",
            );
        }
        return Ok(());
    };
    let mut events = [0; 4096];
    loop {
        wait(&watch, &mut events)?;
        for reader in &mut readers {
            let lines = reader.new_lines()?;
            print(terminal, reader, &lines, named, arguments.json)?;
        }
    }
}

/// Reads a log on from where it was read last.
#[derive(Debug)]
struct Reader {
    name: &'static str,
    path: PathBuf,
    file: Option<(File, u64)>,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Reader {
    const fn new(name: &'static str, path: PathBuf) -> Self {
        Self { name, path, file: None, partial: Vec::new() }
    }

    /// The lines that are complete and were not read before.
    fn new_lines(&mut self) -> Result<Vec<String>, Error> {
        let failed = |source| unusable("read", &self.path, &source);
        let now = match std::fs::metadata(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        if self.file.as_ref().is_none_or(|(_, inode)| *inode != now.ino()) {
            self.file = Some((File::open(&self.path).map_err(failed)?, now.ino()));
            self.partial.clear();
        }
        let Some((file, _)) = &mut self.file else { return Ok(Vec::new()) };
        if file.stream_position().map_err(failed)? > now.len() {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        file.read_to_end(&mut self.partial).map_err(failed)?;
        let end = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let complete: Vec<u8> = self.partial.drain(..end).collect();
        Ok(String::from_utf8_lossy(&complete).lines().map(str::to_owned).collect())
    }
}

fn print(
    terminal: &Terminal,
    reader: &Reader,
    lines: &[String],
    named: bool,
    json: bool,
) -> Result<(), Error> {
    let mut text = String::new();
    for line in lines {
        let line = match (json, named) {
            (true, _) => {
                let path = reader.path.to_string_lossy();
                serde_json::json!({ "log": reader.name, "path": path, "line": line }).to_string()
            }
            (false, true) => format!("{}: {line}", reader.name),
            (false, false) => line.clone(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if text.is_empty() { Ok(()) } else { terminal.result(&text) }
}

/// Watches the directories of the logs, which are created if they do not exist.
fn watch(readers: &[Reader]) -> Result<OwnedFd, Error> {
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    let watch = inotify::init(CreateFlags::CLOEXEC).map_err(unwatchable)?;
    for directory in readers.iter().filter_map(|reader| reader.path.parent()) {
        std::fs::create_dir_all(directory)
            .map_err(|source| unusable("create", directory, &source))?;
        inotify::add_watch(&watch, directory, flags).map_err(unwatchable)?;
    }
    Ok(watch)
}

/// The error of an inotify call.
fn unwatchable(errno: Errno) -> Error {
    Error::new(
        ErrorKind::State,
        "cannot watch the logs for changes",
        "raise `fs.inotify.max_user_watches` or `fs.inotify.max_user_instances` (sysctl), or \
         leave out `--follow`",
    )
    .caused_by(&std::io::Error::from(errno))
}

/// Waits for an event. Which one it is does not matter: all logs are read then.
fn wait(watch: &OwnedFd, events: &mut [u8]) -> Result<(), Error> {
    loop {
        match rustix::io::read(watch, &mut *events) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(unwatchable(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_read_once_and_when_they_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut reader = Reader::new("agent", path.clone());
        assert_eq!(reader.new_lines().unwrap(), Vec::<String>::new());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(reader.new_lines().unwrap(), ["one", "two"]);
        file.write_all(b"ee\n").unwrap();
        assert_eq!(reader.new_lines().unwrap(), ["three"]);
        // A log that is replaced is read from its beginning.
        std::fs::remove_file(&path).unwrap();
        File::create(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(reader.new_lines().unwrap(), ["new"]);
    }
}
