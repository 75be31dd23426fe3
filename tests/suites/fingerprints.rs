//! What cargo's fingerprints here vouch for: a plain cargo takes nothing for fresh that a run has
//! made from other inputs.

use std::fs;
use std::path::{Path, PathBuf};

use burst_tests::{BuildLayout, Ended, Project, Sandbox, ended, temporaries};

use crate::sandbox;
use crate::whole_target::says_what_is_not_sent;

/// Plain cargo, with the variable `X`.
fn plain(project: &Project<'_>, x: &str, arguments: &str) -> Ended {
    let mut command = project.sandbox.command("cargo", &project.root);
    ended(command.args(arguments.split_whitespace()).env("X", x).output().unwrap())
}

/// What the program says that a plain cargo builds.
fn said_here(project: &Project<'_>, x: &str) -> String {
    let run = plain(project, x, "run -q");
    assert_eq!(run.code, Some(0), "{run:?}");
    run.stdout
}

/// A package whose script, proc macro, program and test depend on the variable `X` or on a file
/// that is not sent.
fn package(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.project(
        "kit",
        &[
            (
                "Cargo.toml",
                "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\nwords = { path = 'words' }\n[workspace]\n",
            ),
            (".gitignore", "/target\nlocal.cfg\n"),
            ("local.cfg", "mine"),
            (
                "build.rs",
                "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    println!(\"cargo:rerun-if-changed=local.cfg\");\n    let text = std::fs::read_to_string(\"local.cfg\").unwrap_or(\"none\".into());\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    std::fs::write(out + \"/cfg.rs\", format!(\"{text:?}\")).unwrap();\n}\n",
            ),
            (
                "src/main.rs",
                "fn main() { println!(\"{} {}\", include!(concat!(env!(\"OUT_DIR\"), \"/cfg.rs\")), words::x!()) }\n",
            ),
            (
                "tests/t.rs",
                "#[test]\nfn t() { assert_eq!(option_env!(\"X\"), Some(\"one\")) }\n",
            ),
            (
                "words/Cargo.toml",
                "[package]\nname = 'words'\nversion = '0.1.0'\nedition = '2021'\n[lib]\nproc-macro = true\n",
            ),
            (
                "words/src/lib.rs",
                "#[proc_macro]\npub fn x(_: proc_macro::TokenStream) -> proc_macro::TokenStream { format!(\"{:?}\", option_env!(\"X\").unwrap_or(\"none\")).parse().unwrap() }\n",
            ),
        ],
    );
    project.ignore("/target\nlocal.cfg\n");
    project
}

#[test]
fn what_messages_bring_does_not_count_as_fresh_here() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = package(&sandbox);
        assert_eq!(said_here(&project, "one"), "mine one\n");
        let tested = plain(&project, "one", "test -q");
        assert_eq!(tested.code, Some(0), "{tested:?}");
        project.ok("-q check --workspace --all-targets --message-format=json");
        project.ok("-q test --no-run --message-format=json");
        assert_eq!(said_here(&project, "one"), "mine one\n", "{layout:?}");
        let tested = plain(&project, "one", "test -q");
        assert_eq!(tested.code, Some(0), "{layout:?}: {tested:?}");
        // The macro is loaded again only where something that uses it is compiled.
        let main = fs::read_to_string(project.root.join("src/main.rs")).unwrap();
        project.write("src/main.rs", main + "//\n");
        assert_eq!(said_here(&project, "one"), "mine one\n", "{layout:?}");
    }
}

/// A package with a test that prints what its dependency `d` has in it of the variable `X`.
fn dependent(sandbox: &Sandbox) -> Project<'_> {
    let project = sandbox.project(
        "u",
        &[
            (
                "Cargo.toml",
                "[package]\nname = 'u'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\nd = { path = 'd' }\n[workspace]\n",
            ),
            ("src/lib.rs", "pub fn x() -> &'static str { d::X }\n"),
            (
                "tests/t.rs",
                "#[test]\nfn t() { println!(\"found: {} {}\", u::x(), d::X) }\n",
            ),
            (
                "d/Cargo.toml",
                "[package]\nname = 'd'\nversion = '0.1.0'\nedition = '2021'\n",
            ),
            (
                "d/src/lib.rs",
                "pub const X: &str = match option_env!(\"X\") { Some(x) => x, None => \"none\" };\n",
            ),
        ],
    );
    project.ignore("/target\n");
    project
}

/// What the test of a [`dependent`] says that a plain cargo builds.
fn test_says(project: &Project<'_>, x: &str) -> String {
    let tested = plain(project, x, "test -q --test t -- --nocapture");
    assert_eq!(tested.code, Some(0), "{tested:?}");
    let said = tested.stdout.lines().find_map(|line| line.strip_prefix("found: "));
    said.unwrap_or_default().to_owned()
}

