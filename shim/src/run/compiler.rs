//! The compiler that a variable of this shell names. The agent has one of its own, so a run
//! would silently use another one.

use std::ffi::OsStr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
