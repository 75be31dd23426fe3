use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::sandbox;

const MANIFEST: &str = "[package]\nname = 'kit'\nversion = '0.1.0'\nedition = '2021'\n\
    [lib]\ncrate-type = ['rlib', 'cdylib', 'staticlib']\n[profile.dev]\ndebug = 0\n";

#[test]
fn build_brings_programs_back_and_nothing_else() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let ended = project.ok("build");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("Compiling hello v0.1.0"), "{}", ended.stderr);
    assert!(ended.stderr.contains("on this machine"), "{}", ended.stderr);
    assert_eq!(project.output_of("target/debug/hello"), "hello\n");
    assert!(project.read("target/debug/hello.d").contains("src/main.rs"));
    assert!(project.read("Cargo.lock").contains("hello"), "the lock file comes back");
    let mut names: Vec<_> = fs::read_dir(project.root.join("target/debug"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["hello", "hello.d"]);

    project.write("src/main.rs", "fn main() {\n    println!(\"olleh\");\n}\n");
    project.ok("build --release");
    assert_eq!(project.output_of("target/release/hello"), "olleh\n");
    assert_eq!(project.output_of("target/debug/hello"), "hello\n");

    // A program that was deleted here comes back though cargo has nothing to do.
    fs::remove_file(project.root.join("target/release/hello")).unwrap();
    let ended = project.ok("build --release");
    burst_tests::assert_progress(
        &ended,
        "    Finished `release` profile [optimized] target(s) in [..]\nburst: on this machine, [..]\n",
    );
    assert_eq!(project.output_of("target/release/hello"), "olleh\n");
}

#[test]
fn the_program_is_the_one_that_cargo_makes_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    println!(\"{}\", file!());\n    panic!(env!(\"CARGO_MANIFEST_DIR\"));\n}\n");
    let local = sandbox
        .command("cargo", &project.root)
        .args(["build", "-q", "--target-dir"])
        .arg(sandbox.path().join("plain"))
        .status()
        .unwrap();
    assert!(local.success());
    project.ok("build");
    let plain = fs::read(sandbox.path().join("plain/debug/hello")).unwrap();
    assert!(plain == fs::read(project.root.join("target/debug/hello")).unwrap());
}

#[test]
fn libraries_and_examples_come_back() {
    let sandbox = sandbox();
    let project = sandbox.project(
        "kit",
        &[
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", "#[no_mangle]\npub extern \"C\" fn kit() {}\n"),
            ("examples/show.rs", "fn main() { println!(\"shown\") }\n"),
        ],
    );
    project.ok("build --examples");
    assert_eq!(project.output_of("target/debug/examples/show"), "shown\n");
    project.ok("build");
    for file in ["libkit.so", "libkit.a", "libkit.d", "libkit.rlib"] {
        assert!(project.has(&format!("target/debug/{file}")), "{file}");
    }
    assert!(!project.has("target/debug/deps"));
}

#[test]
fn target_directories_are_where_cargo_would_put_them() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let flag = sandbox.path().join("flag");
    project.ok(&format!("build --target-dir {}", flag.display()));
    assert!(flag.join("debug/hello").exists() && !project.has("target"));

    let variable = sandbox.path().join("variable");
    let status = project.command("build -q").env("CARGO_TARGET_DIR", &variable).status().unwrap();
    assert!(status.success() && variable.join("debug/hello").exists());

    project.write(".cargo/config.toml", "[build]\ntarget-dir = 'made/here'\n");
    project.ok("build");
    assert_eq!(project.output_of("made/here/debug/hello"), "hello\n");

    let triple = "x86_64-unknown-linux-gnu";
    if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        project.ok(&format!("build --target {triple}"));
        assert!(project.has(&format!("made/here/{triple}/debug/hello")));
    }
    project.write(
        "Cargo.toml",
        &(project.read("Cargo.toml") + "[profile.lean]\ninherits = 'release'\n"),
    );
    project.ok("build --profile lean");
    assert!(project.has("made/here/lean/hello"));
}

