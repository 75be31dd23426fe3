//! `cargo burst config`: the value of every setting and its origin.
//!
//! It needs no workspace. Where cargo cannot read the workspace at hand, the project file
//! is not read, and a warning says so.
//!
//! With `--json` it prints an array of objects, one a setting, in the order of the
//! documentation:
//!
//! ```json
//! {
//!   "key": "volume_gb",
//!   "value": 50,
//!   "origins": [{ "kind": "user", "path": "/home/me/.config/cargo-burst/config.toml" }],
//!   "withheld": {
//!     "value": 500,
//!     "path": "/home/me/app/.config/cargo-burst.toml",
//!     "reason": "untrusted"
//!   }
//! }
//! ```
//!
//! - `value`: a string, an array of strings, a number or a boolean as in a settings file;
//!   null if the setting is unset. A secret has no `value` but `"set": true` or
//!   `"set": false`.
//! - `origins`: lowest layer first; empty if the setting is unset, more than one only for
//!   lists that add up. `kind` is `default`, `user` or `project` (with `path`), or
//!   `environment` (with `variable`).
//! - `withheld`: the value that the setting would have if the project file at `path` could
//!   set it; null if there is none. `reason` is `untrusted` (the file goes beyond your own
//!   settings and is not trusted; `cargo burst trust`) or `limit` (it raises a limit, which
//!   no project file can).
//!
//! With `--defaults` only the defaults are shown: as a documented settings file, or with
//! `--json` in the same form.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::Context;
use crate::error::{Error, ErrorKind};
use crate::settings::{self, Effective, Origin, Project, Reason, Shown, TrustStore, Withheld};
use crate::terminal::Terminal;
use crate::workspace::Workspace;

/// `cargo burst config`. `defaults` leaves files and environment out.
pub(crate) fn config(context: &Context<'_>, defaults: bool) -> Result<(), Error> {
    if defaults && !context.json {
        return context.print(&settings::documentation());
    }
    let effective = if defaults {
        settings::defaults()
    } else {
        let root = workspace_root(context.terminal);
        let trust = TrustStore::of(context.directories);
        let project = root.as_deref().map(|root| Project { root, trust: &trust });
        context.settings(project)?.effective().to_vec()
    };
    if context.json {
        let all: Vec<Value> = effective.iter().map(as_json).collect();
        return context.print_json(&Value::Array(all));
    }
    let lines: Vec<String> = effective.iter().map(as_line).collect();
    context.print(&lines.concat())
}

/// The root of the workspace at hand. Warns where there is a manifest, but cargo cannot
/// read it.
fn workspace_root(terminal: &Terminal) -> Option<PathBuf> {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            terminal.warn(&format!(
                "the project file was not read: the current directory cannot be found: {error}"
            ));
            return None;
        }
    };
    match Workspace::find(&directory, &[]) {
        Ok(workspace) => Some(workspace.root),
        Err(error) => {
            if directory.ancestors().any(|above| above.join("Cargo.toml").exists()) {
                terminal.warn(&format!("the project file was not read: {}", reason(&error)));
            }
            None
        }
    }
}

/// The reason in one text: for a workspace that cargo refuses, cargo's own message.
fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Cargo => {
            format!("cargo cannot read this workspace\n{}", error.to_string().trim_end())
        }
        _ => error.one_line(),
    }
}

fn as_line(Effective { key, shown, origins, withheld }: &Effective) -> String {
    let value = match shown {
        Shown::Unset { .. } => format!("# {key} is not set"),
        Shown::Hidden | Shown::Value(_) => {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            format!("{key} = {shown}  # {}", origins.join("; "))
        }
    };
    let withheld = withheld.as_ref().map(|Withheld { shown, path, reason }| {
        let why = match reason {
            Reason::Untrusted => "needs `cargo burst trust`",
            Reason::Limit => "raises a limit",
        };
        format!("; {shown} of {} does not hold: it {why}", path.display())
    });
    format!("{value}{}\n", withheld.unwrap_or_default())
}

fn as_json(Effective { key, shown, origins, withheld }: &Effective) -> Value {
    let mut object = json!({
        "key": key,
        "origins": origins.iter().map(origin_as_json).collect::<Vec<_>>(),
        "withheld": withheld.as_ref().map(withheld_as_json),
    });
    match shown {
        Shown::Hidden => object["set"] = true.into(),
        Shown::Unset { secret: true, .. } => object["set"] = false.into(),
        Shown::Unset { .. } | Shown::Value(_) => object["value"] = value_as_json(shown),
    }
    object
}

fn withheld_as_json(Withheld { shown, path, reason }: &Withheld) -> Value {
    let reason = match reason {
        Reason::Untrusted => "untrusted",
        Reason::Limit => "limit",
    };
    json!({ "value": value_as_json(shown), "path": path.to_string_lossy(), "reason": reason })
}

