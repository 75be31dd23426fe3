use std::io::Write;
use std::process::Stdio;

use crate::sandbox;

#[test]
fn what_holds_is_shown_with_its_origin() {
    let sandbox = sandbox();
    sandbox.settings("volume_gb = 77\nforward_env = ['A']\n");
    let project = sandbox.hello("app");
    project.write(".config/cargo-burst.toml", "server_type = 'cpx62'\nforward_env = ['B']\n");
    let shown = burst_tests::ended(
        project
            .command("config")
            .env("CARGO_BURST_KEEP_ALIVE_SECS", "9")
            .env("HCLOUD_TOKEN", "very-secret")
            .output()
            .unwrap(),
    )
    .stdout;
    for line in [
        "volume_gb = 77  # ",
        "server_type = [\"cpx62\"]  # ",
        "keep_alive_secs = 9  # environment, CARGO_BURST_KEEP_ALIVE_SECS",
        "volume_keep_alive_secs = 3600  # default",
        "forward_env = [\"A\", \"B\"]  # ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("very-secret"));
    assert!(project.ok("config --defaults").stdout.contains("# Seconds that an idle server"));
}

#[test]
fn wrong_settings_say_where_and_what() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".config/cargo-burst.toml", "\n\nforward_envs = ['A']\n");
    let ended = project.burst("build");
    assert_eq!(ended.code, Some(111));
    assert!(ended.stderr.contains("error: the settings cannot be used"), "{}", ended.stderr);
    assert!(ended.stderr.contains("cargo-burst.toml, line 3: unknown key `forward_envs`"));
    assert!(ended.stderr.contains("hint: did you mean `forward_env`?"), "{}", ended.stderr);
    project.write(".config/cargo-burst.toml", "hetzner_token = 'secret-in-git'\n");
    let ended = project.burst("build");
    assert_eq!(ended.code, Some(111));
    assert!(ended.stderr.contains("line 1: `hetzner_token` does not belong"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret-in-git"), "{}", ended.stderr);
    assert_eq!(sandbox.agent(), None, "nothing is started for wrong settings");
}

#[test]
fn excludes_and_unexclude_work() {
    let sandbox = sandbox();
    sandbox.settings("extra_excludes = ['user-*']\n");
    let project = sandbox.hello("app");
    for file in ["user-a", "project-a", ".git/HEAD", ".idea/x", "node_modules/x", "seen"] {
        project.write(file, "x");
    }
    project.write(
        ".config/cargo-burst.toml",
        "extra_excludes = ['project-*']\nunexclude = ['.git', 'tarrget/']\n",
    );
    project.write("src/main.rs", "fn main() {\n    for file in [\"user-a\", \"project-a\", \".git/HEAD\", \".idea/x\", \"node_modules/x\", \"seen\"] {\n        print!(\"{} \", std::path::Path::new(file).exists());\n    }\n}\n");
    let ended = project.ok("run -q");
    assert_eq!(ended.stdout, "false false true false false true ");
    assert!(ended.stderr.contains("unexclude = \"tarrget/\" matches none"), "{}", ended.stderr);
}

#[test]
fn large_untracked_files_are_asked_about_once() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data/big.bin", vec![7; 11 << 20]);
    // Not on a terminal: named, not asked, sent.
    let ended = project.ok("check");
    assert!(ended.stderr.contains("data/big.bin (12 MB)"), "{}", ended.stderr);
    assert!(!project.has(".config"));
    assert!(!project.ok("check").stderr.contains("big.bin"), "only on the first run");
    assert!(sandbox.agent_tree(&project.root).join("data/big.bin").exists());

    let other = sandbox.hello("other");
    other.write("data/big.bin", vec![7; 11 << 20]);
    let mut child =
        other.command("check --yes").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"n\n").unwrap();
    let ended = burst_tests::ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(other.read(".config/cargo-burst.toml"), "extra_excludes = [\"/data/big.bin\"]\n");
    assert!(!sandbox.agent_tree(&other.root).join("data/big.bin").exists());
}

#[test]
fn nothing_of_the_environment_is_sent_unless_named() {
    let sandbox = sandbox();
    sandbox.settings("forward_env = ['STANDING', 'UNSET', 'HOME']\n");
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    for (name, _) in std::env::vars() { if name.contains(\"SECRET\") || name.contains(\"XDG\") || name.contains(\"BURST_\") { println!(\"{name}\"); } }\n    println!(\"{:?}\", std::env::var(\"STANDING\"));\n}\n");
    let ended = burst_tests::ended(
        project
            .command("run -q --env STANDING=flag")
            .env("A_SECRET", "x")
            .env("STANDING", "local")
            .env("CARGO_BURST_VOLUME_GB", "5")
            .output()
            .unwrap(),
    );
    assert_eq!(ended.stdout, "CARGO_BURST_INSIDE\nOk(\"flag\")\n");
    assert!(ended.stderr.contains("HOME is not forwarded"), "{}", ended.stderr);
}

#[test]
fn what_git_tracks_is_sent_though_a_pattern_ignores_it() {
    if burst_tests::lacks(&["git"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".gitignore", "/target\n*.log\ngenerated/\n");
    for file in ["tracked.log", "untracked.log", "generated/tracked.rs", "generated/untracked.rs"] {
        project.write(file, "x");
    }
    let git = |arguments: &str| {
        let mut command = sandbox.command("git", &project.root);
        assert!(command.args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
    };
    git("init -q");
    git("add -f tracked.log generated/tracked.rs Cargo.toml src .gitignore");
    project.ok("sync");
    let there = sandbox.agent_tree(&project.root);
    assert!(there.join("tracked.log").exists() && there.join("generated/tracked.rs").exists());
    assert!(
        !there.join("untracked.log").exists() && !there.join("generated/untracked.rs").exists()
    );
    assert!(!there.join(".git").exists());
    project.write(".config/cargo-burst.toml", "extra_excludes = ['*.log']\n");
    project.ok("sync");
    assert!(!there.join("tracked.log").exists() && there.join("generated/tracked.rs").exists());
}

#[test]
fn a_sync_that_would_empty_the_tree_stops() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("sync");
    project.write(".config/cargo-burst.toml", "extra_excludes = ['*']\n");
    let ended = project.burst("build");
    assert_eq!(ended.code, Some(112), "{ended:?}");
    assert!(
        ended.stderr.contains("error: this sync would delete all 2 source files"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("hint: check that the files of the workspace exist"),
        "{}",
        ended.stderr
    );
    assert!(sandbox.agent_tree(&project.root).join("src/main.rs").exists());
}