#[test]
fn workspaces_from_any_directory() {
    let sandbox = sandbox();
    let member =
        |name: &str| format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n");
    let project = sandbox.project(
        "work",
        &[
            ("Cargo.toml", "[workspace]\nmembers = ['a', 'b']\nresolver = '2'\n"),
            ("a/Cargo.toml", &member("a")),
            ("a/src/main.rs", "fn main() { println!(\"a\") }\n"),
            ("b/Cargo.toml", &member("b")),
            ("b/src/bin/one.rs", "fn main() { println!(\"one\") }\n"),
            ("b/src/bin/two.rs", "fn main() { println!(\"two\") }\n"),
        ],
    );
    let inside = sandbox.burst_command(&project.root.join("a/src"), "build -q").status().unwrap();
    assert!(inside.success());
    assert!(project.has("target/debug/a") && !project.has("target/debug/one"));
    let outside = sandbox
        .burst_command(sandbox.path(), "build -q --manifest-path work/b/Cargo.toml --bin two");
    let mut outside = outside;
    assert!(outside.status().unwrap().success());
    assert!(project.has("target/debug/two") && !project.has("target/debug/one"));
    project.ok("build -p b");
    assert_eq!(project.output_of("target/debug/one"), "one\n");
}

#[test]
fn dependencies_outside_of_the_workspace_and_configuration_above_it() {
    let sandbox = sandbox();
    sandbox.project(
        "shared",
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = ['dep']\n[workspace.package]\nversion = '1.2.3'\n",
            ),
            ("dep/Cargo.toml", "[package]\nname = 'dep'\nversion.workspace = true\n"),
            ("dep/src/lib.rs", "pub fn text() -> &'static str { env!(\"FROM_ABOVE\") }\n"),
        ],
    );
    let project = sandbox.project(
        "up/app",
        &[
            (
                "Cargo.toml",
                "[package]\nname = 'app'\nversion = '0.1.0'\n[dependencies]\ndep = { path = '../../shared/dep' }\n",
            ),
            ("src/main.rs", "fn main() { println!(\"{}\", dep::text()) }\n"),
        ],
    );
    fs::create_dir_all(sandbox.path().join("up/.cargo")).unwrap();
    fs::write(sandbox.path().join("up/.cargo/config.toml"), "[env]\nFROM_ABOVE = 'yes'\n").unwrap();
    project.ok("build");
    assert_eq!(project.output_of("target/debug/app"), "yes\n");
    let dep = sandbox.path().join("shared/dep/src/lib.rs");
    fs::write(dep, "pub fn text() -> &'static str { \"changed\" }\n").unwrap();
    project.ok("build");
    assert_eq!(project.output_of("target/debug/app"), "changed\n");
}

#[test]
fn cargos_codes_pass_through() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() { std::process::exit(37) }\n");
    assert_eq!(project.burst("run").code, Some(37));
    assert_eq!(project.burst("build --no-such-flag").code, Some(1));
    project.write("src/main.rs", "fn main() { panic!() }\n");
    assert_eq!(project.burst("run").code, Some(101));
    project.write("src/main.rs", "fn main() { nonsense }\n");
    let ended = project.burst("build");
    assert_eq!(ended.code, Some(101));
    assert!(ended.stderr.contains("cannot find value `nonsense`"), "{}", ended.stderr);
    let shown = format!("--> {}", "src/main.rs:1:13");
    assert!(ended.stderr.contains(&shown), "{}", ended.stderr);
}

#[test]
fn standard_output_is_cargos_alone() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let ended = project.ok("run -q");
    assert_eq!(ended.stdout, "hello\n");
    let ended = project.ok("build --message-format json");
    let reasons: Vec<String> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"].to_string())
        .collect();
    assert!(reasons.contains(&"\"compiler-artifact\"".to_owned()), "{reasons:?}");
    assert!(ended.stdout.contains(&format!("{}/target/debug/hello", project.root.display())));
    project.write("src/main.rs", "fn main() { let x = 1; }\n");
    let ended = project.ok("build --message-format short");
    burst_tests::assert_progress(
        &ended,
        "   Compiling hello v0.1.0 ([..])\n\
         src/main.rs:1:17: warning: unused variable: `x`: help: if this is intentional, prefix it \
         with an underscore: `_x`\n\
         warning: `hello` (bin \"hello\") generated 1 warning[..]\n    \
         Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n\
         burst: on this machine, [..]\n",
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(project.output_of("target/debug/hello"), "");
}

