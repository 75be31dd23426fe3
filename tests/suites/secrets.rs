//! What stays here: tokens, our own files, and what git ignores.

mod ignored;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use burst_tests::assert_progress;

use crate::sandbox;

/// The modes of directories, which must be those of their owner alone.
#[track_caller]
fn assert_private(directory: &Path) {
    assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700, "{directory:?}");
}

#[test]
fn other_users_see_nothing_of_ours() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("check -q");
    let ours = [
        "cache/cargo-burst",
        "cache/cargo-burst/local",
        "cache/cargo-burst/local/projects",
        "cache/cargo-burst/workspaces",
        "state/cargo-burst",
        "state/cargo-burst/local",
    ];
    for name in ours {
        assert_private(&sandbox.path().join(name));
    }
    // Those of an earlier version are closed by the next command.
    project.ok("down");
    for name in ours {
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(sandbox.path().join(name), open).unwrap();
    }
    project.ok("check -q");
    for name in ["cache/cargo-burst", "cache/cargo-burst/local/projects", "state/cargo-burst"] {
        assert_private(&sandbox.path().join(name));
    }
}

#[test]
fn tokens_of_the_workspace_stay_here() {
    let sandbox = sandbox();
    let config = "[registries.x]\nindex = 'sparse+https://x.invalid/'\ntoken = 'secret'\n";
    let library = "[package]\nname = 'outside'\nversion = '0.1.0'\nedition = '2021'\n";
    let outside = sandbox.project(
        "outside",
        &[
            ("Cargo.toml", library),
            ("src/lib.rs", ""),
            (".cargo/config.toml", config),
            (".cargo/credentials.toml", "[registry]\ntoken = 'secret'\n"),
        ],
    );
    let project = sandbox.hello("app");
    project.write(
        "Cargo.toml",
        "[package]\nname = 'hello'\nversion = '0.1.0'\nedition = '2021'\n\
         [dependencies]\noutside = { path = '../outside' }\n",
    );
    project.write(".cargo/config.toml", config);
    project.write(".cargo/credentials.toml", "[registries.x]\ntoken = 'secret'\n");
    project.write("sub/.cargo/credentials", "[registry]\ntoken = 'secret'\n");
    project.ok("check -q");
    let sent = "[registries.x]\nindex = 'sparse+https://x.invalid/'\n";
    let there = sandbox.agent_tree(&project.root);
    // The tree of a project also holds its path dependencies, each at its own path.
    assert_eq!(outside.root.parent(), project.root.parent());
    for root in [&there, &there.with_file_name("outside")] {
        assert_eq!(fs::read_to_string(root.join(".cargo/config.toml")).unwrap(), sent);
        assert!(!root.join(".cargo/credentials.toml").exists());
    }
    assert!(!there.join("sub/.cargo/credentials").exists());

    // A run that changes the file never overwrites the one with the token.
    project.write(
        "src/main.rs",
        "fn main() {\n    std::fs::write(\".cargo/config.toml\", \"[net]\\n\").unwrap();\n    \
         std::fs::write(\".cargo/credentials.toml\", \"theirs\").unwrap();\n}\n",
    );
    let ran = project.burst("run -q");
    assert_progress(
        &ran,
        "warning: `.cargo/config.toml` was changed here and by the run: the run's version is in \
         `.cargo/config.toml.from-burst`\n\
         warning: `.cargo/credentials.toml` is here and not sent, so the run has made its own: it \
         is in `.cargo/credentials.toml.from-burst`; until the one here changes or is deleted, \
         further versions stay on the agent\n",
    );
    assert_eq!(project.read(".cargo/config.toml"), config);
    assert_eq!(project.read(".cargo/config.toml.from-burst"), "[net]\n");
    assert_eq!(project.read(".cargo/credentials.toml"), "[registries.x]\ntoken = 'secret'\n");
    // What is here is the truth for the next command.
    project.ok("check -q");
    assert_eq!(fs::read_to_string(there.join(".cargo/config.toml")).unwrap(), sent);
}

