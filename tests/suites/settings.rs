use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use burst_tests::Sandbox;

use crate::bad_input::as_nobody;
use crate::sandbox;

/// A text with `SANDBOX` for the path of the sandbox.
fn placed(text: &str, sandbox: &Sandbox) -> String {
    text.replace(sandbox.path().to_str().unwrap(), "SANDBOX")
}

/// What `config` prints where nothing is set.
const BUILT_IN: &str = "\
# hetzner_token is not set
hetzner_endpoint = \"https://api.hetzner.cloud/v1\"  # default
region = [\"hel1\", \"fsn1\", \"nbg1\"]  # default
server_type = [\"cx53\", \"cpx62\", \"cpx52\", \"cpx42\"]  # default
public_ipv4 = true  # default
keep_alive_secs = 300  # default
reconnect_secs = 120  # default
keep_paid_hour = true  # default
volume_keep_alive_secs = 3600  # default
volume_gb = 200  # default
dead_man_switch = true  # default
# monthly_budget is not set
# max_run_secs is not set
# max_day_secs is not set
forward_env = []  # default
report_env = []  # default
forward_ports = []  # default
extra_excludes = []  # default
unexclude = []  # default
include_paths = []  # default
local_disk_gb = 100  # default
fetch = \"artifacts\"  # default
compression = \"auto\"  # default
trusted_directories = []  # default
";

#[test]
fn config_shows_each_value_with_its_origins() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    assert_eq!(project.ok("config").stdout, BUILT_IN);
    sandbox.settings("volume_gb = 77\nforward_env = ['A']\nmonthly_budget = 40\n");
    project.write(
        ".config/cargo-burst.toml",
        "server_type = 'cpx62'\nforward_env = ['B']\nmonthly_budget = 99\n",
    );
    let config = || {
        burst_tests::ended(
            project
                .command("config")
                .env("CARGO_BURST_KEEP_ALIVE_SECS", "9")
                .env("HCLOUD_TOKEN", "very-secret")
                .env("HCLOUD_ENDPOINT", "https://me:password@api.example/v1")
                .output()
                .unwrap(),
        )
    };
    let user = "SANDBOX/config/cargo-burst/config.toml";
    let file = "SANDBOX/app/.config/cargo-burst.toml";
    let expected = |server_type: &str, forward_env: &str| {
        format!(
            "hetzner_token = \"(set, not shown)\"  # environment variable HCLOUD_TOKEN\n\
             hetzner_endpoint = \"https://[hidden]@api.example/v1\"  # environment variable \
             HCLOUD_ENDPOINT\n\
             region = [\"hel1\", \"fsn1\", \"nbg1\"]  # default\n\
             server_type = {server_type}\n\
             public_ipv4 = true  # default\n\
             keep_alive_secs = 9  # environment variable CARGO_BURST_KEEP_ALIVE_SECS\n\
             reconnect_secs = 120  # default\n\
             keep_paid_hour = true  # default\n\
             volume_keep_alive_secs = 3600  # default\n\
             volume_gb = 77  # {user}\n\
             dead_man_switch = true  # default\n\
             monthly_budget = 40.0  # {user}; 99.0 of {file} does not hold: it raises a limit\n\
             # max_run_secs is not set\n\
             # max_day_secs is not set\n\
             forward_env = {forward_env}\n\
             report_env = []  # default\n\
             forward_ports = []  # default\n\
             extra_excludes = []  # default\n\
             unexclude = []  # default\n\
             include_paths = []  # default\n\
             local_disk_gb = 100  # default\n\
             fetch = \"artifacts\"  # default\n\
             compression = \"auto\"  # default\n\
             trusted_directories = []  # default\n"
        )
    };
    let assert_shown = |expected: String| {
        let shown = config();
        assert_eq!(placed(&shown.stdout, &sandbox), expected);
        assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(0)));
    };
    let untrusted = "does not hold: it needs `cargo burst trust`";
    assert_shown(expected(
        &format!(
            "[\"cx53\", \"cpx62\", \"cpx52\", \"cpx42\"]  # default; [\"cpx62\"] of {file} {untrusted}"
        ),
        &format!("[\"A\"]  # {user}; [\"A\", \"B\"] of {file} {untrusted}"),
    ));
    project.ok("trust");
    assert_shown(expected(
        &format!("[\"cpx62\"]  # {file}"),
        &format!("[\"A\", \"B\"]  # {user}; {file}"),
    ));
}

