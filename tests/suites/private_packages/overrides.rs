//! `paths` in cargo's configuration, over packages that only this machine can download, and over
//! those that it finds beside what it names.

use std::path::Path;

use burst_tests::{Sandbox, lacks};
use hetzner_sim::Scenario;

use super::registry::Registry;
use super::{TOKEN, app, cut_off, git, repository, sandbox_with_home};
use crate::hetzner::{cloud, logs};

/// A library with an `answer`, in a directory of the sandbox.
fn library(sandbox: &Sandbox, directory: &str, name: &str, version: &str, answer: &str) {
    let manifest = format!("[package]\nname = '{name}'\nversion = '{version}'\nedition = '2021'\n");
    let source = format!("pub fn answer() -> u32 {{ {answer} }}\n");
    sandbox.project(directory, &[("Cargo.toml", &manifest), ("src/lib.rs", &source)]);
}

/// cargo asks the source of a package for it, too, if another one takes its place.
#[test]
fn packages_that_paths_replace_are_resolved_on_the_server() {
    if lacks(&["git", "sha256sum"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, home) = sandbox_with_home(&simulator);
    let registry = Registry::start(TOKEN);
    registry.publish(&sandbox, "secret", "1.0.0", 1);
    let settings = format!(
        "[registry]\nglobal-credential-providers = ['cargo:token']\n[registries.private]\nindex = \
         '{}'\ntoken = '{TOKEN}'\n",
        registry.index()
    );
    std::fs::write(home.join("config.toml"), settings).unwrap();
    let remote = repository(&sandbox, "remote", 1);
    library(&sandbox, "nearby/remote", "remote", "0.1.0", "20");
    library(&sandbox, "nearby/secret", "secret", "1.0.0", "300");
    let dependencies = format!(
        "remote = {{ git = 'file://{}' }}\nsecret = {{ version = '1', registry = 'private' }}",
        remote.display()
    );
    let project = app(&sandbox, &dependencies, "remote::answer() + secret::answer()");
    project.write(".cargo/config.toml", "paths = ['../nearby/remote', '../nearby/secret']\n");
    let synced = project.burst("sync");
    assert_eq!(synced.code, Some(0), "{synced:#?}\n{}", logs(&simulator, &sandbox));
    cut_off(&simulator);
    let run = project.burst("run");
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "320\n", "{run:#?}");
}

#[test]
fn of_what_paths_leads_to_only_the_packages_that_cargo_uses_are_sent() {
    if lacks(&["git"]) {
        return;
    }
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, _) = sandbox_with_home(&simulator);
    let inner = repository(&sandbox, "inner", 1);
    let outer = repository(&sandbox, "outer", 2);
    let at = |path: &Path| format!("{{ git = 'file://{}' }}", path.display());
    let manifest = std::fs::read_to_string(outer.join("Cargo.toml")).unwrap();
    let manifest = format!("{manifest}[dependencies]\ninner = {}\n", at(&inner));
    std::fs::write(outer.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(outer.join("src/lib.rs"), "pub use inner::answer;\n").unwrap();
    git(&sandbox, &outer, "commit -qam inner");
    library(&sandbox, "beside/deep/inner", "inner", "0.1.0", "40");
    library(&sandbox, "beside/private", "private", "0.1.0", "0");
    library(&sandbox, "private", "other", "0.1.0", "0");
    let project = app(&sandbox, &format!("outer = {}", at(&outer)), "outer::answer()");
    project.write(
        "src/main.rs",
        "fn main() {\n    let is_there = [\"../beside/deep\", \"../beside/private\", \"../private\"]\
         .map(|path| std::path::Path::new(path).exists());\n    \
         println!(\"{} {is_there:?}\", outer::answer());\n}\n",
    );
    project.write(".cargo/config.toml", "paths = ['..']\n");
    let run = project.burst("run -q");
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "40 [true, false, false]\n", "{run:#?}");
}

/// A lock file can name any package, so what it says does not have one sent.
#[test]
fn a_package_that_only_the_lock_file_names_is_not_sent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let (sandbox, _) = sandbox_with_home(&simulator);
    library(&sandbox, "beside/private", "private", "0.1.0", "0");
    let project = app(&sandbox, "", "std::path::Path::new(\"../beside\").exists()");
    project.write(".cargo/config.toml", "paths = ['..']\n");
    let package = |name: &str| format!("[[package]]\nname = '{name}'\nversion = '0.1.0'\n");
    let lock = format!(
        "version = 4\n{}dependencies = ['private']\n{}source = \
         'registry+https://github.com/rust-lang/crates.io-index'\n",
        package("app"),
        package("private")
    );
    project.write("Cargo.lock", lock);
    let run = project.burst("run -q");
    assert_eq!(run.code, Some(0), "{run:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(run.stdout, "false\n", "{run:#?}");
}
