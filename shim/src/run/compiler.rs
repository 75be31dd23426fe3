//! The compilers of the two sides. The agent has one of its own: what a variable of this shell
//! names would silently not be used, and what another compiler has built is built again by a plain
//! cargo here.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::forwarding::Variables;
use super::request::CargoVerb;
use crate::error::{Error, ErrorKind};

/// The variables that name a compiler to cargo.
const NAMING: [&str; 2] = ["RUSTC", "CARGO_BUILD_RUSTC"];

/// Fails if a variable names a compiler and the verb calls cargo. `rustc` alone names the one
/// that cargo takes anyway.
pub(super) fn check(verb: CargoVerb, here: &Variables) -> Result<(), Error> {
    let named = NAMING.iter().find_map(|name| Some((name, here.get(*name)?)));
    match named {
        Some((name, value)) if verb != CargoVerb::Sync && value != OsStr::new("rustc") => {
            Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "{name} names the compiler `{}` of this machine, which cargo on the agent \
                     would not use",
                    value.display()
                ),
                "unset it; `cargo +TOOLCHAIN burst …` or a rust-toolchain.toml chooses the compiler \
                 of both sides",
            ))
        }
        _ => Ok(()),
    }
}

/// What `rustc -vV` says in a directory; empty if it cannot be called.
pub(super) fn here(directory: &Path) -> String {
    let said = Command::new("rustc").arg("-vV").current_dir(directory).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default()
}

/// Why a plain cargo does not go on from what was built there, if the compilers are not the same.
pub(super) fn other(there: &str, here: &str) -> Option<String> {
    let first_line = |text: &str| text.lines().next().unwrap_or("none").to_owned();
    let is_same = here.trim_end() == there.trim_end();
    (!is_same).then(|| {
        format!(
            "the compiler there is `{}`, here it is `{}`: a plain cargo compiles again",
            first_line(there),
            first_line(here)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_compiler_is_told_of() {
        let there = "rustc 1.95.0 (x)\nbinary: rustc\nhost: a\n";
        assert_eq!(other(there, there), None);
        let here = "rustc 1.94.0 (y)\nbinary: rustc\nhost: a\n";
        assert_eq!(
            other(there, here).unwrap(),
            "the compiler there is `rustc 1.95.0 (x)`, here it is `rustc 1.94.0 (y)`: a plain \
             cargo compiles again"
        );
    }

    #[test]
    fn a_compiler_that_is_not_the_usual_one_is_refused() {
        let checked = |verb, name: &str, value: &str| {
            let here = Variables::from([(name.to_owned(), value.into())]);
            check(verb, &here).map_err(|error| error.to_string())
        };
        assert_eq!(
            checked(CargoVerb::Build, "RUSTC", "/opt/rustc"),
            Err("RUSTC names the compiler `/opt/rustc` of this machine, which cargo on the agent \
                 would not use"
                .to_owned())
        );
        assert!(checked(CargoVerb::Other, "CARGO_BUILD_RUSTC", "mine").is_err());
        for (verb, name, value) in [
            (CargoVerb::Build, "RUSTC", "rustc"),
            (CargoVerb::Build, "RUSTDOC", "/opt/rustdoc"),
            (CargoVerb::Sync, "RUSTC", "/opt/rustc"),
        ] {
            assert_eq!(checked(verb, name, value), Ok(()), "{name}");
        }
    }
}