/// A value as in a settings file; null if it is unset, or a secret.
pub(super) fn value_as_json(shown: &Shown) -> Value {
    match shown {
        Shown::Value(value) => json!(value),
        Shown::Unset { .. } | Shown::Hidden => Value::Null,
    }
}

fn origin_as_json(origin: &Origin) -> Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::User(path) => json!({ "kind": "user", "path": text(path) }),
        Origin::Project(path) => json!({ "kind": "project", "path": text(path) }),
        Origin::Environment(name) => json!({ "kind": "environment", "variable": name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(shown: Shown, origins: Vec<Origin>) -> Effective {
        Effective { key: "a_key", shown, origins, withheld: None }
    }

    #[test]
    fn lines_are_toml_with_origins() {
        let list = toml::Value::from(vec!["A", "B"]);
        let origins = vec![
            Origin::User("/home/me/config.toml".into()),
            Origin::Project("/app/.config/cargo-burst.toml".into()),
            Origin::Environment("CARGO_BURST_A_KEY"),
        ];
        assert_eq!(
            as_line(&effective(Shown::Value(list), origins)),
            "a_key = [\"A\", \"B\"]  # /home/me/config.toml; /app/.config/cargo-burst.toml; \
             environment variable CARGO_BURST_A_KEY\n"
        );
        assert_eq!(
            as_line(&effective(Shown::Hidden, vec![Origin::Environment("HCLOUD_TOKEN")])),
            "a_key = \"(set, not shown)\"  # environment variable HCLOUD_TOKEN\n"
        );
        let unset = Shown::Unset { example: "40", secret: false };
        assert_eq!(as_line(&effective(unset, vec![])), "# a_key is not set\n");
    }

    #[test]
    fn a_value_that_does_not_hold_is_shown_with_the_reason() {
        let withheld = |reason| Effective {
            withheld: Some(Withheld {
                shown: Shown::Value(500.into()),
                path: "/app/p.toml".into(),
                reason,
            }),
            ..effective(Shown::Value(50.into()), vec![Origin::User("/u".into())])
        };
        assert_eq!(
            as_line(&withheld(Reason::Untrusted)),
            "a_key = 50  # /u; 500 of /app/p.toml does not hold: it needs `cargo burst trust`\n"
        );
        assert_eq!(
            as_line(&withheld(Reason::Limit)),
            "a_key = 50  # /u; 500 of /app/p.toml does not hold: it raises a limit\n"
        );
        let json = |reason: &str| {
            json!({
                "key": "a_key",
                "value": 50,
                "origins": [{ "kind": "user", "path": "/u" }],
                "withheld": { "value": 500, "path": "/app/p.toml", "reason": reason },
            })
        };
        assert_eq!(as_json(&withheld(Reason::Untrusted)), json("untrusted"));
        assert_eq!(as_json(&withheld(Reason::Limit)), json("limit"));
    }

    #[test]
    fn a_text_of_a_repository_cannot_steer_a_terminal() {
        let text = "a\u{1b}[2J\nb\u{9b}c\u{202e}d\"\\";
        let list = Shown::Value(toml::Value::from(vec![text, "ü"]));
        let line = as_line(&effective(list, vec![Origin::Default]));
        assert_eq!(
            line,
            "a_key = [\"a\\u001B[2J\\u000Ab\\u009Bc\\u202Ed\\\"\\\\\", \"ü\"]  # default\n"
        );
    }

    #[test]
    fn json_has_the_documented_keys() {
        let origins = vec![
            Origin::Default,
            Origin::User("/u".into()),
            Origin::Project("/p".into()),
            Origin::Environment("V"),
        ];
        let whole = Shown::Value(toml::Value::from(50));
        assert_eq!(
            as_json(&effective(whole, origins)),
            json!({ "key": "a_key", "value": 50, "origins": [
                { "kind": "default" },
                { "kind": "user", "path": "/u" },
                { "kind": "project", "path": "/p" },
                { "kind": "environment", "variable": "V" },
            ], "withheld": null })
        );
        let secret = Shown::Unset { example: "", secret: true };
        assert_eq!(
            as_json(&effective(Shown::Hidden, vec![])),
            json!({ "key": "a_key", "set": true, "origins": [], "withheld": null })
        );
        assert_eq!(
            as_json(&effective(secret, vec![])),
            json!({ "key": "a_key", "set": false, "origins": [], "withheld": null })
        );
        let unset = Shown::Unset { example: "40", secret: false };
        assert_eq!(
            as_json(&effective(unset, vec![])),
            json!({ "key": "a_key", "value": null, "origins": [], "withheld": null })
        );
    }
}
