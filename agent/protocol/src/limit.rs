//! Named caps for every length that a peer can choose.
//!
//! A reader checks the cap before it allocates memory. The writer checks the same cap, so
//! a correct writer never produces a message that the reader rejects.

/// Longest path in bytes, separators included: Linux's `PATH_MAX` without the NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// Longest file name in bytes: Linux's `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Most names in one path. Trees are walked recursively, so this also bounds the stack.
pub const PATH_DEPTH_MAX: usize = 255;

/// Longest target of a symbolic link in bytes.
pub const LINK_BYTES_MAX: usize = 4095;

/// Largest payload of a compressed frame in bytes, before decompression.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Largest encoded message in bytes. The longest messages are directory objects of some
/// hundred thousand entries.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Most bytes of a blob in one raw frame.
pub const RAW_BYTES_MAX: usize = 128 << 10;

/// Largest control message of a stream in bytes.
pub const CONTROL_BYTES_MAX: usize = 64;

/// Most bytes of a stream in one piece over TCP: those of a record of TLS.
pub const PIECE_BYTES_MAX: u16 = 16 << 10;

/// Bytes of frames that a receiver acknowledges at a time. A sender keeps many times as many.
pub const ACKNOWLEDGED_BYTES: u64 = 256 << 10;

/// Longest time in seconds for which an agent waits for a client whose connection has broken.
pub const GRACE_SECS_MAX: u32 = 3600;

/// Largest body of a preface in bytes.
pub const HELLO_BYTES_MAX: usize = 1024;

/// Most changes in one message; a longer list is split into several messages.
pub const CHANGES_PER_MESSAGE_MAX: usize = 4096;

/// Most digests in one request; a longer list is split into several messages.
pub const DIGESTS_PER_MESSAGE_MAX: usize = 8192;

/// Most unreadable entries that are named after a run; the others are counted.
pub const UNREADABLE_NAMED_MAX: usize = 20;

/// Most signals that a request names: Linux has 64.
pub const IGNORED_SIGNALS_MAX: usize = 64;

/// Most paths that a request names to be fetched.
pub const NAMED_PATHS_MAX: usize = 256;

/// Largest cost of a tree or of a list of files that a peer describes, in the units of
/// [`Budget`](crate::budget::Budget): 1 for a file or link, [`DIRECTORY_COST`] for a
/// directory. A unit is about 100 bytes of memory. A tree of a million files in a hundred
/// thousand directories costs 2.2 million.
pub const TREE_COST_MAX: usize = 4 << 20;

/// The cost of a directory: its smallest map has room for eleven entries.
pub const DIRECTORY_COST: usize = 12;

/// Largest sum of the lengths of all paths in a list of files that a peer sends, in bytes.
pub const LISTED_PATH_BYTES_MAX: usize = 128 << 20;

/// Largest encoded record in bytes: a file of our own on disk, such as a stat cache. The
/// stat cache of a million files has about 150 MiB.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Largest patch in bytes that the shim sends; a blob that needs a larger one is sent
/// whole.
pub const PATCH_BYTES_MAX: usize = 512 << 10;

/// Largest user data of a server in bytes: the limit of the Hetzner API.
pub const USER_DATA_BYTES_MAX: usize = 32 << 10;

/// Most bytes of cargo's output in one `Output` message.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Window for a run's input in bytes: the most that the shim sends before the agent
/// returns credit. A small message counts as more than its bytes
/// (`burst_sync::flow_control`).
pub const INPUT_WINDOW_BYTES: usize = 256 << 10;

/// Window for a run's output in bytes, counted in the same way. The reader returns credit
/// for a quarter of the window at a time; at a round trip of 30 ms this allows 25 MiB/s.
pub const OUTPUT_WINDOW_BYTES: usize = 1 << 20;
