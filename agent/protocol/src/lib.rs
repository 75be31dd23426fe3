//! The protocol between the cargo-burst shim and its agent: types, bytes and limits.
//!
//! This crate does no I/O, reads no clock and does not depend on tokio. The shim, the
//! agent and the tests use it; `burst-sync` moves its frames over real streams.
//!
//! # Participants
//!
//! The **shim** runs on the developer's machine and opens every stream. The **agent**
//! runs on the machine where cargo runs. They share one QUIC connection (ALPN [`ALPN`]),
//! on which each end has authenticated itself with a pinned certificate. Each request is
//! one bidirectional stream of that connection. To a server in a network that blocks UDP each
//! stream has a TCP connection of its own instead, with TLS 1.3, the same ALPN and certificates,
//! in [pieces](piece) that also tell its ends and that either end is alive.
//!
//! # Streams
//!
//! Each direction of a stream begins with one [`hello::Preface`], whose format is frozen.
//! [Frames](frame) follow. A frame carries a [message] or a piece of a blob: the
//! bytes of a blob follow its `Blob` message as raw frames. The shim sends its request
//! together with its hello and does not wait for the welcome.
//!
//! # Streams that survive their connection
//!
//! The stream of a run begins with `Control::Open` after the hello, which names it. Each end
//! counts the bytes of the frames that it has received whole, tells the other one the count
//! now and then, and keeps what it has sent until then. When the connection breaks, the shim
//! opens a stream on another one with a hello and `Control::Resume`, and both ends send again
//! what the other has not received, byte for byte. Messages, and the zstd stream of each
//! direction, go on as if nothing had happened ([`link`]).
//!
//! # The sequence of a run
//!
//! 1. The shim sends `Run` with the project, the cargo invocations, the root digest that
//!    the run needs (`root`) and the root digest that the agent held after the last run
//!    (`base`). If the shim knows `base`, it appends the difference to the same flight:
//!    `Changes`, the `Blob`s that they need (as patches on the base where a patch is
//!    smaller) and `BlobsEnd`.
//! 2. While another run uses the project, the agent sends `Waiting`.
//! 3. If the agent holds `base` and the changes lead to `root`, the tree is known.
//!    Otherwise the agent discards the changes and asks: `Want::Everything` if it holds
//!    nothing, or else `Want::DirectoryObjects`, one level of the tree after the other,
//!    for directories with unknown digests. Then it asks for the blobs that it lacks with
//!    `Want::Blobs`. The contents of a directory that both ends hold are never listed.
//! 4. When every blob is stored and verified, the agent changes its tree and sends
//!    `Synced`.
//! 5. The agent sends `Started`, then `Output` as cargo writes it. The shim sends `Input`,
//!    `InputEnd`, `Signal`, `Resize` and `Kill`. `OutputCredit` and `InputCredit` bound the
//!    bytes in flight: each end returns credit for the messages that it has processed.
//! 6. The agent sends `Changed` for everything that runs have changed and the shim does not hold,
//!    `Artifacts`, `Withheld` and `Unreadable`, then `Finished` with cargo's exit status. The shim
//!    requests blobs with `Fetch`, answers the changes with `Adopted` and `Declined`, and sends
//!    `Done`. The agent replies `Done`. A change that is not answered is offered again after the
//!    next run.
//!
//! From the request until step 6 the agent sends `Working` every few seconds, whatever else
//! it sends, so that the shim can tell an agent that works from one that hangs.
//!
//! While cargo runs, each TCP connection that the shim forwards is a stream of its own: it begins
//! with `Connect`.
//!
//! The agent may send `Failed` in place of any message, even between the raw frames of a
//! blob; it reads nothing after that. When a shim ends its stream or closes its connection,
//! the agent ends its run at once; when the connection breaks, after the grace time that
//! `Control::Open` names.
//!
//! # Limits
//!
//! Every length has a named cap in [`limit`], which is checked before memory is allocated; a
//! [`budget`] caps the sum of lists that come in several messages.
//! Bytes become a path only in [`path`]. No input can make this crate panic.
//!
//! # Out of scope
//!
//! The protocol preserves no file owners, no permission bits of directories, and times only of a
//! whole target directory. It does not interpret terminal output: it transports the bytes of
//! a terminal, its size, and the modes with which it begins.
//!
//! # Versions and changes
//!
//! Both ends agree on a version with [`hello`]. bincode encodes an enum variant by its
//! position and writes no field names: a new variant goes to the end of its enum, and a
//! change to a field needs a new version. `tests/golden.rs` holds the bytes of every
//! message.
//!
//! | version | change |
//! |---|---|
//! | 1 | The first version; no release speaks it yet. |
//! | 1 | Names only, same bytes: `Content` became `Blob`, `ContentsEnd` became `BlobsEnd`, `Listing` became [`DirectoryObject`](tree::DirectoryObject), `Step` became [`Invocation`](message::Invocation), `OutputTaken` and `InputTaken` became `OutputCredit` and `InputCredit`. |
//! | 1 | New: [`Declined`](message::FromShim::Declined). Without it a change that was not adopted was forgotten. |
//! | 1 | New: [`Unavailable`](message::FromAgent::Unavailable). Without it a file that changed after it was offered ended the run with an error. |
//! | 1 | [`File`](tree::File) has permission bits in place of an execute bit, the digest of a directory too; [`RunRequest`](message::RunRequest) has an umask, `fresh_target`, `taken` and `workspace`. |
//! | 1 | [`RunRequest`](message::RunRequest) has a build directory and names the process of a client on the same machine. |
//! | 1 | `Working` was added. |
//! | 1 | New: [`Unreadable`](message::FromAgent::Unreadable). Without it what a run had left and the agent could not read was only logged. |
//! | 1 | [`RunRequest`](message::RunRequest) has `freed`. Without it what a client had declined stayed on the agent for ever. |
//! | 1 | New: [`OutputEnd`](message::FromAgent::OutputEnd). Without it a client that waited for the reader of its output blocked the results of other runs. |
//! | 1 | New: [`NoToolchain`](message::FailureKind::NoToolchain). |
//! | 1 | [`Terminal`](message::Terminal) names the modes of a controlling terminal, and whether both outputs are one file. |
//! | 1 | New: [`Connect`](message::FromShim::Connect), [`Listening`](message::FromAgent::Listening), `reports_ports`. Without them a program that listens could not be reached. |
//! | 1 | [`Returns`](message::Returns) names a profile and what JSON messages name in place of `artifacts`, and has `tests`, with [`LargeTestFiles`](message::FromAgent::LargeTestFiles); no messages are hidden any more. |
//! | 1 | New: [`WholeTarget`](message::WholeTarget) and what answers it; [`Started`](message::FromAgent::Started) tells the agent's time. |
//! | 1 | [`Returns`](message::Returns) names paths. |
//! | 1 | New: [`Kind::Control`](frame::Kind::Control) with [`link::Control`]. Without it a run ended with its connection. |
//! | 1 | An [`Invocation`](message::Invocation) can run after one that has failed. |
//! | 1 | [`Resume`](link::Control::Resume) numbers its attempts, and `Acknowledge` follows `Resumed` at once. Without them an attempt that its shim had given up ended the run. |
//! | 1 | New: [`Cancel`](link::Control::Cancel). Without it the run of a command that ended while its connection was broken went on until the grace time was over. |
//! | 1 | New: [`NamedLinks`](message::FromAgent::NamedLinks). Without it links below a directory that was named were left out and nothing was told. |
//! | 1 | The working directory of a [`RunRequest`](message::RunRequest) can be `/`. |
//! | 1 | New: [`SignalProcess`](message::FromShim::SignalProcess), and `ignored_signals`. Without them children of a program got signals that were sent to cargo, and `nohup` had no effect. |
//! | 1 | [`Terminal`](message::Terminal) says which end edits lines; new: [`Keys`](message::FromShim::Keys), [`TerminalModes`](message::FromAgent::TerminalModes), [`TerminalRead`](message::FromAgent::TerminalRead), [`Stream::Terminal`](message::Stream::Terminal). Without them only a run whose standard input and output were terminals had a controlling one, and others showed passwords. |
//! | 1 | New: [`piece`], for TCP. Without it a network that blocks UDP had no servers. |
//! | 1 | New: [`Stopped`](message::FromAgent::Stopped). Without it Ctrl-Z did not give the shell back. |
//! | 1 | New: [`NoVolume`](message::FailureKind::NoVolume). Without it a volume that was detached by hand was waited for in vain. |
//! | 1 | New: [`Used`](message::FromAgent::Used). Without it the client did not know the processor time of a run. |
//!
//! Formats that are stored on disk are specified where they are defined: pack files in
//! `burst_sync::pack`, records and the stat cache in `burst_sync::stat_cache`, a server's
//! user data in `burst_agent::user_data`.

pub mod budget;
pub mod codec;
pub mod digest;
pub mod frame;
pub mod hello;
pub mod limit;
pub mod link;
pub mod message;
pub mod path;
pub mod piece;
pub mod tree;

/// The application protocol name of QUIC and TCP connections. It is the same for every version
/// of the protocol.
pub const ALPN: &[u8] = b"cargo-burst";

pub use digest::Digest;
pub use path::{FileName, RelativePath};
pub use serde_bytes::ByteBuf;
