//! What cargo reads of this machine is on a server, too: whatever git ignores, wherever it is.

use std::fs;
use std::os::unix::fs::symlink;

use burst_tests::{Ended, Project, ended, lacks};
use hetzner_sim::{Scenario, Simulator};

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

/// The manifest of a package.
fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n{rest}")
}

/// A package that the program prints the name of.
fn library(project: &Project<'_>, directory: &str, name: &str) {
    project.write(&format!("{directory}/Cargo.toml"), manifest(name, ""));
    let source = format!("pub fn name() -> &'static str {{ \"{name} in {directory}\" }}\n");
    project.write(&format!("{directory}/src/lib.rs"), source);
}

/// A vendored package, of which cargo verifies a file that is excluded elsewhere.
fn vendored(project: &Project<'_>, directory: &str, name: &str) {
    library(project, directory, name);
    project.write(&format!("{directory}/.vscode/x"), "");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let checksum = format!("{{\"files\":{{\".vscode/x\":\"{empty}\"}},\"package\":\"{empty}\"}}");
    project.write(&format!("{directory}/.cargo-checksum.json"), checksum);
}

fn git(project: &Project<'_>, arguments: &str) {
    let mut git = project.sandbox.command("git", &project.root);
    git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments.split(' '));
    let done = ended(git.output().unwrap());
    assert_eq!(done.code, Some(0), "{arguments}: {done:?}");
}

/// What plain cargo prints here.
fn plainly(project: &Project<'_>, directory: &str, arguments: &str) -> Ended {
    let mut cargo = project.sandbox.command("cargo", &project.root.join(directory));
    cargo.args(arguments.split(' ')).env("CARGO_TARGET_DIR", project.sandbox.path().join("plain"));
    let done = ended(cargo.output().unwrap());
    assert_eq!(done.code, Some(0), "{arguments}: {done:?}");
    fs::remove_file(project.root.join("Cargo.lock")).unwrap();
    done
}

/// Runs the command here and on a server, which must print the same; returns what.
#[track_caller]
fn same(simulator: &Simulator, project: &Project<'_>, directory: &str, arguments: &str) -> String {
    let here = plainly(project, directory, arguments);
    let root = project.root.join(directory);
    let there = ended(project.sandbox.burst_command(&root, arguments).output().unwrap());
    let log = || logs(simulator, project.sandbox);
    assert_eq!(there.code, Some(0), "{arguments}: {there:#?}\n{}", log());
    assert_eq!(there.stdout, here.stdout);
    there.stdout
}

/// A program that prints the names of these packages.
fn printer(names: &[&str]) -> String {
    let lines = names.iter().map(|name| format!("    println!(\"{{}}\", {name}::name());\n"));
    format!("fn main() {{\n{}}}\n", lines.collect::<String>())
}

#[test]
fn packages_are_sent_wherever_they_are() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    if lacks(&["git"]) {
        return;
    }
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.project("work", &[]);
    project.write(
        "Cargo.toml",
        "[workspace]\nresolver = '2'\nmembers = ['app', 'linked', '../beside']\n\
         exclude = ['generated', 'other']\n\
         [patch.crates-io]\npatched = { path = '../patched' }\n",
    );
    let dependencies = "[dependencies]\nlinked = { path = '../linked' }\n\
         beside = { path = '../../beside' }\ngenerated = { path = '../generated/deep' }\n\
         patched = '0.1'\nconfigured = '0.1'\nincluded = '0.1'\noverridden = '0.1'\n";
    project.write("app/Cargo.toml", manifest("app", dependencies));
    let names =
        ["linked", "beside", "generated", "patched", "configured", "included", "overridden"];
    project.write("app/src/main.rs", printer(&names));
    library(&project, "../elsewhere/linked", "linked");
    symlink("../elsewhere/linked", project.root.join("linked")).unwrap();
    library(&project, "../beside", "beside");
    project.write("../beside/Cargo.toml", manifest("beside", "workspace = '../work'\n"));
    library(&project, "generated/deep", "generated");
    // Another one below, and one outside, which only this one names.
    let more = "[dependencies]\nfar = { path = '../../../far' }\n";
    project.write("generated/deep/Cargo.toml", manifest("generated", more));
    project.write("generated/deep/.gitignore", "*\n");
    project.write("generated/deep/src/lib.rs", "pub fn name() -> &'static str { far::name() }\n");
    for name in ["far", "patched", "configured", "included", "overridden"] {
        library(&project, &format!("../{name}"), name);
    }
    project.write(".gitignore", "/target\ngenerated/\nlinked\n/.cargo\n");
    let patch = |name: &str| format!("[patch.crates-io]\n{name} = {{ path = '../{name}' }}\n");
    project
        .write(".cargo/config.toml", format!("include = ['more.toml']\n{}", patch("configured")));
    project.write(".cargo/more.toml", patch("included"));
    project.write("../shared/cargo/extra.toml", patch("overridden"));
    git(&project, "init -q");
    git(&project, "add .");
    let printed = same(
        &simulator,
        &project,
        "",
        "run -q -p app --offline --config ../shared/cargo/extra.toml",
    );
    assert_eq!(printed.lines().count(), names.len(), "{printed}");
    assert_eq!(printed.lines().nth(2), Some("far in ../far"));
}