#[test]
fn config_needs_no_workspace() {
    let sandbox = sandbox();
    let shown =
        burst_tests::ended(sandbox.burst_command(sandbox.path(), "config").output().unwrap());
    assert_eq!(shown.stdout, BUILT_IN);
    assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(0)));
}

#[test]
fn config_warns_where_cargo_cannot_read_the_workspace() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write(".config/cargo-burst.toml", "volume_gb = 77\n");
    project.write("Cargo.toml", "[package\n");
    let shown = project.ok("config");
    let mut cargo = sandbox.command("cargo", &project.root);
    let cargo = burst_tests::ended(
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).output().unwrap(),
    );
    assert_eq!(shown.stdout, BUILT_IN);
    assert_eq!(
        shown.stderr,
        format!(
            "warning: the project file was not read: cargo cannot read this workspace\n{}",
            cargo.stderr
        )
    );
}

#[test]
fn config_works_in_a_deleted_directory() {
    let sandbox = sandbox();
    let directory = sandbox.path().join("deleted");
    std::fs::create_dir(&directory).unwrap();
    let inner = sandbox.burst_command(&directory, "config");
    let mut outer = sandbox.command("sh", &directory);
    outer.args(["-c", "rmdir \"$PWD\" && exec \"$@\"", "sh"]).arg(inner.get_program());
    burst_tests::carry_over(&mut outer, &inner);
    let shown = burst_tests::ended(outer.output().unwrap());
    assert_eq!(shown.stdout, BUILT_IN);
    assert_eq!(
        shown.stderr,
        "warning: the project file was not read: the current directory cannot be found: No such \
         file or directory (os error 2)\n"
    );
    assert_eq!(shown.code, Some(0));
}

/// Key, default and variable of each row of the table of settings in the README: the rows
/// with four cells whose third is one of our variables.
fn rows_of_readme() -> Vec<[String; 3]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').collect();
        let [key, default, variable, _, ""] = cells[..] else { return None };
        let is_variable =
            variable.trim().starts_with("`CARGO_BURST_") || variable.trim().starts_with("`HCLOUD_");
        is_variable.then(|| [plain(key), plain(default), plain(variable)])
    });
    rows.collect()
}

#[test]
fn the_table_in_the_readme_has_the_keys_defaults_and_variables() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let documentation = project.ok("config --defaults").stdout;
    // One paragraph a setting; its last line is the default, or in a comment an example.
    let documented = documentation.split("\n\n").skip(1).filter_map(|paragraph| {
        let variable = paragraph.lines().find_map(|line| line.strip_prefix("# Variable: "))?;
        let (key, _) = paragraph.lines().last()?.trim_start_matches("# ").split_once(" = ")?;
        Some((key.to_owned(), variable.to_owned()))
    });
    let documented: Vec<_> = documented.collect();
    let rows = rows_of_readme();
    let named = rows.iter().map(|[key, _, variable]| (key.clone(), variable.clone()));
    assert_eq!(named.collect::<Vec<_>>(), documented);
    // As a user config, the defaults of the table give the built-in values.
    let set = rows.iter().filter(|[_, default, _]| !default.is_empty());
    let settings: String = set.map(|[key, default, _]| format!("{key} = {default}\n")).collect();
    sandbox.settings(&settings);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&project.ok("config").stdout), values(BUILT_IN));
}

