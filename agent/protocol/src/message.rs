//! The messages of protocol version 1. The [crate documentation](crate) describes their
//! sequence and the rules for changes.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::budget::capped_list;
use crate::codec::{self, CodecError};
use crate::digest::Digest;
use crate::limit::{
    CHANGES_PER_MESSAGE_MAX, DIGESTS_PER_MESSAGE_MAX, IGNORED_SIGNALS_MAX, NAMED_PATHS_MAX,
    UNREADABLE_NAMED_MAX,
};
use crate::path::{FileName, RelativePath};
use crate::tree::{Change, DirectoryObject, File, LinkTarget};

/// A message from the shim. The first message of a stream is one of [`Run`], [`Status`],
/// [`End`], [`Release`], [`Lease`] and [`Connect`]; all others belong to a run or, of those,
/// `Input` and `InputEnd` to a connection.
///
/// [`Run`]: FromShim::Run
/// [`Status`]: FromShim::Status
/// [`End`]: FromShim::End
/// [`Release`]: FromShim::Release
/// [`Lease`]: FromShim::Lease
/// [`Connect`]: FromShim::Connect
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromShim {
    /// Syncs the project to a state, then runs cargo in it.
    Run(Box<RunRequest>),
    /// Requests the agent's [`AgentStatus`].
    Status,
    /// Ends all runs, then the agent's process. The agent of a server stays, and unmounts all
    /// volumes.
    End {
        /// Whether to delete the data of every project first.
        with_volumes: bool,
    },
    /// A part of the changes from `base` to `root`, in order.
    Changes(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<Change>,
    ),
    /// Announces a blob, whose bytes follow as raw frames.
    Blob(Blob),
    /// All blobs that the shim offered, or that the agent wanted, are sent.
    BlobsEnd,
    /// The directory objects that the agent wanted, in the order of its request. They may
    /// be split into several messages.
    DirectoryObjects(Vec<DirectoryObject>),
    /// Bytes for the standard input of the run. Where that is a terminal whose work the client
    /// does, a message of the control character that ends its input, alone, is an end of input that
    /// was typed: it ends one read.
    Input(ByteBuf),
    /// The end of standard input.
    InputEnd,
    /// Sends a signal, by its Linux number, to the process group of the run.
    Signal(i32),
    /// The client's terminal has a new size.
    Resize(WindowSize),
    /// Kills every process of the run.
    Kill,
    /// Requests blobs of files that the agent offered.
    Fetch(#[serde(deserialize_with = "capped_list::<_, _, DIGESTS_PER_MESSAGE_MAX>")] Vec<Fetch>),
    /// The shim now holds these changes, so they belong to the agreed state of the project.
    /// Each number is an index into the list of all `Changed` messages of the run.
    Adopted(Vec<u32>),
    /// The shim has no further requests on this stream.
    Done,
    /// Unmounts a project's disk, so that it can be detached from the server. The name is
    /// the one below `/dev/disk/by-id`.
    Release(FileName),
    /// Sets the lease of the agent's server.
    Lease(Lease),
    /// Credit for output messages of this cost, which the shim has written. The agent
    /// never has more than [`OUTPUT_WINDOW_BYTES`](crate::limit::OUTPUT_WINDOW_BYTES) in
    /// flight.
    OutputCredit(u32),
    /// The shim does not want these changes, by their indices as in `Adopted`. The agent
    /// does not offer these versions again, and restores what the shim has at their paths.
    /// It offers what was neither adopted nor declined after the next run again.
    Declined(Vec<u32>),
    /// Connects the stream to a TCP port on the agent's machine. `Input` carries bytes to the port
    /// and `Output` from it, each with credit for 128 KiB; `InputEnd` and `OutputEnd` close one
    /// direction, and the agent says `Done` after both.
    Connect(NonZeroU16),
    /// Bytes for the controlling terminal of the run where that is not its standard input. They
    /// need no credit: of what the run does not read, the agent keeps a little and drops the rest,
    /// as a terminal does.
    Keys(ByteBuf),
    /// Sends a signal, by its Linux number, to cargo's process alone, or to the program that cargo
    /// has become.
    SignalProcess(i32),
}

/// A message from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent {
    /// Another run uses the project; this one waits for it.
    Waiting {
        /// The title of that run.
        holder: String,
    },
    /// Requests the parts of the state that the agent lacks.
    Want(Want),
    /// The tree is in the requested state.
    Synced {
        /// Files, links and empty directories that were written.
        written: u64,
        /// Files, links and subtrees that were removed.
        removed: u64,
    },
    /// cargo is about to start.
    Started {
        /// A notice for the user, for example that cargo does not run at the project's
        /// own path.
        notice: Option<String>,
        /// The time now: what the run writes is not older.
        clock: Timestamp,
    },
    /// Output of the run.
    Output {
        /// The stream that the run wrote to.
        stream: Stream,
        /// The bytes, at most [`OUTPUT_BYTES_MAX`](crate::limit::OUTPUT_BYTES_MAX).
        bytes: ByteBuf,
    },
    /// A part of the list of source files that the run changed, created or removed.
    Changed(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<Change>,
    ),
    /// A part of the list of files in the target directory that the shim may fetch.
    Artifacts(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<Artifact>,
    ),
    /// A source file that the run changed or created and that is too large to be offered.
    Withheld {
        /// The path below `/`.
        path: RelativePath,
        /// The size of the file in bytes.
        size: u64,
    },
    /// The run has ended; `Changed`, `Artifacts` and `Withheld` are complete.
    Finished(Ending),
    /// Announces a blob that the shim fetched; its bytes follow as raw frames.
    Blob(Blob),
    /// All blobs of one `Fetch` are sent.
    BlobsEnd,
    /// The request failed. The agent sends nothing after this message.
    Failed(Failure),
    /// The reply to a status request.
    Status(AgentStatus),
    /// The request is complete. The agent sends nothing after this message.
    Done,
    /// Credit for input messages of this cost, which the run has read. The shim never has
    /// more than [`INPUT_WINDOW_BYTES`](crate::limit::INPUT_WINDOW_BYTES) in flight.
    InputCredit(u32),
    /// In place of a blob that the shim fetched, or of the rest of it: another run has changed
    /// the file since it was offered. The file is offered again after the next run.
    Unavailable(Digest),
    /// The agent works on the request, or the request waits for another run. Sent every few
    /// seconds, but not after `Changed`, `Artifacts`, `Withheld`, `Finished` or another
    /// answer: a shim that hears nothing for longer gives the agent up.
    Working,
    /// Entries of the tree that runs have left and that the agent cannot read, so that it does
    /// not offer them. Each is named once; the message comes with `Changed`.
    Unreadable {
        /// The errors, which name the paths.
        #[serde(deserialize_with = "capped_list::<_, _, UNREADABLE_NAMED_MAX>")]
        errors: Vec<String>,
        /// The number of further ones.
        others: u64,
    },
    /// The output is complete. The shim returns all credit once it has passed it on: it is
    /// offered results then, for which other runs wait.
    OutputEnd,
    /// A program of the run listens on a TCP port of the agent's machine. Only if the request
    /// asks for it, at most 16 times, and not for ports that the kernel chooses.
    Listening {
        /// The port.
        port: u16,
    },
    /// Files of the whole target directory that are new or different.
    TargetFiles(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<TargetFile>,
    ),
    /// Files of the whole target directory that are gone.
    TargetGone(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")]
        Vec<RelativePath>,
    ),
    /// The whole target directory is listed.
    TargetListed(TargetListed),
    /// A part of the list of files in the project that the shim has named. Their paths are below
    /// the project.
    NamedFiles(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<Artifact>,
    ),
    /// Paths that the shim has named and that do not exist.
    Missing(#[serde(deserialize_with = "capped_list::<_, _, NAMED_PATHS_MAX>")] Vec<RelativePath>),
    /// Tests have left so much in `tmp/` of the target directory that it is not offered. Comes
    /// with `Artifacts`.
    LargeTestFiles {
        /// The size of all files in bytes.
        bytes: u64,
    },
    /// A part of the list of symbolic links at and below what the shim has named, and in the whole
    /// target directory if that is requested. Comes with `NamedFiles`.
    NamedLinks(
        #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")] Vec<NamedLink>,
    ),
    /// A program has changed the modes of the controlling terminal, whose lines the client edits.
    /// Comes before the output that was written after the change, to whatever stream.
    TerminalModes(TerminalModes),
    /// Whether a program of the run has opened the controlling terminal to read from it, where that
    /// is not the standard input of the run. At first none has.
    TerminalRead(bool),
    /// A signal has stopped cargo's process, or the program that cargo has become. Comes after the
    /// output that was written before. `Signal` with SIGCONT continues the run.
    Stopped,
    /// The processor time that a call of cargo and its programs have used. Comes once for each call
    /// that was not killed, before `Changed`.
    Used {
        /// By user and kernel, on all cores together.
        cpu_millis: u64,
    },
}

/// A symbolic link in the target directory or in the project. Neither end follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLink {
    /// The path below `/`.
    pub path: RelativePath,
    /// Where it leads.
    pub target: LinkTarget,
}

