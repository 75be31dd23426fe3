use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use burst_tests::{Ended, Sandbox, carry_over, ended, is_root, skip};

use crate::sandbox;

/// An error, and nothing on standard output.
#[track_caller]
fn assert_explained(ended: &Ended, code: i32, expected: &str) {
    assert_eq!(ended.stdout, "");
    burst_tests::assert_explained(ended, code, expected);
}

#[test]
fn no_workspace_is_cargos_own_message() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path().join("empty")).unwrap();
    let run = |arguments: &str| {
        ended(sandbox.burst_command(&sandbox.path().join("empty"), arguments).output().unwrap())
    };
    for arguments in ["build", "build --manifest-path nope/Cargo.toml"] {
        let mut cargo = sandbox.command("cargo", &sandbox.path().join("empty"));
        let expected = ended(cargo.args(arguments.split_whitespace()).output().unwrap());
        let found = run(arguments);
        assert_eq!((found.code, found.stdout.as_str()), (Some(101), ""));
        assert_eq!(found.stderr, expected.stderr, "{arguments}");
    }
    assert_eq!(sandbox.agent(), None);
}

#[test]
fn a_broken_manifest_is_cargos_own_message() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.write("Cargo.toml", "[package\n");
    let found = project.burst("build");
    let mut cargo = sandbox.command("cargo", &project.root);
    let expected = ended(cargo.arg("build").output().unwrap());
    assert_eq!(found.code, expected.code);
    assert_eq!(found.stderr, expected.stderr);
}

#[test]
fn a_missing_cargo_is_named() {
    let sandbox = sandbox().with("CARGO", "/no/such/cargo");
    let project = sandbox.hello("app");
    let found = project.burst("build");
    assert_explained(
        &found,
        112,
        "error: cannot run `/no/such/cargo`\n\
         caused by: No such file or directory (os error 2)\n\
         hint: install Rust from https://rustup.rs, or set CARGO to the path of cargo\n",
    );
}

/// Runs the program as a user who may not read everything. The toolchain, which
/// that user may be unable to reach, is mounted into the sandbox; the mount ends
/// with the processes that see it.
pub(crate) fn as_nobody(sandbox: &Sandbox, command: &Command) -> Command {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let toolchain = sandbox.path().join("toolchain");
    let program = sandbox.path().join("cargo-burst");
    if !toolchain.exists() {
        fs::create_dir(&toolchain).unwrap();
        fs::copy(command.get_program(), &program).unwrap();
        let status =
            Command::new("chown").args(["-R", "65534:65534"]).arg(sandbox.path()).status().unwrap();
        assert!(status.success());
    }
    let mut other = Command::new("unshare");
    other.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"",
        "sh",
    ]);
    other.arg(sysroot.trim()).arg(&toolchain);
    other.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    other.arg(program);
    carry_over(&mut other, command);
    other.env("PATH", format!("{}/bin:/usr/bin:/bin", toolchain.display()));
    other.env("CARGO_HOME", sandbox.path().join("home/.cargo"));
    other
}

