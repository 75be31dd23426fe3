//! What git ignores is not sent, in every kind of repository. git itself says what that is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use burst_tests::{Project, Sandbox, assert_progress, ended};

use crate::sandbox;

/// A repository, made by a script beside its workspace `app`.
struct Repository {
    name: &'static str,
    /// The files that git ignores.
    ignored: &'static [&'static str],
    script: &'static str,
}

const EVERYWHERE: &[&str] = &["secret", "src/secret", "sub/secret"];

const REPOSITORIES: &[Repository] = &[
    Repository {
        name: "excludes of the repository",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >>app/.git/info/exclude",
    },
    Repository {
        name: "excludes behind a link",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >rules; ln -sf ../../../rules app/.git/info/exclude",
    },
    Repository {
        name: "excludes of a linked worktree",
        ignored: EVERYWHERE,
        script: "main; git -C main worktree add -q ../app; echo secret >>main/.git/info/exclude",
    },
    Repository {
        name: "a linked worktree of a bare repository",
        ignored: EVERYWHERE,
        script: "main; git clone -q --bare main bare; git -C bare worktree add -q ../app; \
                 mkdir -p bare/info; echo secret >>bare/info/exclude",
    },
    Repository {
        name: "a workspace below the root of a linked worktree",
        ignored: &["secret"],
        script: "main; git -C main worktree add -q ../outer; mkdir outer/app; ln -s outer/app app; \
                 printf '/app/secret\\n/other\\n' >>main/.git/info/exclude",
    },
    Repository {
        name: "a git directory elsewhere",
        ignored: EVERYWHERE,
        script: "git init -q --separate-git-dir there app; echo secret >>there/info/exclude",
    },
    Repository {
        name: "a submodule",
        ignored: EVERYWHERE,
        script: "main; git init -q outer; git -C outer submodule --quiet add ../main app; \
                 ln -s outer/app app; echo other >>outer/.git/info/exclude; \
                 echo secret >>outer/.git/modules/app/info/exclude",
    },
    Repository {
        name: "the default excludes file",
        ignored: EVERYWHERE,
        script: "git init -q app; mkdir $XDG_CONFIG_HOME/git; echo secret >$XDG_CONFIG_HOME/git/ignore",
    },
    Repository {
        name: "the excludes file of the user",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >~/rules; git config --global core.excludesFile '~/rules'",
    },
    Repository {
        name: "the excludes file of the repository",
        ignored: EVERYWHERE,
        script: "git init -q app; echo other >~/rules; git config --global core.excludesFile '~/rules'; \
                 echo secret >rules; git -C app config core.excludesFile $PWD/rules",
    },
    Repository {
        name: "an excludes file that is, as its patterns are, relative to the repository",
        ignored: &["secret"],
        script: "git init -q outer; mkdir outer/app; ln -s outer/app app; \
                 printf '/app/secret\\n/other\\n' >outer/rules; \
                 git -C outer config core.excludesFile rules",
    },
    Repository {
        name: "no excludes file",
        ignored: &[],
        script: "git init -q app; mkdir $XDG_CONFIG_HOME/git; echo secret >$XDG_CONFIG_HOME/git/ignore; \
                 git -C app config core.excludesFile ''",
    },
    Repository {
        name: "the excludes file of one worktree",
        ignored: EVERYWHERE,
        script: "main; git -C main worktree add -q ../app; echo secret >rules; \
                 git -C main config extensions.worktreeConfig true; \
                 git -C app config --worktree core.excludesFile $PWD/rules",
    },
    Repository {
        name: "the excludes file of the main worktree, in a linked one",
        ignored: EVERYWHERE,
        script: "main; git -C main worktree add -q ../app; echo secret >rules; \
                 git -C main config core.excludesFile $PWD/rules",
    },
    Repository {
        name: "an included configuration",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >~/rules; git config --global include.path more; \
                 printf '[core]\\nexcludesFile = ~/rules\\n' >~/more",
    },
    Repository {
        name: "a configuration that is included on a condition",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >~/rules; echo other >~/others; \
                 printf '[core]\\nexcludesFile = ~/rules\\n' >~/more; \
                 printf '[core]\\nexcludesFile = ~/others\\n' >~/less; \
                 git config --global includeIf.gitdir:$PWD/.path more; \
                 git config --global includeIf.gitdir:/nowhere/.path less",
    },
    Repository {
        name: "a nested repository",
        ignored: &["other", "secret", "src/secret", "sub/other"],
        script: "git init -q app; echo secret >>app/.git/info/exclude; echo /other >rules; \
                 git -C app config core.excludesFile $PWD/rules; git init -q app/sub; \
                 echo other >app/sub/rules; git -C app/sub config core.excludesFile rules",
    },
    Repository {
        name: "a directory that is no nested repository",
        ignored: EVERYWHERE,
        script: "git init -q app; echo secret >>app/.git/info/exclude; mkdir -p app/sub/.git",
    },
];

/// The files that git does not ignore.
fn not_ignored(sandbox: &Sandbox, repository: &Path) -> BTreeSet<String> {
    let mut git = sandbox.command("git", repository);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = ended(git.output().unwrap());
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{repository:?}");
    listed.stdout.split_terminator('\0').map(ToOwned::to_owned).collect()
}

/// The files below a directory, relative to it.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => {
                let below = files(&entry.path());
                found.extend(below.into_iter().map(|path| format!("{name}/{path}")));
            }
            false => _ = found.insert(name),
        }
    }
    found
}

