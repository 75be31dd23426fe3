//! The messages of protocol version 1, in the order of one run.
//!
//! A new variant goes to the end of its enum and a new field makes a new
//! version: bincode tells variants by their position and knows no field names.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::digest::Digest;
use crate::path::{FileName, RelativePath};
use crate::tree::{Change, DirectoryObject, File};

/// What the shim says. The first message on a stream is one of [`Run`],
/// [`Status`], [`End`], [`Release`] and [`Lease`]; all others belong to a run.
///
/// [`Run`]: FromShim::Run
/// [`Status`]: FromShim::Status
/// [`End`]: FromShim::End
/// [`Release`]: FromShim::Release
/// [`Lease`]: FromShim::Lease
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromShim {
    /// Bring the project to a state, then run cargo in it.
    Run(Box<RunRequest>),
    /// Tell how you are.
    Status,
    /// Finish: end all runs, then the process. Volumes go too if asked.
    End {
        /// Also delete every project's disk.
        with_volumes: bool,
    },
    /// The changes that follow on `base`, in pieces; contents may follow.
    Changes(Vec<Change>),
    /// A content, as raw frames behind this message.
    Blob(Blob),
    /// All that was offered or wanted is sent.
    BlobsEnd,
    /// The listings of the directories that were wanted, in that order.
    DirectoryObjects(Vec<DirectoryObject>),
    /// Input for the run.
    Input(ByteBuf),
    /// No more input.
    InputEnd,
    /// Send this signal (Linux's number) to the run's process group.
    Signal(i32),
    /// The terminal has a new size.
    Resize(WindowSize),
    /// End the run and all it started, now.
    Kill,
    /// Send these of the returned files.
    Fetch(Vec<Fetch>),
    /// These of the changed source files are now the shim's too, so they are
    /// part of the project's state; by their place in the `Changed` list.
    Adopted(Vec<u32>),
    /// Nothing more is wanted.
    Done,
    /// Let go of a disk that no run uses, by its name below `/dev/disk/by-id`, so that
    /// it can be detached.
    Release(FileName),
    /// Somebody looks after this server.
    Lease(Lease),
    /// Output messages of this cost have been written. The agent never has more than
    /// [`OUTPUT_WINDOW_BYTES`](crate::limit::OUTPUT_WINDOW_BYTES) on the way.
    OutputCredit(u32),
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent {
    /// Another run holds the project.
    Waiting {
        /// Which, for people.
        holder: String,
    },
    /// What the agent lacks.
    Want(Want),
    /// The tree is in the state that was asked for.
    Synced {
        /// Files written.
        written: u64,
        /// Files and links removed.
        removed: u64,
    },
    /// cargo is about to start.
    Started {
        /// What the user should know about how it runs, such as that it does
        /// not run at the project's own path.
        notice: Option<String>,
    },
    /// Bytes that the run wrote.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        bytes: ByteBuf,
    },
    /// Source files that the run changed or made, in pieces.
    Changed(Vec<Change>),
    /// Files of the target directory that may be fetched, in pieces.
    Artifacts(Vec<Artifact>),
    /// Files that the run made and that are not offered, and why.
    Withheld {
        /// Where.
        path: RelativePath,
        /// Bytes.
        size: u64,
    },
    /// The run is over; all lists before this message are complete.
    Finished(Ending),
    /// A fetched content, as raw frames behind this message.
    Blob(Blob),
    /// All that was fetched is sent.
    BlobsEnd,
    /// It cannot be done. The stream ends.
    Failed(Failure),
    /// How the agent is.
    Status(AgentStatus),
    /// The request is fulfilled; the stream ends.
    Done,
    /// The run has taken input messages of this cost. The shim never has more than
    /// [`INPUT_WINDOW_BYTES`](crate::limit::INPUT_WINDOW_BYTES) on the way.
    InputCredit(u32),
}