#[test]
fn registries_that_a_configuration_replaces_are_sent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    if lacks(&["git"]) {
        return;
    }
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.project("work", &[]);
    for (place, ignored) in [("vendor", "/vendor\n"), ("vendor", ""), ("../vendor", "")] {
        project.write("Cargo.toml", manifest("app", "[dependencies]\none = '0.1'\ntwo = '0.1'\n"));
        project.write("src/main.rs", printer(&["one", "two"]));
        project.write(".gitignore", format!("/target\n{ignored}"));
        vendored(&project, &format!("{place}/one"), "one");
        vendored(&project, &format!("{place}/two"), "two");
        project.write(&format!("{place}/private/key"), "secret");
        let config = format!(
            "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\n\
             directory = '{place}'\n"
        );
        project.write(".cargo/config.toml", config);
        git(&project, "init -q");
        let printed = same(&simulator, &project, "", "run -q");
        assert_eq!(printed, format!("one in {place}/one\ntwo in {place}/two\n"));
        fs::remove_dir_all(project.root.join("vendor")).ok();
    }
}

#[test]
fn what_cargo_reads_of_a_package_is_sent_although_git_ignores_it() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    if lacks(&["git"]) {
        return;
    }
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.project("work", &[]);
    project.write("Cargo.toml", "[workspace]\nresolver = '2'\nmembers = ['app']\n");
    let targets = "build = 'make/build.rs'\nreadme = 'READ.md'\n\
                   [[bin]]\nname = 'app'\npath = 'made/app.rs'\n";
    project.write("app/Cargo.toml", manifest("app", targets));
    project.write("app/make/build.rs", "fn main() { println!(\"cargo::rustc-env=MADE=made\"); }\n");
    project.write("app/made/app.rs", "mod beside;\nfn main() { beside::print(); }\n");
    project.write(
        "app/made/beside.rs",
        "pub fn print() {\n    std::fs::write(\"logs/new\", \"\").unwrap();\n    println!(\"{} {} {} {}\", env!(\"MADE\"), env!(\"OF_MEMBER\"), \
         include_str!(\"../READ.md\"), include_str!(\"../node_modules/x\"));\n}\n",
    );
    project.write("app/examples/one.rs", "fn main() { println!(\"example\"); }\n");
    project.write("app/READ.md", "read");
    project.write("app/node_modules/x", "module");
    project.write("app/.cargo/config.toml", "[env]\nOF_MEMBER = 'member'\n");
    project.write("app/secret", "not sent");
    project.write("app/logs/old", "not sent");
    project.write(".gitignore", "/target\nmake\nmade\nexamples\nREAD.md\n.cargo\nsecret\nlogs/\n");
    git(&project, "init -q");
    git(&project, "add -f app/node_modules app/Cargo.toml Cargo.toml .gitignore");
    assert_eq!(same(&simulator, &project, "app", "run -q"), "made member read module\n");
    assert_eq!(same(&simulator, &project, "app", "run -q --example one"), "example\n");
}

/// A repository that ignores everything, such as one of dotfiles, with a workspace in it.
#[test]
fn a_repository_that_ignores_everything_works() {
    if lacks(&["git"]) {
        return;
    }
    let sandbox = sandbox();
    for (added, sent, kept) in [
        (
            true,
            [".gitignore", "src/lib.rs", "data/x"].as_slice(),
            ["src/new.rs", "secret"].as_slice(),
        ),
        (false, &[".gitignore", "src/lib.rs", "data/x", "src/new.rs", "secret"], &[]),
    ] {
        let project = sandbox.project(if added { "added" } else { "new" }, &[]);
        project.write("Cargo.toml", manifest("app", ""));
        for file in ["src/lib.rs", "src/new.rs", "data/x", "secret"] {
            project.write(file, "");
        }
        project.write(".gitignore", "*\n");
        git(&project, "init -q");
        if added {
            git(&project, "add -f .gitignore Cargo.toml src/lib.rs data/x");
        }
        project.ok("check -q");
        let there = sandbox.agent_tree(&project.root);
        assert_eq!(sent.iter().find(|file| !there.join(file).exists()), None, "{added}");
        assert_eq!(kept.iter().find(|file| there.join(file).exists()), None, "{added}");
    }
}