/// As a directory, as a directory `.cargo`, and as single files.
#[test]
fn tokens_in_what_the_settings_name_stay_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let config =
        "[registries.x]\nindex = 'sparse+https://me:secret@x.invalid/'\ntoken = 'secret'\n";
    for directory in ["shared/sub", "cargo", "file"] {
        project.write(&format!("../{directory}/.cargo/config.toml"), config);
        project.write(
            &format!("../{directory}/.cargo/credentials.toml"),
            "[registry]\ntoken = 'secret'\n",
        );
    }
    project.write("../shared/x", "sent");
    project.write("../plain/config", config);
    std::os::unix::fs::symlink(sandbox.path().join("plain"), sandbox.path().join("shared/.cargo"))
        .unwrap();
    sandbox.settings(
        "include_paths = ['../shared', '../cargo/.cargo', '../file/.cargo/config.toml', \
         '../file/.cargo/credentials.toml', '../plain']\n",
    );
    project.ok("check -q");
    let there = sandbox.agent_tree(&project.root);
    let there = there.parent().unwrap();
    assert_eq!(fs::read_to_string(there.join("shared/x")).unwrap(), "sent");
    for file in [
        "shared/sub/.cargo/config.toml",
        "cargo/.cargo/config.toml",
        "file/.cargo/config.toml",
        "plain/config",
    ] {
        let sent = fs::read_to_string(there.join(file)).unwrap();
        assert_eq!(sent, "[registries.x]\nindex = \"sparse+https://x.invalid/\"\n", "{file}");
    }
    for directory in ["shared/sub", "cargo", "file"] {
        let file = there.join(directory).join(".cargo/credentials.toml");
        assert!(!file.exists(), "{}", file.display());
    }
}

#[test]
fn passwords_in_urls_of_a_configuration_stay_here() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let config = |user: &str, ssh: &str| {
        format!(
            "[http]\nproxy = \"\" # none\n\
             [registries.x]\nindex = \"sparse+https://{user}x.invalid/\"\n\
             [source.mirror]\nregistry = \"https://{user}mirror.invalid/index\"\n\
             [patch.\"https://{user}git.invalid/r\"]\nunused = {{ git = \"ssh://git{ssh}@git.invalid/r\" }}\n"
        )
    };
    // Of no use to this package, so that nothing is fetched.
    project.write("sub/.cargo/config.toml", config("me:secret@", ":secret"));
    project.write(
        ".cargo/config.toml",
        "[source.mirror]\nregistry = 'https://me:secret@x.invalid/'\n",
    );
    project.ok("check -q");
    let there = sandbox.agent_tree(&project.root);
    let sent = |path: &str| fs::read_to_string(there.join(path)).unwrap();
    assert_eq!(sent("sub/.cargo/config.toml"), config("", ""));
    assert_eq!(sent(".cargo/config.toml"), "[source.mirror]\nregistry = \"https://x.invalid/\"\n");
    assert!(project.read(".cargo/config.toml").contains("secret"));
}

/// The directories of the user, with token and keys, can lie in a workspace, such as a home.
#[test]
fn our_own_directories_are_no_sources() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let check = || {
        let mut command = project.command("check -q");
        for (name, directory) in [("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state")] {
            command.env(format!("XDG_{name}_HOME"), project.root.join("own").join(directory));
        }
        let found = burst_tests::ended(command.output().unwrap());
        assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
    };
    project.write("own/config/cargo-burst/config.toml", "keep_alive_secs = 0\n");
    project.write("own/config/other", "sent");
    check();
    check();
    let key = burst_agent::project_key(
        &burst_protocol::RelativePath::below_root(project.root.as_os_str().as_encoded_bytes())
            .unwrap(),
    );
    let copy = project.root.join("own/cache/cargo-burst/local/projects").join(key).join("tree");
    let copy = copy.join(project.root.strip_prefix("/").unwrap());
    assert!(copy.join("own/config/other").is_file());
    for directory in ["config/cargo-burst", "cache", "state"] {
        let directory = copy.join("own").join(directory);
        let is_empty = fs::read_dir(&directory).map_or(0, Iterator::count) == 0;
        assert!(is_empty, "{}", directory.display());
    }
}