/// A sync, with the cargo invocations that follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The path of the workspace root below `/`. It identifies the project.
    pub project: RelativePath,
    /// The name of the project's disk below `/dev/disk/by-id`; `None` where all projects
    /// share the agent's disk.
    pub device: Option<FileName>,
    /// The path of CARGO_HOME on the client, below `/`. A server mounts the project's own
    /// CARGO_HOME there.
    pub cargo_home: Option<RelativePath>,
    /// The paths below `/` that cargo must find at the same absolute paths as on the
    /// client: the workspace, path dependencies outside it, configuration files.
    pub mounts: Vec<RelativePath>,
    /// The path of the target directory on the client, below `/`.
    pub target_directory: RelativePath,
    /// Whether cargo needs `CARGO_TARGET_DIR` to use that directory.
    pub names_target_directory: bool,
    /// The path below `/` of the build directory on the client, if that is neither the target
    /// directory nor below it.
    pub build_directory: Option<RelativePath>,
    /// The working directory of cargo, below `/`; `/` itself if there is none. It need not be part
    /// of what is sent.
    pub working_directory: Option<RelativePath>,
    /// The state that the agent held after the last run, as far as the shim knows.
    pub base: Option<Digest>,
    /// The state that the run needs.
    pub root: Digest,
    /// Whether `Changes`, blobs and `BlobsEnd` follow this message.
    pub offers_changes: bool,
    /// The cargo invocations, run in order until one fails. If empty, the request is only
    /// a sync.
    pub invocations: Vec<Invocation>,
    /// Environment variables for cargo, as names and values.
    pub environment: Vec<(ByteBuf, ByteBuf)>,
    /// The value of `RUSTUP_TOOLCHAIN`, as set by `cargo +TOOLCHAIN`.
    pub toolchain: Option<String>,
    /// The client's terminal.
    pub terminal: Terminal,
    /// Whether the shim sends input; otherwise standard input is empty.
    pub sends_input: bool,
    /// The files to offer in addition to changed sources.
    pub returns: Returns,
    /// Whether the agent compresses large blobs and sends them as patches: worth it on a
    /// network, not on one machine.
    pub compress_large: bool,
    /// How long the agent stays when idle, in seconds; `None` keeps the last value.
    pub keep_alive_secs: Option<u64>,
    /// The command as the user typed it, shown to users of waiting runs and by `status`.
    pub title: String,
    /// Whether the target and build directories are to be empty: the client's target
    /// directory was removed since its last run.
    pub fresh_target: bool,
    /// Changes of earlier runs that have taken effect at the client without its having said
    /// so; it may have undone them since.
    #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")]
    pub taken: Vec<Change>,
    /// Paths that are free at the client, and at which it has declined versions of runs: these
    /// are to go.
    #[serde(deserialize_with = "capped_list::<_, _, CHANGES_PER_MESSAGE_MAX>")]
    pub freed: Vec<RelativePath>,
    /// A number that tells the workspace from another one at its path, if it is known.
    pub workspace: Option<u64>,
    /// The permission bits that files and directories which the run creates do not get.
    pub umask: u32,
    /// The shim's process, if the agent is on the same machine.
    pub client: Option<ClientProcess>,
    /// Whether the agent tells on which ports the programs of the run listen.
    pub reports_ports: bool,
    /// The signals, by their Linux numbers, that cargo is started to ignore.
    #[serde(deserialize_with = "capped_list::<_, _, IGNORED_SIGNALS_MAX>")]
    pub ignored_signals: Vec<i32>,
}

