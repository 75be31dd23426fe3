//! Packages that only the client can download: of private registries and git repositories. The
//! servers of these tests have no route to anything but the client, and no credentials.

mod overrides;
mod registry;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use burst_tests::{Ended, Project, Sandbox, ended, lacks};
use hetzner_sim::simulator::lock;
use hetzner_sim::{Scenario, Simulator};

use self::registry::Registry;
use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

const TOKEN: &str = "a-secret-of-the-registry";

/// A sandbox whose commands use a simulator, with a cargo home of its own.
fn sandbox_with_home(simulator: &Simulator) -> (Sandbox, PathBuf) {
    let sandbox = sandbox_on(simulator);
    let home = sandbox.path().join("cargo-home");
    std::fs::create_dir(&home).unwrap();
    (sandbox.with("CARGO_HOME", &home), home)
}

/// Leaves the only server nothing but its link to this machine.
fn cut_off(simulator: &Simulator) {
    let server = *lock(&simulator.shared().world).servers.keys().next().unwrap();
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    let cut = std::process::Command::new("ip")
        .args(["-n", &namespace, "route", "delete", "default"])
        .status();
    assert!(cut.unwrap().success());
}

/// A program that prints an answer, then how many files below cargo's home and the working
/// directory contain its first argument.
const MAIN: &str = "fn main() {
    println!(\"{}\", ANSWER);
    let Some(needle) = std::env::args().nth(1) else { return };
    let mut directories = vec![std::env::var_os(\"CARGO_HOME\").unwrap().into(), \".\".into()];
    let (mut read, mut found) = (0, 0);
    while let Some(directory) = directories.pop() {
        let directory: std::path::PathBuf = directory;
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                read += 1;
                found += usize::from(bytes.windows(needle.len()).any(|at| at == needle.as_bytes()));
            }
        }
    }
    println!(\"{} {found}\", read > 10);
}
";

/// A package with these dependencies whose program prints the value of `answer`.
fn app<'a>(sandbox: &'a Sandbox, dependencies: &str, answer: &str) -> Project<'a> {
    let manifest = format!(
        "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\n\
         {dependencies}\n"
    );
    sandbox.project(
        "app",
        &[
            ("Cargo.toml", &manifest),
            ("src/main.rs", &MAIN.replace("ANSWER", answer)),
            (".gitignore", "/target\n"),
        ],
    )
}

/// The units that cargo says it compiles.
fn compiled(ended: &Ended) -> Vec<&str> {
    let units = ended.stderr.lines().filter_map(|line| line.trim().strip_prefix("Compiling "));
    units.filter_map(|unit| unit.split(' ').next()).collect()
}

#[test]
fn a_private_registry_needs_neither_token_nor_route_on_the_server() {
    if lacks(&["sha256sum"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, home) = sandbox_with_home(&simulator);
    let registry = Registry::start(TOKEN);
    registry.publish(&sandbox, "secret", "1.0.0", 42);
    std::fs::write(
        home.join("config.toml"),
        format!(
            "[registry]\nglobal-credential-providers = ['cargo:token']\n[registries.private]\n\
             index = '{}'\n",
            registry.index()
        ),
    )
    .unwrap();
    let project =
        app(&sandbox, "secret = { version = '1', registry = 'private' }", "secret::answer()");
    // Without the token cargo's own error ends the command, before anything is sent.
    let refused = project.burst("sync");
    assert_eq!(refused.code, Some(101), "{refused:#?}");
    let plain = ended(sandbox.command("cargo", &project.root).arg("fetch").output().unwrap());
    assert!(plain.stderr.contains("no token found for `private`"), "{plain:#?}");
    let of_cargo = refused.stderr.split_inclusive('\n').filter(|line| !line.starts_with("burst: "));
    assert_eq!(of_cargo.collect::<String>(), plain.stderr);
    std::fs::write(
        home.join("credentials.toml"),
        format!("[registries.private]\ntoken = '{TOKEN}'\n"),
    )
    .unwrap();
    let synced = project.burst("sync");
    assert_eq!(synced.code, Some(0), "{synced:#?}\n{}", logs(&simulator, &sandbox));
    assert!(synced.stderr.contains("Downloaded secret v1.0.0"), "{}", synced.stderr);
    assert!(project.read("Cargo.lock").contains(&registry.index()));
    cut_off(&simulator);
    registry.requests();
    let run = project.burst(&format!("run -- {TOKEN}"));
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "42\ntrue 0\n");
    assert_eq!(compiled(&run), ["secret", "app"]);
    // A new version is looked for here.
    registry.publish(&sandbox, "secret", "1.1.0", 43);
    let updated = project.burst("update");
    assert_eq!(updated.code, Some(0), "{updated:#?}");
    let run = project.burst("run");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "43\n"), "{run:#?}");
    // What cargo's home has lost is downloaded again, here.
    std::fs::remove_dir_all(home.join("registry")).unwrap();
    registry.requests();
    project.write("src/main.rs", "fn main() { println!(\"{}\", secret::answer() + 1) }\n");
    let run = project.burst("run");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "44\n"), "{run:#?}");
    assert!(registry.requests().contains(&("/dl/secret-1.1.0.crate".to_owned(), true)));
    // Otherwise nothing is asked.
    let run = project.burst("run");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "44\n"), "{run:#?}");
    assert_eq!(registry.requests(), []);
}