#[test]
fn what_a_run_changes_in_the_sources_comes_back() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\nmade-ignored\n");
    project.write("old", "old");
    project.write("kept", "kept");
    project.write(
        "src/main.rs",
        "use std::fs;\nfn main() {\n    fs::write(\"made\", \"made\").unwrap();\n    fs::write(\"made-ignored\", \"ignored\").unwrap();\n    fs::create_dir_all(\"deep/er\").unwrap();\n    fs::write(\"deep/er/x\", \"x\").unwrap();\n    fs::remove_file(\"old\").ok();\n    fs::write(\"kept\", \"kept\").unwrap();\n    std::process::exit(3);\n}\n",
    );
    assert_eq!(project.burst("run -q").code, Some(3));
    assert_eq!(project.read("made"), "made");
    assert_eq!(project.read("made-ignored"), "ignored");
    assert_eq!(project.read("deep/er/x"), "x");
    assert!(!project.has("old"));
    assert_eq!(project.read("kept"), "kept");
    // What came back is ours: it is neither sent nor returned again.
    let ended = project.burst("-v run -q");
    assert!(ended.stderr.contains("0 written, 0 removed"), "{}", ended.stderr);
    // Deleting it here deletes it there, also where git ignores it.
    fs::remove_file(project.root.join("made-ignored")).unwrap();
    project.write(
        "src/main.rs",
        "fn main() { assert!(!std::path::Path::new(\"made-ignored\").exists()) }\n",
    );
    project.ok("run -q");
}

#[test]
fn what_was_edited_meanwhile_is_not_overwritten() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let edited = project.root.join("notes");
    fs::write(&edited, "before").unwrap();
    let started = sandbox.path().join("started");
    let go_on = sandbox.path().join("go-on");
    project.write(
        "src/main.rs",
        format!(
            "fn main() {{\n    std::fs::write(\"notes\", \"by the run\").unwrap();\n    std::fs::write({started:?}, \"\").unwrap();\n    while !std::path::Path::new({go_on:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}\n}}\n"
        ),
    );
    let running = project
        .command("run")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !started.exists() {
        std::thread::yield_now();
    }
    fs::write(&edited, "by hand").unwrap();
    fs::write(&go_on, "").unwrap();
    let ended = burst_tests::ended(running.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(project.read("notes"), "by hand");
    assert_eq!(project.read("notes.from-burst"), "by the run");
    assert!(ended.stderr.contains("notes.from-burst"), "{}", ended.stderr);
    // The next run has the version from here again, and the copy is not sent.
    project.write("src/main.rs", "fn main() { print!(\"{}\", std::fs::read_to_string(\"notes\").unwrap()); assert!(!std::path::Path::new(\"notes.from-burst\").exists()) }\n");
    assert_eq!(project.ok("run -q").stdout, "by hand");
}

#[test]
fn tests_are_nextest_then_documentation() {
    if burst_tests::lacks(&["cargo-nextest"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.project(
        "lib",
        &[
            ("Cargo.toml", "[package]\nname = 'lib'\nversion = '0.1.0'\nedition = '2021'\n"),
            (
                "src/lib.rs",
                "/// ```\n/// assert_eq!(lib::two(), 2);\n/// ```\npub fn two() -> u32 { 2 }\n#[test]\nfn unit() { assert_eq!(two(), 2) }\n",
            ),
            ("tests/outer.rs", "#[test]\nfn outer() { assert_eq!(lib::two(), 2) }\n"),
        ],
    );
    let ended = project.ok("test");
    assert!(ended.stderr.contains("2 tests run: 2 passed"), "{}", ended.stderr);
    assert!(ended.stdout.contains("src/lib.rs - two (line 1) ... ok"), "{}", ended.stdout);
    for (arguments, documentation) in [
        ("test --test outer", false),
        ("test --no-doctests", false),
        ("test --cargo-test", true),
        ("test --doc", true),
    ] {
        let ended = project.ok(arguments);
        assert_eq!(
            ended.stdout.contains("(line 1) ... ok"),
            documentation,
            "{arguments}: {ended:?}"
        );
    }
    project.write("tests/outer.rs", "#[test]\nfn outer() { panic!(\"no\") }\n");
    assert_eq!(project.burst("test").code, Some(100));
    assert_eq!(project.burst("test --cargo-test").code, Some(101));
    assert_eq!(project.burst("nextest run").code, Some(100));
    assert!(!project.has("target/debug"));
}

#[test]
fn checks_docs_and_any_other_command() {
    let sandbox = sandbox();
    let project = sandbox.project(
        "lib",
        &[
            ("Cargo.toml", "[package]\nname = 'lib'\nversion = '0.1.0'\nedition = '2021'\n"),
            ("src/lib.rs", "/// Two.\npub fn two() -> u32 { return 2; }\n"),
        ],
    );
    project.ok("check");
    let ended = project.burst("clippy -- -D warnings");
    assert_eq!(ended.code, Some(101), "{ended:?}");
    assert!(ended.stderr.contains("needless_return"), "{}", ended.stderr);
    assert!(!project.has("target"));
    project.ok("doc --no-deps");
    assert!(project.read("target/doc/lib/fn.two.html").contains("Two."));
    project.ok("rustc -- -C debuginfo=0");
    // `--fix` edits come back.
    project.ok("-- clippy --fix --allow-no-vcs -q");
    assert_eq!(project.read("src/lib.rs").matches("return").count(), 0);
    let ended = project.ok("-- tree");
    assert!(ended.stdout.starts_with("lib v0.1.0"), "{}", ended.stdout);
    project.ok("build --timings");
    assert!(fs::read_dir(project.root.join("target/cargo-timings")).unwrap().count() > 0);
}

#[test]
fn bench_reports_come_back_and_fetching_can_be_left() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(
        "Cargo.toml",
        &(project.read("Cargo.toml") + "[[bench]]\nname = 'fake'\nharness = false\n"),
    );
    // A stand-in for criterion: what matters is where it writes.
    project.write(
        "benches/fake.rs",
        "fn main() {\n    std::fs::create_dir_all(\"target/criterion/a/report\").unwrap();\n    std::fs::write(\"target/criterion/a/report/index.html\", \"figures\").unwrap();\n}\n",
    );
    project.ok("bench");
    assert_eq!(project.read("target/criterion/a/report/index.html"), "figures");
    project.ok("build --no-fetch");
    assert!(!project.has("target/debug/hello"));
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{:?} {:?}\", std::env::var(\"A\"), std::env::var(\"B\")) }\n",
    );
    let ended = burst_tests::ended(
        project.command("run -q --env A=1=2 --env B --env PATH").env("B", "two").output().unwrap(),
    );
    assert_eq!(ended.stdout, "Ok(\"1=2\") Ok(\"two\")\n");
    assert_eq!(
        ended.stderr,
        "warning: PATH is not forwarded: the agent needs a value of its own\n"
    );
}

