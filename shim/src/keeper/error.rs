//! Errors of the keeper itself, as commands report them. Errors of Hetzner and agents pass
//! through the keeper unchanged.

use crate::error::{Error, ErrorKind};

/// The keeper does not start, does not answer, or its answer is not valid.
pub(crate) fn keeper(message: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Keeper,
        message,
        "run the command again: it starts a new keeper; `cargo burst logs --keeper` shows the \
         keeper's log",
    )
}

/// The socket to the keeper failed.
pub(crate) fn lost(error: &std::io::Error) -> Error {
    keeper("the keeper does not answer").caused_by(error)
}