/// A process of the client's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientProcess {
    /// The process id.
    pub pid: u32,
    /// The namespace of the process id: the inode of `/proc/self/ns/pid`.
    pub namespace: u64,
}

/// One cargo invocation, as alternatives of which the agent takes the first that it can
/// run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The alternatives in order of preference.
    pub alternatives: Vec<Call>,
    /// Whether to skip the invocation if no alternative can be run; otherwise the run
    /// fails.
    pub optional: bool,
    /// The exit code of an earlier invocation after which this one runs, too. The run ends with the
    /// first code that is not 0.
    pub runs_after: Option<i32>,
}

/// A call of cargo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The external subcommand that has to be installed, such as `nextest` for
    /// `cargo-nextest`.
    pub needs: Option<String>,
    /// The arguments after `cargo`.
    pub arguments: Vec<ByteBuf>,
    /// Whether cargo writes JSON messages, which name its artifacts.
    pub json: JsonMessages,
}

/// cargo's JSON messages on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JsonMessages {
    /// cargo writes none.
    Absent,
    /// The user requested them: the agent reads them and passes them on.
    Shown,
}

/// The client's terminal, and which standard streams are connected to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Whether standard input is a terminal.
    pub input: bool,
    /// Whether standard output is a terminal.
    pub output: bool,
    /// Whether standard error is a terminal.
    pub error: bool,
    /// Whether standard output and standard error are one file: then they are one on the
    /// agent, too, and arrive as `Stream::Output` in the order in which they were written.
    pub one_output: bool,
    /// The controlling terminal that the run gets: each of its standard streams that is a terminal
    /// is this one. With `None` it has none.
    pub control: Option<ControllingTerminal>,
    /// The value of `TERM`.
    pub name: Option<String>,
    /// The size, if any stream is a terminal.
    pub size: Option<WindowSize>,
}

