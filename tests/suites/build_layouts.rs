use std::collections::BTreeSet;
use std::fs;

use burst_tests::{BuildLayout, Project, Sandbox, assert_progress};

use crate::sandbox;

const LAYOUTS: [BuildLayout; 2] = [BuildLayout::Classic, BuildLayout::ByUnit];

const FINISHED: &str = "    Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\nburst: on this machine, [..]\n";

/// A package with a library in three forms, two programs, an example and tests.
fn kit(sandbox: &Sandbox) -> Project<'_> {
    sandbox.project(
        "kit",
        &[
            (
                "Cargo.toml",
                "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n\
                 [lib]\ncrate-type = ['rlib', 'cdylib', 'staticlib']\n",
            ),
            ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"kit\"\nversion = \"0.1.0\"\n"),
            ("src/lib.rs", "pub fn kit() -> &'static str { \"kit\" }\n"),
            ("src/main.rs", "fn main() { println!(\"{}\", kit::kit()) }\n"),
            ("src/bin/two.rs", "fn main() { println!(\"two\") }\n"),
            ("examples/show.rs", "fn main() { println!(\"shown\") }\n"),
            ("tests/it.rs", "#[test]\nfn it() { assert_eq!(kit::kit(), \"kit\"); }\n"),
        ],
    )
}

/// The names in a directory of the target directory that was returned.
fn names(project: &Project<'_>, directory: &str) -> BTreeSet<String> {
    fs::read_dir(project.root.join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn programs_arrive_and_fresh_stays_fresh() {
    for layout in LAYOUTS {
        let sandbox = sandbox().with_layout(layout);
        let project = kit(&sandbox);
        project.ok("build");
        sandbox.assert_layout(&project.root, layout);
        assert_eq!(project.output_of("target/debug/kit"), "kit\n");
        assert_eq!(project.output_of("target/debug/two"), "two\n");
        let library =
            ["kit", "kit.d", "libkit.a", "libkit.d", "libkit.rlib", "libkit.so", "two", "two.d"];
        assert_eq!(names(&project, "target/debug"), library.map(String::from).into());
        assert_progress(&project.ok("build"), FINISHED);

        // Of a program that was deleted here only the transfer is repeated.
        fs::remove_file(project.root.join("target/debug/two")).unwrap();
        assert_progress(&project.ok("build"), FINISHED);
        assert_eq!(project.output_of("target/debug/two"), "two\n");

        project.write("src/bin/two.rs", "fn main() { println!(\"2\") }\n");
        assert_progress(
            &project.ok("build"),
            &format!("   Compiling kit v0.1.0 ([..])\n{FINISHED}"),
        );
        assert_eq!(project.output_of("target/debug/two"), "2\n");
    }
}

#[test]
fn examples_come_back_and_tests_stay() {
    for layout in LAYOUTS {
        let sandbox = sandbox().with_layout(layout);
        let project = kit(&sandbox);
        project.ok("build --examples");
        sandbox.assert_layout(&project.root, layout);
        assert_eq!(project.output_of("target/debug/examples/show"), "shown\n");
        let examples = ["show", "show.d"].map(String::from).into();
        assert_eq!(names(&project, "target/debug/examples"), examples);
        project.ok("build --tests");
        let here = || names(&project, "target/debug");
        let all = here();
        assert!(
            all.is_disjoint(&["build", "deps"].map(String::from).into()),
            "{layout:?}: {all:?}"
        );
        let tested = project.ok("test --test it --lib --bins --examples");
        assert!(tested.stderr.contains("1 test run: 1 passed"), "{tested:#?}");
        assert_eq!(here(), all, "{layout:?}");
    }
}
