//! Exit codes. cargo's own pass through as they are; ours lie where neither
//! cargo (101), nextest (4, 96 to 110) nor shells (126 to 165) have theirs.

use std::process::ExitCode;

/// How this program ends when the trouble is not cargo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The command line cannot be understood.
    Usage = 2,
    /// A settings file or variable is wrong.
    Settings = 111,
    /// The workspace cannot be read or sent.
    Workspace = 112,
    /// No agent can be started or reached, or it refuses.
    Agent = 113,
    /// The run was lost: agent, connection or its disk gave up.
    Run = 114,
    /// cargo ran, but its results or its output could not be written here.
    Results = 115,
}

impl From<Own> for ExitCode {
    fn from(own: Own) -> Self {
        Self::from(own as u8)
    }
}
