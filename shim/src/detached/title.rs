//! The titles of runs, and the number of a detached one in the title that the agent shows. Pure.

use std::path::Path;

use super::record::RunState;
use super::runs::Found;

/// Most characters of a title, so that it can be an argument of a process.
const CHARACTERS_MAX: usize = 1000;

/// What stands before the number, in front of the title: no title of a run begins so.
const BEFORE: &str = "detached run ";
const BEHIND: &str = ": ";

/// A title of a length that is recorded.
pub(super) fn shortened(mut title: String) -> String {
    if let Some((end, _)) = title.char_indices().nth(CHARACTERS_MAX) {
        title.truncate(end);
        title.push('…');
    }
    title
}

/// The title of a run for the agent, which tells it to commands that wait for the run.
pub(crate) fn numbered(title: &str, number: u32) -> String {
    format!("{BEFORE}{number}{BEHIND}{title}")
}

/// The title of a run as the agent tells it, without the number, and the number if such a run of
/// the workspace is running: the agent may tell of one of another machine.
pub(crate) fn without_number<'t>(
    title: &'t str,
    found: &Found,
    workspace: &Path,
) -> (&'t str, Option<u32>) {
    let parts = title.strip_prefix(BEFORE).and_then(|title| title.split_once(BEHIND));
    let Some((number, rest)) = parts.and_then(|(number, rest)| Some((number.parse().ok()?, rest)))
    else {
        return (title, None);
    };
    let is_here = found.runs.iter().any(|run| {
        run.number == number && run.state == RunState::Running && run.started.workspace == workspace
    });
    if is_here { (rest, Some(number)) } else { (title, None) }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Run, Started};
    use super::*;

    #[test]
    fn a_long_title_is_cut_between_characters() {
        assert_eq!(shortened("é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shortened("é".repeat(1001)), format!("{}…", "é".repeat(1000)));
    }

    #[test]
    fn the_number_of_a_run_that_is_here_is_found_in_its_title() {
        let title = "cargo x".to_owned();
        let workspace = "/w".into();
        let started = Started { title, workspace, at: 1, terminal: None, one_output: false };
        let state = RunState::Running;
        let run = Run { number: 3, started, state, waits_for: None, is_shown: false };
        let found = Found { runs: vec![run], ..Found::default() };
        let known = numbered("cargo x", 3);
        let told = |title| without_number(title, &found, Path::new("/w"));
        assert_eq!(told(&known), ("cargo x", Some(3)));
        let behind = numbered("cargo run -- detached run 4: x", 3);
        assert_eq!(told(&behind), ("cargo run -- detached run 4: x", Some(3)));
        for title in [
            "cargo x",
            "detached run 4: cargo x",
            "detached run y: cargo x",
            "detached run 3",
            // What a command can have as arguments.
            "cargo x (detached run 3)",
            "cargo x detached run 3: ",
            "cargo detached run 3: cargo x",
        ] {
            assert_eq!(told(title), (title, None));
        }
        let elsewhere = without_number(&known, &found, Path::new("/v"));
        assert_eq!(elsewhere, (known.as_str(), None));
    }
}
