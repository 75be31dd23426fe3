//! Every size that crosses the wire has a cap, and every cap has its name here.
//!
//! A cap is checked before anything is allocated for what it bounds, by the
//! writer as well as by the reader, so that a reader never meets a message
//! which a correct writer was able to send.

/// Bytes of a path, separators included: Linux's `PATH_MAX` less its NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// Bytes of one file name: Linux's `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Names in one path. Trees are walked by recursion, so this bounds the stack.
pub const PATH_DEPTH_MAX: usize = 255;

/// Bytes of a symbolic link's target.
pub const LINK_BYTES_MAX: usize = 4095;

/// Bytes of one compressed frame's payload, as it travels.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes of one message. The largest is the listing of a directory with some
/// hundred thousand entries.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Bytes of content in one raw frame.
pub const RAW_BYTES_MAX: usize = 128 << 10;

/// Bytes of a frozen hello, refusal or upgrade message, behind its magic.
pub const HELLO_BYTES_MAX: usize = 1024;

/// Changes in one message; a longer list goes out as several.
pub const CHANGES_PER_MESSAGE_MAX: usize = 4096;

/// Digests in one request; a longer list goes out as several.
pub const DIGESTS_PER_MESSAGE_MAX: usize = 8192;

/// Bytes of a patch: a larger one is sent as a whole content.
pub const PATCH_BYTES_MAX: usize = 512 << 10;

/// Bytes of what a server is told at its creation: the Hetzner API's limit.
pub const USER_DATA_BYTES_MAX: usize = 32 << 10;

/// Bytes of one output message.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Bytes of input that a run has not yet taken, and small messages counted dearer.
pub const INPUT_WINDOW_BYTES: usize = 256 << 10;

/// The same for a run's output that the shim has not yet written. At 30 ms there and
/// back, with a quarter told at a time, that is 25 MiB a second.
pub const OUTPUT_WINDOW_BYTES: usize = 1 << 20;