/// A controlling terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllingTerminal {
    /// The modes with which it begins.
    pub modes: TerminalModes,
    /// Which end edits lines, shows what is typed and makes signals of keys.
    pub discipline: LineDiscipline,
}

/// Which end does the work of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineDiscipline {
    /// The agent's terminal; the client passes every key on.
    Agent,
    /// The client's terminal, with the modes that the run sets: it also serves other programs
    /// there. The agent passes what is typed and what is shown unchanged.
    Client,
}

/// The modes with which a controlling terminal begins: those of the client's terminal. The
/// flags are Linux's, as in `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalModes {
    /// How input is translated.
    pub input: u32,
    /// How output is translated.
    pub output: u32,
    /// How input is edited, shown and interpreted.
    pub local: u32,
    /// The characters VINTR, VQUIT, VERASE, VKILL, VEOF, VSTART, VSTOP, VSUSP, VEOL,
    /// VREPRINT, VDISCARD, VWERASE, VLNEXT and VEOL2.
    pub characters: [u8; 14],
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Characters per line.
    pub columns: u16,
    /// Number of lines.
    pub rows: u16,
}

/// The files of the target directory that the agent offers, beside those that JSON messages
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// The directory of a profile, such as `debug`: what cargo puts in place there for each
    /// platform, programs, examples and libraries with their `.d` and `.dwo` files.
    pub profile: Option<FileName>,
    /// Programs, dynamic libraries and the files of build scripts that JSON messages name.
    pub named: bool,
    /// All files of `criterion/`.
    pub criterion: bool,
    /// All files of `cargo-timings/`.
    pub timings: bool,
    /// All files of `doc/`.
    pub docs: bool,
    /// What tests leave: the files of `tmp/`, if they are small, and nextest's reports.
    pub tests: bool,
    /// The whole target directory, with its times.
    pub whole: Option<WholeTarget>,
    /// Files and directories, below `/`: in the target directory or in the project.
    #[serde(deserialize_with = "capped_list::<_, _, NAMED_PATHS_MAX>")]
    pub paths: Vec<RelativePath>,
}

/// A request for the whole target directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeTarget {
    /// The digest of the list that the shim has brought last, if it has one.
    pub base: Option<Digest>,
}

