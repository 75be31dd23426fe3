//! The text and the JSON of `doctor`. Pure.

use serde_json::{Value, json};

use super::check::{Check, State};
use crate::terminal::{counted, harmless_line};

/// The checks, one line each and one for a next step, and how many there are of each state.
pub(super) fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, state, finding, next_step } in checks {
        let (state, finding) = (state.name(), harmless_line(finding));
        text.push_str(&format!("{state:<8} {name:<12} {finding}\n"));
        if let Some(step) = next_step {
            text.push_str(&format!("{:<21} next step: {}\n", "", harmless_line(step)));
        }
    }
    let count =
        |wanted: &str| checks.iter().filter(|one| one.state.name() == wanted).count() as u64;
    text.push_str(&format!(
        "{} ok, {}, {}, {} skipped\n",
        count("ok"),
        counted(count("warning"), "warning"),
        counted(count("error"), "error"),
        count("skipped"),
    ));
    text
}

/// The document; `next_step` is `null` where nothing is to be done.
pub(super) fn document(checks: &[Check]) -> Value {
    let checks = checks.iter().map(|Check { name, state, finding, next_step }| {
        json!({
            "name": name,
            "state": state.name(),
            "finding": finding,
            "next_step": next_step,
        })
    });
    json!({ "checks": checks.collect::<Vec<_>>() })
}

/// The first check that is an error.
pub(super) fn first_error(checks: &[Check]) -> Option<(&Check, crate::error::ErrorKind)> {
    checks.iter().find_map(|check| match check.state {
        State::Error(kind) => Some((check, kind)),
        State::Ok | State::Warning | State::Skipped => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn checks() -> [Check; 4] {
        [
            Check::ok("toolchain", "cargo 1.95.0"),
            Check::warning("namespaces", "none\u{1b}[2J", "allow them"),
            Check::error("token", ErrorKind::Token, "refused", "make one"),
            Check::skipped("image", "the token is refused"),
        ]
    }

    #[test]
    fn each_check_is_a_line_with_its_next_step_below() {
        assert_eq!(
            text(&checks()),
            "ok       toolchain    cargo 1.95.0\n\
             warning  namespaces   none\\u001b[2J\n\
             \x20                     next step: allow them\n\
             error    token        refused\n\
             \x20                     next step: make one\n\
             skipped  image        the token is refused\n\
             1 ok, 1 warning, 1 error, 1 skipped\n"
        );
    }

    #[test]
    fn the_document_has_the_documented_keys() {
        let document = document(&checks());
        assert_eq!(
            document["checks"][0],
            json!({
                "name": "toolchain", "state": "ok", "finding": "cargo 1.95.0", "next_step": null,
            })
        );
        assert_eq!(document["checks"][1]["next_step"], "allow them");
        assert_eq!(document["checks"][2]["state"], "error");
        assert_eq!(document["checks"][3]["state"], "skipped");
    }

    #[test]
    fn the_first_error_counts() {
        let found = checks();
        assert_eq!(first_error(&found).unwrap().1, ErrorKind::Token);
        assert_eq!(first_error(&found[..2]), None);
    }
}
