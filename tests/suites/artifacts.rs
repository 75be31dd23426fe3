//! Which files of the target directory are here after a run, held against cargo.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burst_tests::{BuildLayout, Project, Sandbox};

use crate::sandbox;

const MACRO: &[(&str, &str)] = &[
    ("Cargo.toml", "[workspace]\nmembers = ['app', 'words']\nresolver = '2'\n"),
    (".gitignore", "/target\n"),
    (
        "app/Cargo.toml",
        "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\nwords = { path = '../words' }\n[profile.dev]\ndebug = 0\n",
    ),
    (
        "app/build.rs",
        "fn main() {\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    std::fs::write(format!(\"{out}/made.rs\"), \"\\\"made\\\"\").unwrap();\n    std::fs::write(format!(\"{out}/c.o\"), \"object\").unwrap();\n    println!(\"cargo:rerun-if-changed=build.rs\");\n}\n",
    ),
    (
        "app/src/lib.rs",
        "pub fn made() -> &'static str { include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\")) }\n",
    ),
    ("app/src/main.rs", "fn main() { println!(\"{}\", app::made()); words::nothing!(); }\n"),
    ("app/examples/show.rs", "fn main() {}\n"),
    (
        "app/tests/one.rs",
        "#[test]\nfn one() {\n    std::fs::write(concat!(env!(\"CARGO_TARGET_TMPDIR\"), \"/kept\"), \"kept\").unwrap();\n    assert!(std::path::Path::new(env!(\"CARGO_BIN_EXE_app\")).exists());\n}\n",
    ),
    (
        "words/Cargo.toml",
        "[package]\nname = 'words'\nversion = '0.1.0'\nedition = '2021'\n[lib]\nproc-macro = true\n",
    ),
    (
        "words/src/lib.rs",
        "#[proc_macro]\npub fn nothing(_: proc_macro::TokenStream) -> proc_macro::TokenStream { Default::default() }\n",
    ),
];

/// The files for users below a target directory: without those that cargo keeps for itself.
fn files_for_users(target: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![target.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_cargos = ["deps", "build", "incremental", "CACHEDIR.TAG"].contains(&&*name);
            // An example has a second name with a hash.
            let is_hashed = name.split('.').next().unwrap().rsplit('-').next().unwrap().len() == 16;
            if is_cargos || is_hashed || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(target).unwrap().display().to_string());
            }
        }
    }
    found
}

/// What plain cargo leaves for users, in a target directory of its own.
fn plain(sandbox: &Sandbox, project: &Project<'_>, arguments: &str) -> BTreeSet<String> {
    let target = sandbox.path().join("plain");
    fs::remove_dir_all(&target).ok();
    let mut command = sandbox.command("cargo", &project.root);
    let words = arguments.split_whitespace();
    let ended = command.args(words).env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(ended.status.success(), "{ended:#?}");
    files_for_users(&target)
}

/// The messages on a standard output.
fn messages(output: &str) -> Vec<serde_json::Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn paths(message: &serde_json::Value, key: &str) -> Vec<PathBuf> {
    match &message[key] {
        serde_json::Value::String(path) => vec![path.into()],
        serde_json::Value::Array(paths) => {
            paths.iter().map(|path| path.as_str().unwrap().into()).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_verb_leaves_what_cargo_leaves() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = sandbox.project("macros", MACRO);
        for verb in
            ["run -q", "test -q --no-run", "build --all-targets", "build --release", "check"]
        {
            let expected = plain(&sandbox, &project, verb);
            fs::remove_dir_all(project.root.join("target")).ok();
            project.ok(verb);
            assert_eq!(files_for_users(&project.root.join("target")), expected, "{verb}");
        }
        sandbox.assert_layout(&project.root, layout);
    }
}

#[test]
fn the_program_of_a_run_is_here_and_its_output_is_its_own() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    // Output that looks like a message of cargo is the program's.
    let line = r#"{"reason":"compiler-artifact","filenames":["/x"]}"#;
    project.write("src/main.rs", format!("fn main() {{ println!(\"{{}}\", r#\"{line}\"#) }}\n"));
    assert_eq!(project.ok("run -q").stdout, format!("{line}\n"));
    assert_eq!(project.output_of("target/debug/hello"), format!("{line}\n"));
    assert!(project.read("target/debug/hello.d").contains("src/main.rs"));
    project.write("src/main.rs", "fn main() {}\n");
    project.ok("--no-fetch run -q");
    assert_eq!(project.output_of("target/debug/hello"), format!("{line}\n"));
}

#[test]
fn programs_that_messages_name_are_here() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = sandbox.project("macros", MACRO);
        let ended = project.ok("test --no-run --message-format=json");
        let messages = messages(&ended.stdout);
        let programs: Vec<PathBuf> =
            messages.iter().flat_map(|message| paths(message, "executable")).collect();
        // The program, the tests of library and program, the integration test, the example.
        assert_eq!(programs.len(), 6, "{programs:#?}");
        assert!(programs.iter().all(|program| program.exists()), "{programs:#?}");
        let test = programs.iter().find(|path| path.to_str().unwrap().contains("one-")).unwrap();
        let ran = sandbox.command(test, &project.root).output().unwrap();
        assert!(ran.status.success(), "{ran:#?}");
    }
}