#[test]
fn what_git_ignores_is_not_sent() {
    const FUNCTIONS: &str = "set -e; git() { command git -c protocol.file.allow=always \
                             -c user.name=a -c user.email=a@b \"$@\"; }; \
                             main() { git init -q main; git -C main commit -q --allow-empty -m a; };";
    for Repository { name, ignored, script } in REPOSITORIES {
        let sandbox = sandbox();
        let mut made = sandbox.command("sh", sandbox.path());
        let made = made.args(["-c", &format!("{FUNCTIONS} {script}")]);
        let made = ended(made.output().unwrap());
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{name}");
        let project = sandbox.hello("app");
        for file in ["secret", "other", "src/secret", "sub/secret", "sub/other"] {
            project.write(file, "");
        }
        let mut expected = not_ignored(&sandbox, &project.root);
        if expected.remove("sub/") {
            let below = not_ignored(&sandbox, &project.root.join("sub"));
            expected.extend(below.into_iter().map(|path| format!("sub/{path}")));
        }
        let mut all = files(&project.root);
        all.retain(|path| !path.split('/').any(|name| name == ".git"));
        assert_eq!(all.difference(&expected).collect::<Vec<_>>(), *ignored, "{name}");
        project.ok("sync");
        let root = project.root.canonicalize().unwrap();
        let mut sent = files(&sandbox.agent_tree(&root));
        sent.retain(|path| !path.split('/').any(|name| name == ".git"));
        assert_eq!(sent, expected, "{name}");
    }
}

/// Where nothing can name an excludes file, git is not asked for its name.
#[test]
fn git_is_asked_for_its_excludes_file_only_if_one_can_be_named() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let called = sandbox.path().join("called");
    let directory = sandbox.path().join("bin");
    fs::create_dir(&directory).unwrap();
    let program = directory.join("git");
    fs::write(&program, format!("#!/bin/sh\necho \"$@\" >>{}\nexit 1\n", called.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    project.write(".git/HEAD", "");
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", directory.display());
    let asked = || {
        let mut command = project.command("sync");
        assert!(command.env("PATH", &path).output().unwrap().status.success());
        let calls = fs::read_to_string(&called).unwrap();
        fs::remove_file(&called).unwrap();
        calls.lines().filter(|call| call.contains("core.excludesFile")).count()
    };
    assert_eq!(asked(), 0);
    project.write(".git/config", "[core]\n\tExcludesFile = x\n");
    assert_eq!(asked(), 1);
}

#[test]
fn a_run_that_changes_what_git_ignores_is_told() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let told = |paths: &str| {
        format!(
            "warning: the run changed what git ignores: {paths}; the next command may send files \
             that were ignored: check that before you go on\n"
        )
    };
    let run = |program: &str| {
        project.write(
            "src/main.rs",
            format!("#[allow(unused)]\nuse std::fs::*;\nfn main() {{ {program} }}\n"),
        );
        project.ok("run -q")
    };
    project.ignore("/target\n.env\n");
    project.write("gone/.gitignore", ".key\n");
    project.write("gone/.key", "here");
    project.write("whole/.gitignore", ".key\n");
    let found =
        run("write(\".gitignore\", \"/target\\n\").unwrap(); create_dir(\"new\").unwrap(); \
         write(\"new/.gitignore\", \"!.env\\n\").unwrap(); remove_dir_all(\"gone\").unwrap(); \
         remove_dir_all(\"whole\").unwrap();");
    assert_progress(&found, &told("`.gitignore`, `gone/.gitignore`, `new/.gitignore`"));
    assert_eq!(project.read("gone/.key"), "here");
    assert!(!project.has("whole"));
    assert_progress(&run("remove_file(\"new/.gitignore\").unwrap();"), &told("`new/.gitignore`"));
    let link = "std::os::unix::fs::symlink(\"gone\", \"new/.gitignore\").unwrap();";
    assert_progress(&run(link), &told("`new/.gitignore`"));
}

/// A run makes a `.env`, which git ignores.
fn run_that_makes_a_secret<'a>(sandbox: &'a Sandbox, name: &str) -> Project<'a> {
    let project = sandbox.hello(name);
    project.ignore("/target\n.env\n");
    let main = "fn main() { if !std::path::Path::new(\".env\").exists() { std::fs::write(\".env\", \"template\").unwrap(); } }\n";
    project.write("src/main.rs", main);
    assert_progress(&project.ok("run -q"), "");
    assert_eq!(project.read(".env"), "template");
    project
}

/// As with cargo, programs find what is in a file that a run has made, unless it is excluded.
#[test]
fn a_secret_in_a_file_that_a_run_has_made_can_be_excluded() {
    let sandbox = sandbox();
    let project = run_that_makes_a_secret(&sandbox, "app");
    let there = sandbox.agent_tree(&project.root).join(".env");
    project.write(".env", "secret");
    project.ok("sync");
    assert_eq!(fs::read_to_string(&there).unwrap(), "secret");
    sandbox.settings("extra_excludes = ['/.env']\n");
    project.ok("sync");
    assert!(!there.exists());
    // It has become a file of the user's.
    sandbox.settings("");
    project.ok("sync");
    assert!(!there.exists());
    assert_eq!(project.read(".env"), "secret");
}

#[test]
fn what_a_run_has_made_says_nothing_of_another_workspace_at_the_path() {
    let sandbox = sandbox();
    let project = run_that_makes_a_secret(&sandbox, "app");
    fs::rename(&project.root, sandbox.path().join("earlier")).unwrap();
    let project = sandbox.hello("app");
    project.ignore("/target\n.env\n");
    project.write(".env", "secret");
    project.ok("sync");
    assert!(!sandbox.agent_tree(&project.root).join(".env").exists());
}