#[test]
fn what_a_configuration_names_is_not_sent_for_its_name_alone() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    for file in ["private/key", "private/x.toml", "private/deep/Cargo.lock", "own/credentials.toml"]
    {
        project.write(&format!("../{file}"), "secret = 1\n");
    }
    project.write("../private/package/.cargo-checksum.json", "{}");
    project.write(
        ".cargo/config.toml",
        "include = ['../../private/x.toml']\npaths = ['../private/deep']\n\
         [source.private]\ndirectory = '../private'\n",
    );
    let found = project.burst("sync");
    assert_eq!(found.code, Some(0), "{found:?}");
    let tree = sandbox.agent_tree(&project.root).with_file_name("private");
    let names: Vec<_> = fs::read_dir(&tree)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["package"]);
}

/// The configuration in cargo's home, and a workspace in the directory of its dependency.
#[test]
fn what_the_configuration_of_the_user_names_is_sent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let home = sandbox.path().join("home/cargo");
    let sandbox = sandbox.with("CARGO_HOME", &home);
    let outer = sandbox.project("outer", &[]);
    library(&outer, ".", "outer");
    library(&outer, "../patched", "patched");
    let project = Project { sandbox: &sandbox, root: outer.root.join("fuzz") };
    let dependencies = "[workspace]\n[dependencies]\nouter = { path = '..' }\npatched = '0.1'\n";
    project.write("Cargo.toml", manifest("fuzz", dependencies));
    project.write("src/main.rs", printer(&["outer", "patched"]));
    let cargo = Project { sandbox: &sandbox, root: home };
    cargo.write("config.toml", "include = ['more.toml']\n[registry]\ntoken = 'secret'\n");
    let patched = sandbox.path().join("patched");
    let patch = format!("[patch.crates-io]\npatched = {{ path = '{}' }}\n", patched.display());
    cargo.write("more.toml", patch);
    let printed = same(&simulator, &project, "", "run -q --offline");
    assert_eq!(printed, "outer in .\npatched in ../patched\n");
    outer.write("src/lib.rs", "pub fn name() -> &'static str { \"edited\" }\n");
    assert_eq!(project.ok("run -q").stdout, "edited\npatched in ../patched\n");
}

/// cargo resolves its configuration from the working directory, wherever that is.
#[test]
fn a_command_names_a_workspace_from_anywhere() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.write(
        "src/main.rs",
        "fn main() {\n    println!(\"{:?} {:?}\", std::env::current_dir().unwrap(), \
         option_env!(\"BESIDE\"));\n}\n#[test]\nfn of_package() {\n    \
         assert!(std::env::current_dir().unwrap().ends_with(\"app\"));\n}\n",
    );
    project
        .write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n");
    let beside = sandbox.project(
        "beside",
        &[(".cargo/config.toml", "[env]\nBESIDE = 'beside'\n[build]\ntarget-dir = 'built'\n")],
    );
    let below = sandbox.path().join("beside/deep/er");
    fs::create_dir_all(&below).unwrap();
    let manifest = project.root.join("Cargo.toml");
    let everywhere = [
        "/".into(),
        "/root".into(),
        "/usr/lib".into(),
        beside.root.clone(),
        below,
        sandbox.path().into(),
    ];
    for directory in &everywhere {
        for verb in ["build", "run -q", "test -q"] {
            let arguments = format!("{verb} --manifest-path {}", manifest.display());
            let there = ended(sandbox.burst_command(directory, &arguments).output().unwrap());
            let mut cargo = sandbox.command("cargo", directory);
            let here = ended(cargo.args(arguments.split(' ')).output().unwrap());
            let shown = format!("{verb} in {}: {there:#?}", directory.display());
            assert_eq!(there.code, here.code, "{shown}");
            if verb == "run -q" {
                assert_eq!(there.stdout, here.stdout, "{shown}");
            }
        }
    }
    assert!(beside.has("built/debug/hello"));
}

/// Such a file is not taken into memory, and is the same one there: its mode, and what a link in
/// its place leads to.
#[test]
fn a_single_file_from_outside_is_sent_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let asks = "fn main() {\n    let output = std::process::Command::new(\"../tool\").output().unwrap();\n    \
                print!(\"{}\", String::from_utf8(output.stdout).unwrap());\n    \
                println!(\"{}\", std::fs::read_to_string(\"../data\").unwrap());\n}\n";
    project.write("src/main.rs", asks);
    project.write("../tool", "#!/bin/sh\necho one\n");
    fs::set_permissions(project.root.join("../tool"), fs::Permissions::from_mode(0o755)).unwrap();
    project.write("../elsewhere/real", "data");
    symlink("elsewhere/real", sandbox.path().join("data")).unwrap();
    sandbox.settings("include_paths = ['../tool', '../data']\n");
    let run = project.burst("run -q");
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "one\ndata\n");
    project.write("../tool", "#!/bin/sh\necho two\n");
    project.write("../elsewhere/real", "other");
    assert_eq!(project.ok("run -q").stdout, "two\nother\n");
    // Nothing of an earlier run is in their place.
    sandbox.settings("");
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{:?}\", [\"../tool\", \"../data\"].map(|path| std::path::Path::new(path).exists())) }\n",
    );
    assert_eq!(project.ok("run -q").stdout, "[false, false]\n");
}