/// A point in time by the agent's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// A file of a whole target directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// The path below the target directory.
    pub path: RelativePath,
    /// Size, digest and mode of the file.
    pub file: File,
    /// When it was last modified.
    pub modified: Timestamp,
}

impl TargetFile {
    /// The digest that names a list of a whole target directory. Both ends compute it, and bring
    /// the whole list where theirs differ.
    pub fn digest_of(list: &[Self]) -> Result<Digest, CodecError> {
        Ok(Digest::of(&codec::encode_record(&list)?))
    }
}

/// What completes the list of a whole target directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetListed {
    /// The digest of the list that the `TargetFiles` and `TargetGone` differ from; the empty list
    /// without one.
    pub base: Option<Digest>,
    /// The digest of the list: of the encoded files in the order of their paths.
    pub list: Digest,
    /// What `rustc -vV` says there, as far as cargo has recorded it.
    pub compiler: Option<String>,
}

/// A request of the agent for the parts of a state that it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// The agent holds nothing: it wants the changes from the empty tree and their blobs.
    Everything,
    /// The directory objects with these digests.
    DirectoryObjects(
        #[serde(deserialize_with = "capped_list::<_, _, DIGESTS_PER_MESSAGE_MAX>")] Vec<Digest>,
    ),
    /// The blobs with these digests.
    Blobs(#[serde(deserialize_with = "capped_list::<_, _, DIGESTS_PER_MESSAGE_MAX>")] Vec<Digest>),
}

/// Announces a blob, whose bytes follow as raw frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The digest of the decoded blob.
    pub digest: Digest,
    /// The size of the decoded blob in bytes.
    pub size: u64,
    /// The encoding of the bytes in the raw frames.
    pub encoding: Encoding,
}

/// The encoding of a blob in raw frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// The blob itself; `size` bytes follow.
    Whole,
    /// A zstd frame that uses another blob as its prefix.
    Patch {
        /// The digest of the prefix, which both ends hold.
        base: Digest,
        /// The size of the patch in bytes.
        length: u64,
    },
}

/// A file of the target directory that the agent offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The path below the target directory.
    pub path: RelativePath,
    /// Size, digest and mode of the file.
    pub file: File,
}

/// A request for one of the files that the agent offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The digest of the file.
    pub digest: Digest,
    /// The digest of the file that the shim has at this path, as a base for a patch.
    pub base: Option<Digest>,
}

/// An output stream of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// The controlling terminal, where neither of the two is a terminal.
    Terminal,
}

/// The exit status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// cargo exited with this code.
    Exited(i32),
    /// cargo was killed by this signal, by its Linux number.
    Signaled(i32),
}

/// The error that made the agent give up a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, from which the shim derives its hint and exit code.
    pub kind: FailureKind,
    /// The error and its causes, outermost first.
    pub messages: Vec<String>,
}

/// The kinds of failure that the shim tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The agent's disk is full.
    DiskFull,
    /// The sync would have deleted every source file of the project.
    WouldEmpty,
    /// Received data does not have the announced digest.
    Corrupt,
    /// cargo could not be started.
    NoCargo,
    /// The agent is shutting down.
    Ending,
    /// Any other failure.
    Other,
    /// The toolchain of the run is neither there nor may be installed.
    NoToolchain,
    /// The project's volume is not attached to the server.
    NoVolume,
}

/// The lease of a server: until it expires, a keeper is responsible for deleting the
/// server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The duration of the lease in seconds, from the receipt of the message.
    pub secs: u64,
    /// The request that the agent sends when the lease expires.
    pub will: Option<Will>,
}

/// An HTTPS request that the agent sends without interpreting it. It may contain a
/// secret, so its `Debug` output is empty.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// The HTTP method.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Will {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Will([private])")
    }
}

/// The state of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The agent's program version.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// The time since the agent started, in seconds.
    pub up_secs: u64,
    /// The time until the agent ends if it stays idle, in seconds; `None` while it is busy.
    pub ends_in_secs: Option<u64>,
    /// Every project whose data the agent has.
    pub projects: Vec<ProjectStatus>,
}

/// The state of a project on an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// The path of the workspace root below `/`.
    pub project: RelativePath,
    /// The time since the project was last used, in seconds.
    pub idle_secs: u64,
    /// The titles of the runs that use it now.
    pub runs: Vec<String>,
}
