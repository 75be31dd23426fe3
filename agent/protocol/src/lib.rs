//! What the two ends of cargo-burst say to each other.
//!
//! This crate is pure: no I/O, no clock, no tokio. Both ends, the tests and a
//! scripted peer use it; `burst-sync` moves its frames over real streams.
//!
//! # Participants
//!
//! The **shim** runs on the developer's machine and opens every stream. The
//! **agent** runs where cargo runs. They meet on a QUIC connection (ALPN
//! [`ALPN`]) on which both have proved with a pinned certificate who they are.
//! Each request is one bidirectional stream of that connection.
//!
//! # A stream
//!
//! Either direction begins with one frozen [`hello::Preface`]; frames
//! ([`frame`]) follow, which carry the [`message`]s and, behind a
//! `Blob` message, its bytes as raw frames. The shim does not wait for the
//! welcome: hello and request leave in one flight.
//!
//! # One run
//!
//! 1. The shim sends `Run`: the project, the state it believes the agent to
//!    hold (`base`), the state that is needed (`root`), cargo's arguments. If
//!    it knows a base it adds, in the same flight, `Changes`, the contents they
//!    need (as patches against the base where that is smaller) and
//!    `BlobsEnd`.
//! 2. While another run holds the project the agent sends `Waiting`.
//! 3. If the agent holds `base`, the changes lead to `root`. If it does not, it
//!    drops them and asks: `Want::Everything` if it holds nothing, else
//!    `Want::DirectoryObjects`, level by level, for directories whose digests it does
//!    not know. In the end it knows the whole manifest and asks for the
//!    contents it lacks by `Want::Blobs`. No file list is ever sent for a
//!    directory that both ends hold.
//! 4. When every content is stored and verified the tree is changed: `Synced`.
//! 5. `Started`, then `Output` as it is written; `Input`, `Signal`, `Resize`
//!    and `Kill` go the other way.
//! 6. `Changed`, `Artifacts` and `Withheld` tell what the run left behind,
//!    `Finished` how it ended. The shim asks by `Fetch` for contents that it
//!    lacks, tells by `Adopted` which changed sources it took, and says `Done`.
//!    The agent answers `Done`.
//!
//! Instead of any message the agent may send `Failed`, after which it reads no
//! more. A shim that goes away, orderly or not, ends its run.
//!
//! # Limits
//!
//! Every length has a named cap in [`limit`], checked before anything is
//! allocated. Paths become paths only in [`path`]. No bytes of a peer can make
//! this crate panic.
//!
//! # What it is not
//!
//! Not a file transfer protocol for strangers: a manifest says whether a file
//! is executable and nothing more about modes, owners or times. Not a terminal
//! protocol: only the size of a terminal and the bytes of its streams travel.

pub mod codec;
pub mod digest;
pub mod frame;
pub mod hello;
pub mod limit;
pub mod message;
pub mod path;
pub mod tree;

/// The application protocol name of the QUIC connection. It never changes:
/// versions are agreed upon by the frozen [`hello`].
pub const ALPN: &[u8] = b"cargo-burst";

pub use digest::Digest;
pub use path::{FileName, RelativePath};
pub use serde_bytes::ByteBuf;
