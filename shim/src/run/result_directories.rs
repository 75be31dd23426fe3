//! Where below the target directory the results of a run go, as far as its command line tells.
//! Pure.
//!
//! No link below the target directory is followed. One in the way of results is found before
//! anything is sent; where only the configuration names a directory, it is found when the
//! results come.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use burst_protocol::RelativePath;
use burst_protocol::message::Returns;

use super::request::RunArguments;
use crate::cargo_options::{has_option, value_of, values_of};

/// The directories of the results, relative to the target directory.
pub(super) fn result_directories(run: &RunArguments, returns: Returns) -> Vec<RelativePath> {
    let options = run.options();
    let is_release = has_option(options, &["--release", "-r"]);
    let profile = profile_directory(value_of(options, "--profile"), is_release);
    let mut directories = Vec::new();
    let mut add = |names: &[&OsStr]| {
        let path = names.join(OsStr::new("/"));
        directories.extend(RelativePath::new(path.as_bytes()).ok());
    };
    let platforms = values_of(options, "--target", "--target");
    // The file of a platform of one's own gives it its name.
    let platforms = platforms.iter().filter_map(|platform| Path::new(platform).file_stem());
    for platform in std::iter::once(None).chain(platforms.map(Some)) {
        let below = |name| platform.into_iter().chain([OsStr::new(name)]).collect::<Vec<_>>();
        if returns.artifacts {
            let platform = platform.into_iter();
            let examples = platform.chain([profile.as_os_str(), OsStr::new("examples")]);
            add(&examples.collect::<Vec<_>>());
        }
        if returns.docs {
            add(&below("doc"));
        }
    }
    if returns.criterion {
        add(&[OsStr::new("criterion")]);
    }
    if returns.timings {
        add(&[OsStr::new("cargo-timings")]);
    }
    directories
}

/// The directory of a profile.
fn profile_directory(profile: Option<OsString>, is_release: bool) -> OsString {
    match profile {
        None if is_release => "release".into(),
        None => "debug".into(),
        Some(profile) if profile == "dev" || profile == "test" => "debug".into(),
        Some(profile) if profile == "bench" => "release".into(),
        Some(profile) => profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::request::{CargoVerb, Flags};

    #[test]
    fn results_go_where_the_command_line_says() {
        let every = Returns { artifacts: true, criterion: true, timings: true, docs: true };
        let artifacts = Returns { artifacts: true, ..Returns::default() };
        for (arguments, returns, expected) in [
            ("", Returns::default(), vec![]),
            ("", artifacts, vec!["debug/examples"]),
            ("-r", artifacts, vec!["release/examples"]),
            ("--profile test", artifacts, vec!["debug/examples"]),
            ("--profile=lto", artifacts, vec!["lto/examples"]),
            (
                "--target a-b --target x/own.json",
                artifacts,
                vec!["debug/examples", "a-b/debug/examples", "own/debug/examples"],
            ),
            ("", every, vec!["debug/examples", "doc", "criterion", "cargo-timings"]),
        ] {
            let arguments: Vec<_> = arguments.split_whitespace().map(Into::into).collect();
            let options = arguments.len();
            let flags = Flags::default();
            let verb = CargoVerb::Build;
            let run = RunArguments { verb, alias: None, arguments, options, flags };
            let found: Vec<_> = result_directories(&run, returns)
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            assert_eq!(found, expected, "{run:?}");
        }
    }
}
