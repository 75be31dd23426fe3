//! The names of temporary files: each tells the process that made it.

use burst_sync::ignore_rules::CONFLICT_SUFFIX;

use super::process_record::this_process;

/// The name of a temporary file of this process with a number.
pub(super) fn temporary_name(number: u32) -> String {
    format!("{}{number}{CONFLICT_SUFFIX}", prefix(this_process()))
}

/// Whether a name is that of a temporary file of a process.
pub(super) fn is_temporary_of(name: &str, process: u32) -> bool {
    name.starts_with(&prefix(process)) && name.ends_with(CONFLICT_SUFFIX)
}

fn prefix(process: u32) -> String {
    format!(".burst-{process}-")
}