/// One cargo invocation, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The workspace root, below `/`: the project's name.
    pub project: RelativePath,
    /// The disk that the project has for itself, by its name below
    /// `/dev/disk/by-id`; none where all projects share the agent's own.
    pub device: Option<FileName>,
    /// cargo's home on the client, below `/`: on a server the project's own is seen
    /// there.
    pub cargo_home: Option<RelativePath>,
    /// What is to be seen at its own absolute path: the workspace, path
    /// dependencies outside of it, single configuration files.
    pub mounts: Vec<RelativePath>,
    /// The target directory as the client names it, below `/`.
    pub target_directory: RelativePath,
    /// Whether cargo must be told of it by `CARGO_TARGET_DIR`.
    pub names_target_directory: bool,
    /// Where cargo starts, below `/`.
    pub working_directory: RelativePath,
    /// The state that the shim believes the agent to hold.
    pub base: Option<Digest>,
    /// The state that the run needs.
    pub root: Digest,
    /// Whether `Changes`, contents and `BlobsEnd` follow at once.
    pub offers_changes: bool,
    /// cargo calls, one after the other while they succeed. None: only sync.
    pub invocations: Vec<Invocation>,
    /// Environment variables that the user named.
    pub environment: Vec<(ByteBuf, ByteBuf)>,
    /// `RUSTUP_TOOLCHAIN`, from `cargo +toolchain`.
    pub toolchain: Option<String>,
    /// Which of the run's streams are terminals.
    pub terminal: Terminal,
    /// Whether input will be sent; without it the run reads nothing.
    pub sends_input: bool,
    /// What to offer beside changed sources.
    pub returns: Returns,
    /// Whether large contents are to be compressed on this link.
    pub compress_large: bool,
    /// How long the agent stays when idle, in seconds; none: as it was told.
    pub keep_alive_secs: Option<u64>,
    /// What the user typed, for those who wait and for `status`.
    pub title: String,
}

/// One cargo call; the first alternative that the agent can run is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// In order of preference.
    pub alternatives: Vec<Call>,
    /// Whether the invocation is left out where no alternative can be run.
    pub optional: bool,
}

/// The arguments of a cargo call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The external subcommand (`nextest` for `cargo-nextest`) it depends on.
    pub needs: Option<String>,
    /// Arguments behind `cargo`.
    pub arguments: Vec<ByteBuf>,
    /// How cargo's JSON messages, which name artifacts, are to be treated.
    pub json: JsonMessages,
}

/// cargo's JSON messages on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JsonMessages {
    /// There are none.
    Absent,
    /// The user asked for them: read and pass on.
    Shown,
    /// The shim asked for them: read and keep.
    Hidden,
}

/// Which streams are terminals on the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
    /// `TERM`.
    pub name: Option<String>,
    /// Its size, if any stream is a terminal.
    pub size: Option<WindowSize>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What of the target directory comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// Final artifacts that cargo named.
    pub artifacts: bool,
    /// `criterion/`.
    pub criterion: bool,
    /// `cargo-timings/`.
    pub timings: bool,
    /// `doc/`.
    pub docs: bool,
}

/// What the agent lacks to reach a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// It holds nothing: send all changes from the empty tree, with contents.
    Everything,
    /// DirectoryObjects of these directories.
    DirectoryObjects(Vec<Digest>),
    /// These contents.
    Blobs(Vec<Digest>),
}

/// A content that follows as raw frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// What it hashes to when complete.
    pub digest: Digest,
    /// Its bytes when complete.
    pub size: u64,
    /// What the raw frames hold.
    pub encoding: Encoding,
}

/// How a content travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As it is; `size` bytes follow.
    Whole,
    /// A zstd frame made with another content as its prefix.
    Patch {
        /// The prefix, which both ends hold.
        base: Digest,
        /// Bytes that follow.
        length: u64,
    },
}

/// A file of the target directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Below the target directory.
    pub path: RelativePath,
    /// Its content.
    pub file: File,
}

/// One wanted file of those that the agent offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The content.
    pub digest: Digest,
    /// A content that the shim has in this file's place.
    pub base: Option<Digest>,
}

/// Which of the run's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// cargo exited with this code.
    Exited(i32),
    /// cargo was ended by this signal (Linux's number).
    Signaled(i32),
}

/// Why the agent gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of trouble, for hints and exit codes.
    pub kind: FailureKind,
    /// The error and its causes, outermost first.
    pub messages: Vec<String>,
}

/// Kinds of trouble that the shim treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The agent's disk is full.
    DiskFull,
    /// The sync would have emptied the tree.
    WouldEmpty,
    /// What was received is not what was announced.
    Corrupt,
    /// cargo could not be started.
    NoCargo,
    /// The agent is ending.
    Ending,
    /// Anything else.
    Other,
}

/// Until when a server is looked after, and what it is to do if that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Seconds from now.
    pub secs: u64,
    /// What then; none: nothing.
    pub will: Option<Will>,
}

/// One HTTPS request, which means nothing to an agent. It may hold a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Will {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Will([private])")
    }
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The agent's program version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been there, in seconds.
    pub up_secs: u64,
    /// When it ends if nothing happens, in seconds from now; none while busy.
    pub ends_in_secs: Option<u64>,
    /// Every project that it has a disk for.
    pub projects: Vec<ProjectStatus>,
}

/// How a project on an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// The workspace root, below `/`.
    pub project: RelativePath,
    /// When it was last used, in seconds before now.
    pub idle_secs: u64,
    /// The titles of its runs.
    pub runs: Vec<String>,
}
