//! The changes of a disk: each name that appears, disappears or moves, each record.
//!
//! With the feature `simulation` a test is asked before each of them: it can let the change fail
//! as a broken disk does, or end the process there.

use std::io;
#[cfg(feature = "simulation")]
use std::sync::OnceLock;

#[cfg(feature = "simulation")]
static ASK: OnceLock<fn() -> io::Result<()>> = OnceLock::new();

/// To be called before a change. Fails if a test wants it to fail.
#[cfg(feature = "simulation")]
pub(crate) fn begin() -> io::Result<()> {
    ASK.get().map_or(Ok(()), |ask| ask())
}

/// To be called before a change.
#[cfg(not(feature = "simulation"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature `simulation`")]
pub(crate) const fn begin() -> io::Result<()> {
    Ok(())
}

/// From now on each change of a disk calls this first. Only the first call in a process counts.
#[cfg(feature = "simulation")]
pub fn before_changes(ask: fn() -> io::Result<()>) {
    ASK.get_or_init(|| ask);
}
