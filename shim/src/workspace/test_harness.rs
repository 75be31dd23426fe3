//! Test targets that bring a harness of their own (`harness = false`): their program may do
//! anything, and nextest can only run what lists its tests as the harness of Rust does.
//!
//! `cargo metadata` does not tell, so the manifests are read. Whether such a program lists its
//! tests is known only once it has run.

use std::ffi::OsString;

use toml::{Table, Value};

use super::manifest;
use super::metadata::{Package, Target};
use crate::cargo_options::{has_option, values_of};

/// The first selected test target of a package with a harness of its own.
pub(super) fn own_harness(package: &Package, arguments: &[OsString]) -> Option<String> {
    let manifest = manifest::table(&package.manifest_path)?;
    let mut targets = package.targets.iter();
    let found =
        targets.find(|target| is_selected(target, arguments) && has_own_harness(&manifest, target));
    found.map(|target| target.name.clone())
}

/// Whether the manifest of a target's package gives it a harness of its own.
fn has_own_harness(manifest: &Table, target: &Target) -> bool {
    let is_own = |table: &Value| table.get("harness").and_then(Value::as_bool) == Some(false);
    let Some(kind) = target.kind.first() else { return false };
    if let "bin" | "example" | "test" | "bench" = kind.as_str() {
        let tables = manifest.get(kind).and_then(Value::as_array);
        let is_target = |table: &&Value| {
            let name = table.get("name").and_then(Value::as_str);
            name == Some(&target.name)
        };
        return tables.into_iter().flatten().filter(is_target).any(is_own);
    }
    // A library has kinds of many names.
    kind != "custom-build" && manifest.get("lib").is_some_and(is_own)
}

/// Whether the options of `cargo test` select a target.
fn is_selected(target: &Target, arguments: &[OsString]) -> bool {
    const SELECTING: [&str; 10] = [
        "--lib",
        "--bins",
        "--bin",
        "--examples",
        "--example",
        "--tests",
        "--test",
        "--benches",
        "--bench",
        "--all-targets",
    ];
    let has = |name: &str| has_option(arguments, &[name]);
    if !has_option(arguments, &SELECTING) || has("--tests") && target.test {
        return target.test;
    }
    let is_named = |option: &str| {
        let mut names = values_of(arguments, option, option).into_iter();
        names.any(|name| {
            let name = name.to_string_lossy();
            // A pattern may select anything.
            name == target.name || name.contains(['*', '?', '['])
        })
    };
    let selects = match target.kind.first().map_or("", String::as_str) {
        "bin" => has("--bins") && target.test || is_named("--bin"),
        "example" => has("--examples") || is_named("--example"),
        "test" => is_named("--test"),
        "bench" => has("--benches") || is_named("--bench"),
        _ => has("--lib"),
    };
    selects || has("--all-targets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, name: &str, test: bool) -> Target {
        let json = format!(
            "{{\"name\": {name:?}, \"kind\": [{kind:?}], \"src_path\": \"/x\", \"test\": {test}}}"
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_manifest_tells_which_targets_have_a_harness_of_their_own() {
        let manifest: Table = "[lib]\nharness = false\n[[test]]\nname = 'a'\nharness = false\n\
                               [[test]]\nname = 'b'\n[[bench]]\nname = 'b'\nharness = false\n"
            .parse()
            .unwrap();
        for (kind, name, expected) in [
            ("test", "a", true),
            ("test", "b", false),
            ("test", "c", false),
            ("bench", "b", true),
            ("cdylib", "x", true),
            ("bin", "x", false),
            ("custom-build", "build-script-build", false),
        ] {
            let found = has_own_harness(&manifest, &target(kind, name, true));
            assert_eq!(found, expected, "{kind} {name}");
        }
    }

    #[test]
    fn options_select_targets_as_cargo_test_does() {
        let targets = [
            ("lib", "l", true),
            ("bin", "b", true),
            ("example", "e", false),
            ("test", "t", true),
            ("test", "off", false),
            ("bench", "c", false),
        ]
        .map(|(kind, name, test)| target(kind, name, test));
        for (line, expected) in [
            ("", "l b t"),
            ("--tests", "l b t"),
            ("--lib", "l"),
            ("--bins", "b"),
            ("--test off", "off"),
            ("--test=t* --example e", "e t off"),
            ("--benches --bin b", "b c"),
            ("--tests --bench c", "l b t c"),
            ("--all-targets", "l b e t off c"),
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let selected = targets.iter().filter(|target| is_selected(target, &words));
            let names: Vec<&str> = selected.map(|target| target.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{line}");
        }
    }
}