#[test]
fn modes_links_and_odd_names_arrive() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("script.sh", "#!/bin/sh\necho run\n");
    fs::set_permissions(project.root.join("script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("script.sh", project.root.join("link")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", project.root.join("dangling")).unwrap();
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff\n name");
    fs::write(project.root.join(odd), "odd").unwrap();
    project.write(
        "src/main.rs",
        "use std::os::unix::ffi::OsStrExt;\nfn main() {\n    let out = std::process::Command::new(\"./link\").output().unwrap();\n    assert_eq!(out.stdout, b\"run\\n\");\n    assert_eq!(std::fs::read_link(\"dangling\").unwrap(), std::path::Path::new(\"/nowhere/at/all\"));\n    assert_eq!(std::fs::read(std::ffi::OsStr::from_bytes(b\"odd \\xff\\n name\")).unwrap(), b\"odd\");\n}\n",
    );
    project.ok("run -q");
}

#[test]
fn the_calling_shells_path_counts_not_that_of_the_agents_start() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project
        .write("src/main.rs", "fn main() { print!(\"{}\", std::env::var(\"PATH\").unwrap()) }\n");
    project.ok("build");
    let path = format!("{}:/only/in/this/shell", std::env::var("PATH").unwrap());
    let ended = burst_tests::ended(project.command("run -q").env("PATH", &path).output().unwrap());
    assert!(ended.stdout.contains(":/only/in/this/shell"), "{ended:?}");
}

/// What writes outside of the workspace runs here: what it says that it has done is done.
#[test]
fn verbs_that_write_elsewhere_do_so_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".cargo/config.toml", "[alias]\nput = 'install --path . --offline'\n");
    let notice = |verb: &str| {
        format!(
            "burst: `{verb}` runs on this machine, and so does its compiler: it writes outside of \
             the workspace or needs credentials of yours"
        )
    };
    for (index, way) in
        ["install --path . --offline", "-- install --path . --offline", "put"].iter().enumerate()
    {
        let root = sandbox.path().join(format!("root{index}"));
        let ended = project.ok(&format!("{way} --root {}", root.display()));
        let told = ended.stderr.lines().any(|line| line == notice("install"));
        assert_eq!(told, *way != "put", "{}", ended.stderr);
        assert_eq!(project.output_of(root.join("bin/hello").to_str().unwrap()), "hello\n");
    }
    let ended = project.ok("package --allow-dirty --offline");
    assert!(ended.stderr.lines().any(|line| line == notice("package")), "{}", ended.stderr);
    assert!(project.has("target/package/hello-0.1.0.crate"));
    project.ok("-- new other");
    assert!(project.has("other/Cargo.toml"));
    let ended = project.burst("-q package --allow-dirty --offline");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
}