#[test]
fn a_unit_that_only_cargo_here_has_is_compiled_after_what_it_depends_on_was_brought() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = dependent(&sandbox);
        project.ok("-q build --env X=two --fetch all");
        assert_eq!(test_says(&project, "one"), "one one", "{layout:?}");
        project.ok("-q sync --fetch all");
        assert_eq!(test_says(&project, "two"), "two two", "{layout:?}");
        // What a cargo here has compiled to the same bytes gets its earlier time again.
        assert_eq!(test_says(&project, "one"), "one one", "{layout:?}");
        let built = plain(&project, "two", "build -q");
        assert_eq!(built.code, Some(0), "{built:?}");
        project.ok("-q sync --fetch all");
        assert_eq!(test_says(&project, "two"), "two two", "{layout:?}");
    }
}

#[test]
fn fingerprints_do_not_come_by_path() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = dependent(&sandbox);
        project.ok("-q build --env X=two");
        // What is there is of sources from before this edit.
        project.write("src/lib.rs", "pub fn x() -> &'static str { \"edited\" }\n");
        let ended = project.ok("-q sync --fetch target/debug");
        let note =
            "warning: cargo's fingerprints are not fetched by path: `--fetch all` brings them\n";
        assert_eq!(ended.stderr, note, "{layout:?}");
        assert_eq!(test_says(&project, "two"), "edited two", "{layout:?}");
    }
}

#[test]
fn a_unit_that_only_cargo_here_has_stays_fresh_if_nothing_of_it_was_replaced() {
    let sandbox = sandbox();
    let project = dependent(&sandbox);
    project.ok("-q build --env X=two --fetch all");
    assert_eq!(test_says(&project, "two"), "two two");
    // A program that the test does not depend on.
    project.write("examples/other.rs", "fn main() {}\n");
    project.ok("-q build --examples --env X=two --fetch all");
    let fresh = plain(&project, "two", "test --test t --no-run -v");
    assert_eq!(fresh.stderr.matches("Running `").count(), 0, "{fresh:?}");
}

#[test]
fn a_source_that_is_here_and_was_not_sent_is_compiled_here() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = sandbox.hello("app");
        project.ignore("/target\ndata.txt\n");
        project.write("data.txt", "mine");
        project.write(
            "build.rs",
            "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    if !std::path::Path::new(\"data.txt\").exists() { std::fs::write(\"data.txt\", \"default\").unwrap() }\n}\n",
        );
        project.write(
            "src/main.rs",
            "fn main() { println!(\"{}\", include_str!(\"../data.txt\")) }\n",
        );
        for _ in 0..2 {
            assert_eq!(project.ok("run -q --fetch all").stdout, "default\n", "{layout:?}");
            assert_eq!(said_here(&project, ""), "mine\n", "{layout:?}");
        }
    }
}

/// cargo trims the lines of scripts, and reads all of them.
#[test]
fn an_input_of_a_script_is_found_as_cargo_finds_it() {
    for line in [" cargo:rerun-if-changed=local.cfg", "cargo::rerun-if-changed=local.cfg "] {
        let sandbox = sandbox();
        let statements =
            format!("for _ in 0..20_000 {{ println!(\"{{:80}}\", \"log\"); }} println!({line:?});");
        let project = says_what_is_not_sent(&sandbox, &statements);
        assert_eq!(project.ok("run -q --fetch all").stdout, "there\n");
        assert_eq!(said_here(&project, ""), "here\n", "{line:?}");
    }
}

/// The file of this name below a directory.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| match path
        .is_dir()
    {
        true => find(&path, name),
        false => (path.file_name()? == name).then_some(path),
    })
}

/// Fingerprints are written last: all outputs are here when the download fails at one of them.
#[test]
fn a_download_that_fails_leaves_nothing_that_counts_as_fresh() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let manifest = |name: &str| {
            format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n")
        };
        let project = sandbox.project(
            "both",
            &[
                ("Cargo.toml", "[workspace]\nmembers = ['app', 'other']\nresolver = '2'\n"),
                ("app/Cargo.toml", &manifest("app")),
                ("app/src/main.rs", "fn main() { println!(\"{}\", env!(\"X\")) }\n"),
                ("other/Cargo.toml", &manifest("other")),
                ("other/src/main.rs", "fn main() { println!(\"{}\", env!(\"X\")) }\n"),
            ],
        );
        project.ok("build -q --env X=one --fetch all");
        let built = plain(&project, "one", "build");
        assert!(!built.stderr.contains("Compiling"), "{built:?}");
        // In place of a directory that is not empty nothing can be written.
        let blocked = find(&project.root.join("target"), "dep-bin-other").unwrap();
        fs::remove_file(&blocked).unwrap();
        fs::create_dir_all(blocked.join("x")).unwrap();
        let failed = project.burst("build -q --env X=two --fetch all");
        assert_ne!(failed.code, Some(0), "{failed:?}");
        assert_eq!(project.output_of("target/debug/app"), "two\n");
        fs::remove_dir_all(&blocked).unwrap();
        assert_eq!(temporaries(&project.root), Vec::<PathBuf>::new());
        let run = plain(&project, "one", "run -q --bin app");
        assert_eq!(run.stdout, "one\n", "{layout:?}: {run:?}");
    }
}