/// What rust-analyzer asks with `cargo.buildScripts.overrideCommand`.
#[test]
fn an_editor_finds_macros_and_the_files_of_build_scripts() {
    let sandbox = sandbox();
    let project = sandbox.project("macros", MACRO);
    let ended = project.ok("check --workspace --all-targets --message-format=json");
    let messages = messages(&ended.stdout);
    let files: Vec<PathBuf> =
        messages.iter().flat_map(|message| paths(message, "filenames")).collect();
    let is_library = |path: &&PathBuf| path.extension().is_some_and(|end| end == "so");
    let libraries: Vec<&PathBuf> = files.iter().filter(is_library).collect();
    assert_eq!(libraries.len(), 1, "{files:#?}");
    assert!(libraries[0].exists());
    assert!(files.iter().all(|path| path.extension() != Some("rmeta".as_ref()) || !path.exists()));
    let out: Vec<PathBuf> = messages.iter().flat_map(|message| paths(message, "out_dir")).collect();
    assert_eq!(out.len(), 1);
    assert_eq!(fs::read_to_string(out[0].join("made.rs")).unwrap(), "\"made\"");
    assert!(!out[0].join("c.o").exists());
}

#[test]
fn what_tests_leave_below_target_is_here_unless_it_is_large() {
    let sandbox = sandbox();
    let project = sandbox.project("macros", MACRO);
    project.write(".config/nextest.toml", "[profile.default.junit]\npath = 'junit.xml'\n");
    project.ok("test");
    assert_eq!(project.read("target/tmp/kept"), "kept");
    if !burst_tests::lacks(&["cargo-nextest"]) {
        assert!(project.read("target/nextest/default/junit.xml").contains("<testsuites"));
    }
    project.write(
        "app/tests/one.rs",
        "#[test]\nfn one() {\n    let large = std::fs::File::create(concat!(env!(\"CARGO_TARGET_TMPDIR\"), \"/large\")).unwrap();\n    large.set_len(16 << 20).unwrap();\n}\n",
    );
    let ended = project.ok("test");
    let warning = format!(
        "warning: the files that tests have left in `{}` are not fetched (17 MB): `--fetch` with that path brings them",
        project.root.join("target/tmp").display()
    );
    assert!(ended.stderr.lines().any(|line| line == warning), "{}", ended.stderr);
    assert!(!project.has("target/tmp/large"));
}

/// A debugger opens `.dwo` files where the program names them.
#[test]
fn split_debug_information_comes_with_its_program() {
    for layout in [BuildLayout::Classic, BuildLayout::ByUnit] {
        let sandbox = sandbox().with_layout(layout);
        let project = sandbox.hello("app");
        let manifest = project.read("Cargo.toml");
        project.write(
            "Cargo.toml",
            manifest + "[profile.dev]\nsplit-debuginfo = 'unpacked'\nincremental = false\n",
        );
        let dwo = |target: &Path| {
            let mut directories = vec![target.to_owned()];
            let mut found = BTreeSet::new();
            while let Some(directory) = directories.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        directories.push(path);
                    } else if path.extension().is_some_and(|end| end == "dwo") {
                        found.insert(path.strip_prefix(target).unwrap().to_owned());
                    }
                }
            }
            found
        };
        plain(&sandbox, &project, "build");
        project.ok("build");
        let expected = dwo(&sandbox.path().join("plain"));
        assert!(!expected.is_empty());
        assert_eq!(dwo(&project.root.join("target")), expected);
    }
}

/// The program makes two others of itself, which need what no machine has.
#[test]
fn programs_that_cannot_run_here_are_named() {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        r#"
use std::fs;
fn main() {
    let mut program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let own = fs::metadata("target/debug/hello").unwrap().permissions();
    let mut write = |name: &str, program: &[u8]| {
        let path = format!("target/debug/{name}");
        fs::write(&path, program).unwrap();
        fs::set_permissions(&path, own.clone()).unwrap();
    };
    for at in 0..program.len() - 9 {
        if program[at..].starts_with(b"GLIBC_2.") {
            program[at + 6] = b'9';
        }
    }
    write("later", &program);
    // The architecture: AArch64.
    program[18] = 183;
    write("other", &program);
}
"#,
    );
    assert!(!project.ok("build").stderr.contains("cannot run here"));
    let ended = project.ok("run -q");
    let warnings: Vec<&str> =
        ended.stderr.lines().filter(|line| line.contains("cannot run here")).collect();
    let later = project.root.join("target/debug/later");
    let expected = format!(
        "warning: `{}` (and 1 more) cannot run here: it needs glibc 9.[..], and here is 2.[..]; \
         `--target x86_64-unknown-linux-musl` needs none, an image with an older one does, too",
        later.display()
    );
    burst_tests::assert_lines(&warnings.join("\n"), &expected);
    // Once, when they come.
    assert!(!project.ok("build").stderr.contains("cannot run here"));
}
