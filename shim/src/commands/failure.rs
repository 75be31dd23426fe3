//! The JSON document of a command that fails, on standard output:
//!
//! ```json
//! {"error": {"kind": "api", "message": "…", "causes": ["…"], "hint": "…", "exit_code": 120}}
//! ```
//!
//! `kind` is one of the names in `error/kind.rs`. A command that has done a part of its work
//! prints its result with this `error` added.

use serde_json::{Value, json};

use crate::error::Error;

/// The document of a failure.
pub(crate) fn failure(error: &Error) -> Value {
    json!({ "error": error_value(error) })
}

/// The value of the key `error`.
pub(super) fn error_value(error: &Error) -> Value {
    json!({
        "kind": error.kind(),
        "message": error.to_string(),
        "causes": error.causes(),
        "hint": error.hint(),
        "exit_code": error.exit_code(),
    })
}

/// A document as text, indented.
pub(crate) fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_failure_has_the_documented_keys() {
        let error = Error::new(ErrorKind::NoImage, "there is no image", "build one").cause("why");
        assert_eq!(
            failure(&error),
            json!({ "error": {
                "kind": "no_image",
                "message": "there is no image",
                "causes": ["why"],
                "hint": "build one",
                "exit_code": 119,
            } })
        );
    }
}