/// Runs git in a directory.
fn git(sandbox: &Sandbox, directory: &Path, arguments: &str) {
    std::fs::create_dir_all(directory).unwrap();
    let mut git = sandbox.command("git", directory);
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "me").env(format!("GIT_{role}_EMAIL"), "me@here");
    }
    let ended = git
        .args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(ended.status.success(), "git {arguments}: {ended:?}");
}

/// A repository with a library whose `answer` is this number.
fn repository(sandbox: &Sandbox, name: &str, answer: u32) -> PathBuf {
    let manifest = format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n");
    let library = format!("pub fn answer() -> u32 {{ {answer} }}\n");
    let package = sandbox.project(
        &format!("repositories/{name}"),
        &[("Cargo.toml", &manifest), ("src/lib.rs", &library)],
    );
    for arguments in ["init -q", "add .", "commit -qm first"] {
        git(sandbox, &package.root, arguments);
    }
    package.root
}

fn change(sandbox: &Sandbox, repository: &Path, answer: u32) {
    let library = format!("pub fn answer() -> u32 {{ {answer} }}\n");
    std::fs::write(repository.join("src/lib.rs"), library).unwrap();
    git(sandbox, repository, "commit -qam next");
}

#[test]
fn git_dependencies_need_no_route_on_the_server() {
    if lacks(&["git"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, home) = sandbox_with_home(&simulator);
    let repositories = ["head", "branch", "tag", "rev", "module", "unused"];
    let [head, branch, tag, rev, module, unused] =
        repositories.map(|name| repository(&sandbox, name, 1));
    git(&sandbox, &branch, "checkout -qb next");
    change(&sandbox, &branch, 10);
    change(&sandbox, &tag, 100);
    git(&sandbox, &tag, "tag v1");
    change(&sandbox, &tag, 0);
    change(&sandbox, &rev, 1000);
    let commit = std::fs::read_to_string(rev.join(".git/refs/heads/main")).unwrap();
    change(&sandbox, &rev, 0);
    git(&sandbox, &head, &format!("submodule --quiet add file://{} module", module.display()));
    std::fs::write(
        head.join("src/lib.rs"),
        "#[path = \"../module/src/lib.rs\"] mod inner;\npub use inner::answer;\n",
    )
    .unwrap();
    git(&sandbox, &head, "commit -qam module");
    let at = |path: &Path| format!("git = 'file://{}'", path.display());
    let dependencies = format!(
        "head = {{ {} }}\nbranch = {{ {}, branch = 'next' }}\ntag = {{ {}, tag = 'v1' }}\n\
         rev = {{ {}, rev = '{}' }}\n[patch.crates-io]\nunused = {{ {} }}",
        at(&head),
        at(&branch),
        at(&tag),
        at(&rev),
        commit.trim(),
        at(&unused)
    );
    let sum = "head::answer() + branch::answer() + tag::answer() + rev::answer()";
    let project = app(&sandbox, &dependencies, sum);
    let synced = project.burst("sync");
    assert_eq!(synced.code, Some(0), "{synced:#?}\n{}", logs(&simulator, &sandbox));
    cut_off(&simulator);
    let run = project.burst("run");
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "1111\n", "{run:#?}");
    // As if cargo had run here: its own command has nothing left to do with the lock file.
    let lock = project.read("Cargo.lock");
    let mut locked = sandbox.command("cargo", &project.root);
    let locked = ended(locked.args(["fetch", "--locked", "--offline"]).output().unwrap());
    assert_eq!(locked.code, Some(0), "{locked:#?}");
    // A new commit is fetched here.
    change(&sandbox, &branch, 20);
    let updated = project.burst("update branch");
    assert_eq!(updated.code, Some(0), "{updated:#?}");
    assert_ne!(project.read("Cargo.lock"), lock);
    let run = project.burst("run");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "1121\n"), "{run:#?}");
    assert_eq!(std::fs::read_dir(home.join("git/db")).unwrap().count(), 6);
    // The repositories are sent without what names where they come from.
    project.write("src/main.rs", LIST);
    let listed = project.burst("run");
    assert_eq!(listed.stdout, "{\"HEAD\", \"objects\", \"refs\"}\n", "{listed:#?}");
}