#[test]
fn an_unreadable_file_is_named() {
    if burst_tests::lacks(&["unshare", "setpriv"]) {
        return;
    }
    if !is_root() {
        return skip("needs root, to become a user who may not read a file");
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let run =
        |arguments: &str| ended(as_nobody(&sandbox, &project.command(arguments)).output().unwrap());
    assert_eq!(run("config").code, Some(0));
    project.write("secret.txt", "x");
    fs::set_permissions(project.root.join("secret.txt"), fs::Permissions::from_mode(0o600))
        .unwrap();
    let found = run("build");
    assert_explained(
        &found,
        112,
        "error: the workspace cannot be sent\n\
         caused by: cannot read `/[..]/app/secret.txt`\n\
         caused by: Permission denied (os error 13)\n\
         hint: make `/[..]/app/secret.txt` readable, or add it to `extra_excludes` in \
         .config/cargo-burst.toml\n",
    );
    fs::remove_file(project.root.join("secret.txt")).unwrap();
    // The same user builds in a user namespace, at the project's own path.
    project.write("src/main.rs", "fn main() { println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\")) }\n");
    let found = run("run -q");
    let expected = format!("{}\n", project.root.display());
    assert_eq!(found.stdout, expected, "{found:?}\n{}", sandbox.agent_log());
}

#[test]
fn without_namespaces_it_runs_elsewhere_and_says_so_once() {
    if burst_tests::lacks(&["unshare", "setpriv", "pgrep"]) {
        return;
    }
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let forbid = sandbox.path().join("forbid");
    fs::write(&forbid, "#!/bin/sh\necho 0 > /proc/sys/user/max_user_namespaces\nexec \"$@\"\n")
        .unwrap();
    fs::set_permissions(&forbid, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |arguments: &str| {
        let inner = project.command(arguments);
        let mut outer = Command::new("unshare");
        // In a user namespace that may have none below it, without the right to
        // make any other: as where an administrator has forbidden them.
        outer.args(["--user", "--map-root-user"]).arg(&forbid);
        outer.args(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]);
        outer.arg(inner.get_program());
        carry_over(&mut outer, &inner);
        ended(outer.output().unwrap())
    };
    let first = run("build");
    if first.stderr.contains("unshare failed") {
        return skip("needs user namespaces, to forbid them");
    }
    assert_eq!(first.code, Some(0), "{first:?}\n{}", sandbox.agent_log());
    assert!(first.stderr.contains("namespaces are not allowed"), "{}", first.stderr);
    assert_eq!(project.output_of("target/debug/hello"), "hello\n");
    project.write("src/main.rs", "fn main() {\n    println!(\"two\");\n}\n");
    let second = run("build --target-dir elsewhere");
    burst_tests::assert_progress(
        &second,
        "   Compiling hello v0.1.0 ([..])\n\
         \x20   Finished `dev` profile [unoptimized + debuginfo] target(s) in [..]\n\
         burst: on this machine, [..]\n",
    );
    assert_eq!(project.output_of("elsewhere/debug/hello"), "two\n");
    // What a run leaves behind does not survive it here either.
    project.write("src/main.rs", "fn main() { std::process::Command::new(\"setsid\").args([\"sleep\", \"97531\"]).spawn().unwrap(); }\n");
    assert_eq!(run("run -q").code, Some(0));
    let left = Command::new("pgrep").args(["-f", "sleep 97531"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

#[test]
fn a_target_directory_with_sources_is_refused_before_anything_is_sent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let refused = |directory: &str, source: &str| {
        assert_explained(
            &project.burst(&format!("build --target-dir {directory}")),
            112,
            &format!(
                "error: the target directory `[..]/app/{directory}` holds sources of the \
                 workspace\n\
                 caused by: `[..]/app/{source}` is one of them\n\
                 hint: choose a target directory without sources, such as \
                 `[..]/app/{directory}/target`: nothing in it is sent\n"
            ),
        );
    };
    refused("src", "src/main.rs");
    // A file that is no package's, but git has it.
    project.write("data/text", "text");
    for arguments in ["init -q", "add ."] {
        let mut git = Command::new("git");
        let status = git.args(arguments.split(' ')).current_dir(&project.root).status();
        assert!(status.unwrap().success());
    }
    refused("data", "data/text");
    assert!(!sandbox.agent_project(&project.root).exists());
    // Nobody has called this a source; cargo accepts it, too.
    project.write("out/text", "text");
    project.ok("build --target-dir out");
    project.ok("build --target-dir out");
    assert_eq!(project.read("out/text"), "text");
}

#[test]
fn a_path_of_4000_bytes_arrives_or_is_named() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let name = "n".repeat(200);
    let prefix = project.root.as_os_str().len();
    let depth = (4000 - prefix) / 201;
    let mut relative = vec![name.clone(); depth].join("/");
    let room = 4000 - prefix - 1 - relative.len() - 1;
    relative = format!("{relative}/{}", "f".repeat(room.clamp(1, 200)));
    assert!(project.root.join(&relative).as_os_str().len() > 3900);
    project.write(&relative, "deep");
    project.write(
        "src/main.rs",
        format!(
            "fn main() {{ print!(\"{{}}\", std::fs::read_to_string({relative:?}).unwrap()) }}\n"
        ),
    );
    assert_eq!(project.ok("run -q").stdout, "deep");

    // One level too many for any manifest: named, with what to do about it.
    let deep = vec!["d"; 300].join("/");
    fs::create_dir_all(project.root.join(&deep)).unwrap();
    let found = project.burst("build");
    assert_explained(
        &found,
        112,
        "error: the workspace cannot be sent\n\
         caused by: cannot send `…/[..]/d`\n\
         caused by: the path is nested deeper than 255 directories\n\
         hint: shorten or rename the path, or add it to `extra_excludes` in \
         .config/cargo-burst.toml\n",
    );
}

#[test]
fn a_file_of_3_gb_arrives() {
    let sandbox = sandbox();
    // Compressed, since it is mostly nothing; the other way is the default's.
    sandbox.settings("compression = 'always'\n");
    let project = sandbox.hello("app");
    let file = fs::File::create(project.root.join("huge")).unwrap();
    file.set_len(3_000_000_000).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"end", 2_999_999_990).unwrap();
    drop(file);
    project.ok("check -q");
    let arrived = sandbox.agent_tree(&project.root).join("huge");
    assert_eq!(fs::metadata(&arrived).unwrap().len(), 3_000_000_000);
    let mut end = [0; 3];
    fs::File::open(arrived).unwrap().read_exact_at(&mut end, 2_999_999_990).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn a_directory_of_120_000_files_arrives() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let many = project.root.join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..120_000 {
        fs::write(many.join(format!("file-with-a-name-{n}")), n.to_string()).unwrap();
    }
    project.ok("check -q");
    let there = sandbox.agent_tree(&project.root).join("many");
    assert_eq!(fs::read_dir(&there).unwrap().count(), 120_000);
    assert_eq!(fs::read_to_string(there.join("file-with-a-name-77777")).unwrap(), "77777");
    // Without a base, both ends compare listings, whatever their length.
    fs::remove_dir_all(sandbox.path().join("cache/cargo-burst/workspaces")).unwrap();
    fs::write(many.join("file-with-a-name-5"), "five").unwrap();
    let again = project.burst("-v check -q");
    assert!(again.stderr.contains("1 written, 0 removed"), "{again:?}");
}
