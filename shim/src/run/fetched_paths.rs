//! `--fetch PATH`: which paths may be named, and what happens to those that do not exist. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::limit::NAMED_PATHS_MAX;
use burst_protocol::message::Ending;
use burst_protocol::path::normalized;

use crate::error::{Error, ErrorKind};

/// What `--fetch PATH` names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NamedPaths {
    /// The paths, below `/`.
    pub(super) paths: Vec<RelativePath>,
    /// Whether the target directory itself is one of them.
    pub(super) whole_target: bool,
}

/// Reads the named paths. They are relative to the working directory, and lie below the target
/// directory or the workspace root.
pub(super) fn named_paths(
    named: &[String],
    directory: &Path,
    workspace: &Path,
    target: &Path,
) -> Result<NamedPaths, Error> {
    if named.len() > NAMED_PATHS_MAX {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("`--fetch` names {} paths", named.len()),
            format!("name a directory that has them: at most {NAMED_PATHS_MAX} paths are allowed"),
        ));
    }
    let one = |name: &String| {
        let path = normalized(&directory.join(name));
        if path == target {
            return Ok(None);
        }
        let is_below = |place: &Path| path.starts_with(place) && path != place;
        let below = RelativePath::below_root(path.as_os_str().as_bytes());
        if workspace.starts_with(&path) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`--fetch {name}` names the whole workspace"),
                "name what a run has written in it, such as a directory that git ignores; other \
                 files come by themselves",
            ));
        }
        match below {
            Ok(below) if is_below(target) || is_below(workspace) => Ok(Some(below)),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("`--fetch {name}` is in neither the workspace nor its target directory"),
                format!(
                    "let the run write it below `{}` or `{}`",
                    workspace.display(),
                    target.display()
                ),
            )),
        }
    };
    let paths = named.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let whole_target = paths.contains(&None);
    Ok(NamedPaths { paths: paths.into_iter().flatten().collect(), whole_target })
}

/// The error of paths that do not exist there. A run that has failed may not have come so far:
/// of it only a warning is left, since its own exit code counts.
pub(super) fn missing(paths: &[RelativePath], ending: Ending) -> Result<Option<String>, Error> {
    let Some(first) = paths.first() else { return Ok(None) };
    let others = match paths.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    let shown = first.absolute();
    let text = format!("`{}`{others} was not fetched: it does not exist there", shown.display());
    match ending {
        Ending::Exited(0) => Err(Error::new(
            ErrorKind::Results,
            text,
            "name what a run has written, relative to this directory; what was fetched is in place",
        )),
        _ => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_in_the_workspace_or_its_target_directory() {
        let find = |name: &str| {
            let (workspace, target) = (Path::new("/w/app"), Path::new("/t"));
            named_paths(&[name.to_owned()], Path::new("/w/app/src"), workspace, target)
        };
        let shown = |name| find(name).unwrap().paths[0].display().to_string();
        for (name, expected) in [
            ("data", "w/app/src/data"),
            ("../out/x", "w/app/out/x"),
            ("/t/tmp", "t/tmp"),
            ("./all", "w/app/src/all"),
        ] {
            assert_eq!(shown(name), expected);
        }
        let target = NamedPaths { whole_target: true, ..NamedPaths::default() };
        assert_eq!(find("/t/x/..").unwrap(), target);
        for name in ["..", "../..", "/"] {
            let error = find(name).unwrap_err();
            assert_eq!(error.to_string(), format!("`--fetch {name}` names the whole workspace"));
        }
        for name in ["/etc/passwd", "../../application/x"] {
            let error = find(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{name}");
            assert_eq!(
                error.to_string(),
                format!("`--fetch {name}` is in neither the workspace nor its target directory")
            );
        }
    }

    #[test]
    fn what_is_missing_is_an_error_unless_the_run_has_failed() {
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        assert_eq!(missing(&[], Ending::Exited(0)).unwrap(), None);
        let paths = [path("w/a"), path("w/b")];
        let text = "`/w/a`, and 1 more was not fetched: it does not exist there";
        assert_eq!(missing(&paths, Ending::Exited(0)).unwrap_err().to_string(), text);
        assert_eq!(missing(&paths, Ending::Exited(101)).unwrap().unwrap(), text);
    }
}