#[test]
fn the_readme_says_what_a_project_file_may_set() {
    let sandbox = sandbox();
    let documentation = burst_tests::ended(
        sandbox.burst_command(sandbox.path(), "config --defaults").output().unwrap(),
    )
    .stdout;
    // The keys of the paragraphs that have such a line.
    let with = |rule: &str| -> Vec<String> {
        let paragraphs = documentation.split("\n\n").skip(1);
        let found = paragraphs.filter(|paragraph| paragraph.contains(&format!("\n# {rule}")));
        let key = |paragraph: &str| {
            let last = paragraph.lines().last().unwrap().trim_start_matches("# ");
            last.split_once(" = ").unwrap().0.to_owned()
        };
        let mut keys: Vec<String> = found.map(key).collect();
        keys.sort();
        keys
    };
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, table) = readme.split_once("| key | needs trust |\n|---|---|\n").unwrap();
    let cells = table.lines().map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut keys: Vec<String> =
        cells.flat_map(|cell| cell.split(", ")).map(|key| key.trim_matches('`').into()).collect();
    keys.sort();
    assert_eq!(keys, with("A project file needs trust for "));
    let refused = readme.lines().filter(|line| line.ends_with("; refused in a project's file |"));
    let mut refused: Vec<String> =
        refused.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect();
    refused.sort();
    assert_eq!(refused, with("Not allowed in a project file"));
    let limits = ["max_day_secs", "max_run_secs", "monthly_budget"];
    assert_eq!(with("A project file can only lower it"), limits);
}

#[test]
fn wrong_files_are_refused_with_file_and_line() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let general = "`cargo burst config --defaults` shows every setting with its type and default";
    for (text, error, hint) in [
        (
            "\n\nforward_envs = ['A']\n",
            ":3: unknown key `forward_envs`",
            "did you mean `forward_env`?",
        ),
        ("volume_gb = 5\n", ":1: `volume_gb` must be between 10 and 10240 (got 5)", general),
        ("region = []\n", ":1: `region` must not be empty", general),
        (
            "forward_env = ['A=secret']\n",
            ":1: `forward_env` must contain names of variables, without `=` and NUL (got `A=…`)",
            "write the name alone; `--env NAME=VALUE` passes a value",
        ),
        ("\n[hetzner\n", ":2: unclosed table, expected `]`", general),
        (
            "hetzner_token = 'secret-in-git'\n",
            ":1: `hetzner_token` is not allowed in a project file, only in your user config",
            "move it to your user config (usually ~/.config/cargo-burst/config.toml) or set \
             `HCLOUD_TOKEN`; revoke the token if it was committed",
        ),
    ] {
        project.write(".config/cargo-burst.toml", text);
        for command in ["build", "config"] {
            let ended = project.burst(command);
            assert_eq!(
                placed(&ended.stderr, &sandbox),
                format!("error: SANDBOX/app/.config/cargo-burst.toml{error}\nhint: {hint}\n")
            );
            assert_eq!((ended.stdout.as_str(), ended.code), ("", Some(111)));
        }
    }
    assert_eq!(sandbox.agent(), None, "nothing is started for wrong settings");
}

#[test]
fn a_user_config_that_cannot_be_read_is_named() {
    if burst_tests::lacks(&["unshare", "setpriv"]) {
        return;
    }
    if !burst_tests::is_root() {
        return burst_tests::skip("needs root, to become a user who may not read a file");
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let config = || {
        let command = project.command("config");
        burst_tests::ended(as_nobody(&sandbox, &command).output().unwrap())
    };
    assert_eq!(config().stdout, BUILT_IN);
    sandbox.settings("volume_gb = 77\n");
    let file = sandbox.path().join("config/cargo-burst/config.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ended = config();
    assert_eq!(
        placed(&ended.stderr, &sandbox),
        "error: cannot read the settings in `SANDBOX/config/cargo-burst/config.toml`\n\
         caused by: Permission denied (os error 13)\n\
         hint: make `SANDBOX/config/cargo-burst/config.toml` readable for your user\n"
    );
    assert_eq!((ended.stdout.as_str(), ended.code), ("", Some(111)));
}

#[test]
fn wrong_variables_are_refused_with_their_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let general = "`cargo burst config --defaults` shows every setting with its type and default";
    for (name, value, error, hint) in [
        (
            "CARGO_BURST_VOLUM_GB",
            &b"50"[..],
            "unknown environment variable `CARGO_BURST_VOLUM_GB`",
            "did you mean `CARGO_BURST_VOLUME_GB`?",
        ),
        (
            "CARGO_BURST_VOLUME_GB",
            b"5",
            "`CARGO_BURST_VOLUME_GB` must be between 10 and 10240 (got 5)",
            general,
        ),
        ("CARGO_BURST_REGION", b"h\xff", "`CARGO_BURST_REGION` is not valid UTF-8", general),
    ] {
        let mut command = project.command("build");
        let ended =
            burst_tests::ended(command.env(name, OsStr::from_bytes(value)).output().unwrap());
        assert_eq!(ended.stderr, format!("error: {error}\nhint: {hint}\n"));
        assert_eq!((ended.stdout.as_str(), ended.code), ("", Some(111)));
    }
    assert_eq!(sandbox.agent(), None, "nothing is started for wrong settings");
}

#[test]
fn a_password_in_the_endpoint_is_in_no_error() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let mut command = project.command("status");
    command.env("HCLOUD_TOKEN", "t").env("HCLOUD_ENDPOINT", "ftp://me:password@api.example/v1");
    let ended = burst_tests::ended(command.output().unwrap());
    assert_eq!(
        ended.stderr,
        "error: cannot use the Hetzner API\n\
         caused by: `ftp://[hidden]@api.example/v1` is not an http or https URL\n\
         hint: correct the URL or remove the setting: `hetzner_endpoint` is \
         `ftp://[hidden]@api.example/v1` (set in environment variable HCLOUD_ENDPOINT)\n"
    );
    assert_eq!((ended.stdout.as_str(), ended.code), ("", Some(111)));
}

