//! Runs that were started with `--detach`: their processes, their records, and `attach`.
//!
//! A detached run is an ordinary command, the child of a **holder**: a background process that
//! leads a session of its own, owns the terminal or the pipes of the command, and records its
//! output and its end. `attach` shows the record and, while the command runs, is its keyboard.
//!
//! ```text
//! cargo burst --detach VERB      checks the command, starts the holder, returns
//! holder                         poll loop: output -> transcript, keys <- socket
//!   cargo burst --detach VERB    the command itself, called by the name that says so
//! cargo burst attach             reads the transcript; the socket tells when there is more
//! ```
//!
//! Invariants:
//!
//! - The transcript is the only way of the output: what is shown at first and what comes
//!   later is read from the same file, so nothing is missing or twice between them, and a
//!   reader that is slow or stopped does not stop the command.
//! - Whether a run is alive is told by the lock of its holder alone. When the holder ends,
//!   however it does, so does the command.
//! - Records are below the state directory, for the user alone.
//!
//! What a run means to the agent is no matter of this room: the command reconnects and fetches
//! results as any other.

mod attach;
mod choice;
mod command;
pub(crate) mod holder;
mod message;
mod prune;
pub(crate) mod record;
mod record_file;
pub(crate) mod runs;
mod start;
pub(crate) mod title;
mod transcript;

pub(crate) use self::attach::attach;
pub(crate) use self::start::start;

/// The name under which this program holds a detached run.
pub(crate) const HOLDER: &str = "cargo-burst-holder";

/// The name under which this program is the command of a detached run: its first argument is the
/// directory of its record, and `--detach` has no further meaning to it.
pub(crate) const HELD: &str = "cargo-burst-detached";
