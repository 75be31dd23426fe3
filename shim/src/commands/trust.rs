//! `cargo burst trust`: shows what the project file at hand asks for beyond the user's own
//! settings, and allows this content of it. `--revoke` ends that.
//!
//! With `--json` it prints one object:
//!
//! ```json
//! {
//!   "path": "/home/me/app/.config/cargo-burst.toml",
//!   "digest": "9f86…",
//!   "requests": [{ "key": "server_type", "value": ["cx53"], "own": ["ccx63"] }],
//!   "trusted_by": "content"
//! }
//! ```
//!
//! - `path`: the project file.
//! - `digest`: the blake3 digest of its content, in hexadecimal digits; null if there is no
//!   file, which only `--revoke` allows.
//! - `requests`: what needs trust: the key, the part of its `value` that goes beyond your own
//!   settings, and your `own` value; both as in a settings file, or null where unset. If it
//!   is empty, the file needs no trust, and nothing is recorded.
//! - `trusted_by`: whether the file is trusted now: `content` (this content of it is
//!   recorded), `directory` (it is in one of your `trusted_directories`) or null.

use std::path::Path;

use serde_json::{Value, json};

use super::config::value_as_json;
use super::context::Context;
use crate::directories::current_directory;
use crate::error::{Error, ErrorKind};
use crate::settings::{PROJECT_FILE, Project, ProjectFile, Request, Standing, TrustStore};
use crate::workspace::Workspace;

/// `cargo burst trust`.
pub(crate) fn trust(context: &Context<'_>, revoke: bool) -> Result<(), Error> {
    let root = Workspace::find(&current_directory()?, &[])?.root;
    let store = TrustStore::of(context.directories);
    let was_trusted = revoke && store.revoke(&root)?;
    let settings = context.settings(Some(Project { root: &root, trust: &store }))?;
    let Some(file) = settings.project() else {
        let path = root.join(PROJECT_FILE);
        return match revoke {
            true if context.json => context.print_json(&as_json(&path, None, &[])),
            true => context.print(&revoked(&path, was_trusted, None)),
            false => Err(missing(&path)),
        };
    };
    let file = match settings.untrusted() {
        Some(file) if !revoke => {
            store.record(&file.content)?;
            &ProjectFile { standing: Standing::Recorded, ..file.clone() }
        }
        _ => file,
    };
    match (context.json, revoke) {
        (true, _) => context.print_json(&as_json(&file.path, Some(file), settings.requests())),
        (false, true) => context.print(&revoked(&file.path, was_trusted, Some(file.standing))),
        (false, false) => context.print(&as_text(file, settings.requests())),
    }
}

fn missing(path: &Path) -> Error {
    let hint = "only a project file is trusted; your own settings need no trust";
    Error::new(ErrorKind::Settings, format!("there is no file `{}`", path.display()), hint)
}

/// What was asked for, and that it is trusted now.
fn as_text(file: &ProjectFile, requests: &[Request]) -> String {
    let path = file.path.display();
    if requests.is_empty() {
        return format!("`{path}` asks for nothing beyond your own settings: it needs no trust\n");
    }
    let trusted = match file.standing {
        Standing::InDirectory => "it is in one of your `trusted_directories`".to_owned(),
        Standing::Recorded | Standing::Changed | Standing::Unknown => {
            "this content of it is trusted; `cargo burst trust --revoke` ends that".to_owned()
        }
    };
    format!("{}{trusted}\n", file.asks_for(requests))
}

/// That a file is not trusted any more; `standing` is its standing now, if it exists.
fn revoked(path: &Path, was_trusted: bool, standing: Option<Standing>) -> String {
    let path = path.display();
    let mut text = match was_trusted {
        true => format!("`{path}` is not trusted any more\n"),
        false => format!("`{path}` was not trusted\n"),
    };
    if standing == Some(Standing::InDirectory) {
        text.push_str("but it is in one of your `trusted_directories`\n");
    }
    text
}

fn as_json(path: &Path, file: Option<&ProjectFile>, requests: &[Request]) -> Value {
    let requests = requests.iter().map(|Request { key, asked, own }| {
        json!({ "key": key, "value": value_as_json(asked), "own": value_as_json(own) })
    });
    let trusted_by = match file.map(|file| file.standing) {
        Some(Standing::Recorded) => Some("content"),
        Some(Standing::InDirectory) => Some("directory"),
        Some(Standing::Unknown | Standing::Changed) | None => None,
    };
    json!({
        "path": path.to_string_lossy(),
        "digest": file.map(|file| file.content.digest().to_hex()),
        "requests": requests.collect::<Vec<_>>(),
        "trusted_by": trusted_by,
    })
}
