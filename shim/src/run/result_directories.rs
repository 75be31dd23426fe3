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

use super::request::{CargoVerb, RunArguments};
use crate::cargo_options::{has_option, value_of, values_of};

/// The directories of the results, relative to the target directory.
pub(super) fn result_directories(run: &RunArguments, returns: &Returns) -> Vec<RelativePath> {
    let options = run.options();
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
        if let Some(profile) = &returns.profile {
            let platform = platform.into_iter();
            let profile = OsStr::from_bytes(profile.as_bytes());
            let examples = platform.chain([profile, OsStr::new("examples")]);
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

/// The directory of the profile that a command line selects.
pub(super) fn profile_directory(run: &RunArguments) -> OsString {
    let options = run.options();
    let is_release = has_option(options, &["--release", "-r"]);
    let option = match run.verb {
        CargoVerb::Nextest => "--cargo-profile",
        _ => "--profile",
    };
    match value_of(options, option) {
        None if is_release || run.verb == CargoVerb::Bench => "release".into(),
        None => "debug".into(),
        Some(profile) if profile == "dev" || profile == "test" => "debug".into(),
        Some(profile) if profile == "bench" => "release".into(),
        Some(profile) => profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burst_protocol::FileName;

    use crate::run::request::Flags;

    fn run(verb: CargoVerb, arguments: &str) -> RunArguments {
        let arguments: Vec<_> = arguments.split_whitespace().map(Into::into).collect();
        let options = arguments.len();
        RunArguments { verb, alias: None, arguments, options, flags: Flags::default() }
    }

    #[test]
    fn results_go_where_the_command_line_says() {
        let every = Returns {
            profile: FileName::new(b"debug").ok(),
            named: true,
            criterion: true,
            timings: true,
            docs: true,
            tests: true,
            whole: None,
            paths: Vec::new(),
        };
        let artifacts = Returns { profile: every.profile.clone(), ..Returns::default() };
        for (arguments, returns, expected) in [
            ("", &Returns::default(), vec![]),
            ("", &artifacts, vec!["debug/examples"]),
            (
                "--target a-b --target x/own.json",
                &artifacts,
                vec!["debug/examples", "a-b/debug/examples", "own/debug/examples"],
            ),
            ("", &every, vec!["debug/examples", "doc", "criterion", "cargo-timings"]),
        ] {
            let run = run(CargoVerb::Build, arguments);
            let found: Vec<_> = result_directories(&run, returns)
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            assert_eq!(found, expected, "{run:?}");
        }
    }

    #[test]
    fn a_profile_has_its_directory() {
        for (verb, arguments, expected) in [
            (CargoVerb::Build, "", "debug"),
            (CargoVerb::Build, "-r", "release"),
            (CargoVerb::Test, "--profile test", "debug"),
            (CargoVerb::Run, "--profile=lto", "lto"),
            (CargoVerb::Bench, "", "release"),
            (CargoVerb::Bench, "--profile dev", "debug"),
            (CargoVerb::Nextest, "run --profile ci --cargo-profile lto", "lto"),
        ] {
            assert_eq!(profile_directory(&run(verb, arguments)), expected, "{arguments}");
        }
    }
}