#[test]
fn files_are_left_out_by_extra_excludes_and_sent_by_unexclude() {
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
    project.ok("trust");
    let ended = project.ok("run -q");
    assert_eq!(ended.stdout, "false false true false false true ");
    assert_eq!(
        ended.stderr,
        "warning: `unexclude` contains \"tarrget/\", which is not a default exclude (target/ .git/ \
         node_modules/ .direnv/ .vscode/ .idea/ *.swp .DS_Store)\n"
    );
}

#[test]
fn large_untracked_files_are_asked_about_once() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("data/big.bin", vec![7; 11 << 20]);
    // Without a terminal there is no question: the file is named and sent.
    let ended = project.ok("check");
    assert!(ended.stderr.contains("data/big.bin (12 MB)"), "{}", ended.stderr);
    assert!(!project.has(".config"));
    // It is named only on the first run.
    burst_tests::assert_progress(
        &project.ok("check"),
        "    Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n\
         burst: on this machine, [..]\n",
    );
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
fn variables_are_sent_only_if_they_are_named() {
    let sandbox = sandbox();
    sandbox.settings("forward_env = ['STANDING', 'UNSET', 'HOME']\n");
    let project = sandbox.hello("app");
    project.write("src/main.rs", "fn main() {\n    for (name, _) in std::env::vars() { if name.contains(\"SECRET\") || name.contains(\"XDG\") || name.contains(\"BURST_\") { println!(\"{name}\"); } }\n    println!(\"{:?}\", std::env::var(\"STANDING\"));\n}\n");
    let ended = burst_tests::ended(
        project
            .command("run -q --env STANDING=flag")
            .env("A_SECRET", "x")
            .env("STANDING", "local")
            .env("CARGO_BURST_VOLUME_GB", "50")
            .output()
            .unwrap(),
    );
    assert_eq!(ended.stdout, "CARGO_BURST_INSIDE\nOk(\"flag\")\n");
    assert_eq!(
        ended.stderr,
        "warning: HOME is not forwarded: the agent needs a value of its own\n"
    );
}

#[test]
fn tracked_files_are_sent_although_a_pattern_ignores_them() {
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
    assert!(!there.join(".git/hooks").exists());
    project.write(".config/cargo-burst.toml", "extra_excludes = ['*.log', '.git']\n");
    project.ok("sync");
    assert!(!there.join(".git").exists());
    assert!(!there.join("tracked.log").exists() && there.join("generated/tracked.rs").exists());
}

#[test]
fn a_sync_that_would_delete_all_sources_is_refused() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ok("sync");
    project.write(".config/cargo-burst.toml", "extra_excludes = ['*']\n");
    let ended = project.burst("build");
    assert_eq!(
        ended.stderr,
        "error: this sync would delete all 2 source files of the project\n\
         caused by: the scan here found no source file of the project\n\
         hint: check that the files of the workspace exist and are not all excluded; the agent \
         deleted nothing. If this is intended, run `cargo burst down --with-volumes` first\n"
    );
    assert_eq!(ended.code, Some(112));
    assert!(sandbox.agent_tree(&project.root).join("src/main.rs").exists());
}