/// A program that prints the names of all files of the repositories in cargo's home.
const LIST: &str = "fn main() {
    let home = std::path::PathBuf::from(std::env::var_os(\"CARGO_HOME\").unwrap());
    let mut names = std::collections::BTreeSet::new();
    for database in std::fs::read_dir(home.join(\"git/db\")).unwrap() {
        let entries = std::fs::read_dir(database.unwrap().path()).unwrap();
        names.extend(entries.map(|entry| entry.unwrap().file_name()));
    }
    println!(\"{names:?}\");
}
";

/// Has this program's calls of cargo written to a file.
fn with_calls_of_cargo(sandbox: Sandbox) -> (Sandbox, PathBuf) {
    let program = sandbox.path().join("cargo");
    let calls = sandbox.path().join("calls");
    let cargo = std::env::var("PATH").unwrap();
    let cargo = std::env::split_paths(&cargo).map(|path| path.join("cargo")).find(|it| it.exists());
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{}\nexec {} \"$@\"\n",
        calls.display(),
        cargo.unwrap().display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (sandbox.with("CARGO", program), calls)
}

/// The calls of cargo since the last call of this function.
fn take(calls: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(calls).unwrap_or_default();
    std::fs::write(calls, "").unwrap();
    text.lines().map(String::from).collect()
}

const OF_WORKSPACE: &str = "metadata --no-deps --format-version 1";
const OF_PACKAGES: &str = "metadata --all-features --format-version 1";

#[test]
fn cargo_is_asked_for_packages_only_if_a_server_needs_some_and_something_has_changed() {
    if lacks(&["git"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, calls) = with_calls_of_cargo(sandbox_on(&simulator));
    let library = repository(&sandbox, "lib", 1);
    let plain = app(&sandbox, "itoa = '1'", "1");
    for _ in 0..2 {
        assert_eq!(plain.burst("sync").code, Some(0));
        assert_eq!(take(&calls), [OF_WORKSPACE]);
    }
    let dependency = format!("lib = {{ git = 'file://{}' }}", library.display());
    let project = app(&sandbox, &dependency, "lib::answer()");
    for expected in [&[OF_WORKSPACE, OF_PACKAGES][..], &[OF_WORKSPACE]] {
        assert_eq!(project.burst("sync").code, Some(0));
        assert_eq!(take(&calls), expected);
    }
    project.write("src/main.rs", "fn main() {}\n");
    assert_eq!(project.burst("sync").code, Some(0));
    assert_eq!(take(&calls), [OF_WORKSPACE]);
    let manifest = project.read("Cargo.toml");
    project.write("Cargo.toml", manifest.replace("0.1.0", "0.2.0"));
    assert_eq!(project.burst("check --locked").code, Some(101));
    assert_eq!(take(&calls), [OF_WORKSPACE, &format!("{OF_PACKAGES} --locked")]);
    for expected in [&[OF_WORKSPACE, OF_PACKAGES][..], &[OF_WORKSPACE]] {
        assert_eq!(project.burst("sync").code, Some(0));
        assert_eq!(take(&calls), expected);
    }
}

/// The agent on this machine uses cargo's home here.
#[test]
fn the_agent_on_this_machine_is_sent_no_packages() {
    if lacks(&["git"]) {
        return;
    }
    let (sandbox, calls) = with_calls_of_cargo(sandbox());
    let library = repository(&sandbox, "lib", 7);
    let dependency = format!("lib = {{ git = 'file://{}' }}", library.display());
    let project = app(&sandbox, &dependency, "lib::answer()");
    assert_eq!(project.ok("run").stdout, "7\n");
    assert_eq!(take(&calls), [OF_WORKSPACE]);
    let tree = sandbox.agent_project(&project.root).join("tree");
    assert!(tree.join(project.root.strip_prefix("/").unwrap()).exists());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"));
    assert!(!tree.join(home.strip_prefix("/").unwrap()).exists());
}
