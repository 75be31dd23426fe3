//! The titles of runs, and the number of a detached one in the title that the agent shows. Pure.

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

/// The title of a run as the agent tells it, without the number, and the number if such a run
/// `is_here`: the agent may tell of one of another machine.
pub(crate) fn without_number(
    title: &str,
    is_here: impl FnOnce(u32) -> bool,
) -> (&str, Option<u32>) {
    let parts = title.strip_prefix(BEFORE).and_then(|title| title.split_once(BEHIND));
    match parts.and_then(|(number, rest)| Some((number.parse().ok()?, rest))) {
        Some((number, rest)) if is_here(number) => (rest, Some(number)),
        _ => (title, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_title_is_cut_between_characters() {
        assert_eq!(shortened("é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shortened("é".repeat(1001)), format!("{}…", "é".repeat(1000)));
    }

    #[test]
    fn the_number_of_a_run_that_is_here_is_found_in_its_title() {
        let told = |title| without_number(title, |number| number == 3);
        let known = numbered("cargo x", 3);
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
        let elsewhere = without_number(&known, |_| false);
        assert_eq!(elsewhere, (known.as_str(), None));
    }
}
