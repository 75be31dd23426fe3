//! Whether the target directory that a configuration file names may be written to.
//!
//! The file comes from a repository, or a build has written it, and a build decides which files
//! are artifacts. So the directory must be one that can only be a target directory. What the
//! user names by option or variable is the user's decision.

use std::path::{Component, Path};

use burst_sync::ignore_rules::is_cargo_target;

use super::runs_code::DIRECTORIES;

/// Directories of git and of settings. With those whose files run code they are never target
/// directories.
const SETTINGS: [&str; 3] = [".git", ".cargo", ".config"];

/// Whether a directory that a configuration file names can be the target directory of the
/// workspace at `root`: below it, anything but a directory with a meaning of its own; elsewhere,
/// a directory that cargo has marked, or one that does not exist or is empty and is not hidden.
pub(super) fn is_allowed(root: &Path, directory: &Path) -> bool {
    let has = |path: &Path, known: &dyn Fn(&str) -> bool| {
        path.components().any(|part| match part {
            Component::Normal(name) => known(&name.to_string_lossy().to_ascii_lowercase()),
            _ => false,
        })
    };
    match directory.strip_prefix(root) {
        Ok(below) => !has(below, &|name| SETTINGS.contains(&name) || DIRECTORIES.contains(&name)),
        Err(_) => {
            is_cargo_target(directory)
                || is_unused(directory) && !has(directory, &|name| name.starts_with('.'))
        }
    }
}

fn is_unused(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_can_be_nothing_else_are_allowed() {
        let disk = tempfile::Builder::new().prefix("place-").tempdir().unwrap();
        let at = |path: &str| disk.path().join(path);
        let root = at("app");
        for directory in ["app/.git/hooks", "used", "empty", "marked", ".hidden/marked", ".ssh"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::write(at("used/file"), "").unwrap();
        std::fs::write(at(".ssh/authorized_keys"), "").unwrap();
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# created by cargo.\n";
        for directory in ["marked", ".hidden/marked"] {
            std::fs::write(at(directory).join("CACHEDIR.TAG"), tag).unwrap();
        }
        for allowed in ["app/out", "app/.target", "new/target", "empty", "marked", ".hidden/marked"]
        {
            assert!(is_allowed(&root, &at(allowed)), "{allowed}");
        }
        for refused in [
            "app/.git",
            "app/.git/hooks",
            "app/.GitHub/x",
            "app/x/.cargo",
            "used",
            ".ssh",
            ".new/t",
        ] {
            assert!(!is_allowed(&root, &at(refused)), "{refused}");
        }
    }
}
