//! Files that are here, that git ignores and without which a run fails: they are sent only if a
//! source of the user names them.

use std::path::Path;

use burst_tests::{Ended, Project, ended};
use hetzner_sim::Scenario;

use crate::hetzner::{cloud, logs, sandbox_on};
use crate::sandbox;

/// What is told when cargo runs again.
fn told(file: &str, next: &str) -> String {
    format!(
        "warning: the build above has failed without `{file}`, which git ignores and which was not \
         sent: it is sent from now on; {next}"
    )
}

/// What is told of a file that is not sent.
fn hint(file: &Path) -> String {
    let path = file.display();
    format!(
        "burst: `{path}` is here and was not sent: `include_paths = [\"{path}\"]` in the settings \
         sends it"
    )
}

/// These lines tell of files that were not sent, in this order.
#[track_caller]
fn assert_told(found: &Ended, expected: &[String]) {
    let lines = found.stderr.lines().filter(|line| line.contains("not sent"));
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{found:#?}");
}

#[test]
fn a_build_that_lacks_ignored_files_runs_again_with_them() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ignore("/target\nmade*\n/data\n");
    project.write("src/main.rs", "mod made;\nfn main() { println!(\"{}\", made::TEXT); }\n");
    project.write(
        "src/made.rs",
        "pub const TEXT: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/data/x\"));\n",
    );
    project.write("data/x", "text");
    project.write("data/secret", "secret");
    let again = "cargo runs again now";
    let built = project.burst("build");
    assert_eq!(built.code, Some(0), "{built:#?}\n{}", logs(&simulator, &sandbox));
    assert_told(&built, &[told("src/made.rs", again), told("data/x", again)]);
    assert_eq!(project.output_of("target/debug/hello"), "text\n");
    project.write("data/x", "other");
    assert_told(&project.ok("build"), &[]);
    assert_eq!(project.output_of("target/debug/hello"), "other\n");
    let there = project.ok("run -q -- x");
    assert_eq!(there.stdout, "other\n");
    // Without our other lines, too, the error is not the last word.
    project.write("src/main.rs", "fn main() { print!(include_str!(\"../made.quiet\")); }\n");
    project.write("made.quiet", "made");
    let quiet = project.burst("-q build -q");
    assert_eq!(quiet.code, Some(0), "{quiet:#?}");
    let error = quiet.stderr.find("error: couldn't read").unwrap();
    let expected = told("made.quiet", again);
    assert!(quiet.stderr[error..].ends_with(&format!("{expected}\n")), "{}", quiet.stderr);
    // What the keyboard may have typed cannot be typed again.
    project.write("src/main.rs", "fn main() { print!(include_str!(\"../made.txt\")); }\n");
    project.write("made.txt", "made");
    let failed = project.burst("run");
    assert_eq!(failed.code, Some(101));
    assert_told(&failed, &[told("made.txt", "run the command again")]);
    assert_eq!(project.ok("run").stdout, "made");
    // Editors read messages as JSON.
    project
        .write("src/main.rs", "const _: &[u8] = include_bytes!(\"../made.bin\");\nfn main() {}\n");
    project.write("made.bin", "made");
    assert_told(&project.ok("check --message-format json"), &[told("made.bin", again)]);
}

#[test]
fn files_elsewhere_are_sent_if_the_settings_name_them() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    project.ignore("/target\n/data\n");
    project.write("../shared/text", "shared token = 'x'\n");
    project.write("../models/deep/.gitignore", "*\n");
    project.write("../models/deep/model", "model");
    project.write("data/deep/x", "data");
    project.write(
        "src/main.rs",
        "fn main() {\n    print!(\"{}\", include_str!(\"../../shared/text\"));\n    \
         for name in [\"data/deep/x\", \"../models/deep/model\"] {\n        \
         println!(\"{}\", std::fs::read_to_string(name).unwrap());\n    }\n}\n",
    );
    let shared = sandbox.path().join("shared/text");
    assert_told(&project.burst("build"), &[hint(&shared)]);
    let models = sandbox.path().join("models");
    sandbox.settings(&format!(
        "include_paths = ['../shared/text', 'data', '{}', 'none']\n",
        models.display()
    ));
    let found = project.burst("run -q");
    assert_eq!(found.code, Some(0), "{found:#?}\n{}", logs(&simulator, &sandbox));
    assert_eq!(found.stdout, "shared token = 'x'\ndata\nmodel\n");
    sandbox.settings("include_paths = ['..']\n");
    let refused = project.burst("sync");
    let warning = format!(
        "warning: `include_paths` names `{}`, which contains the workspace: it is not sent\n",
        sandbox.path().display()
    );
    assert!(refused.stderr.starts_with(&warning), "{refused:?}");
}

/// The output of a run is not trusted.
#[test]
fn a_run_has_no_file_sent_by_naming_it() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\n/secret\n/data\n");
    project.write("secret", "secret");
    project.write("data/x", "data");
    project.write(
        "src/main.rs",
        "fn main() {\n    let name = [\"sec\", \"ret\"].concat();\n    \
         eprintln!(\"error: couldn't read `{name}`: No such file\\n --> src/main.rs:1:1\");\n    \
         eprintln!(\"open data/{}: No such file or directory\", 'x');\n    \
         std::process::exit(101);\n}\n",
    );
    let found = project.burst("run");
    assert_told(&found, &[hint(Path::new("data/x"))]);
    assert_eq!(found.code, Some(101));
    project.ok("sync");
    assert!(!sandbox.agent_tree(&project.root).join("secret").exists());
}

/// In two runs: the first one writes a source, which the second one compiles.
#[test]
fn a_source_that_a_run_has_written_has_no_file_sent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\nsecret\n");
    project.write("secret", "never to leave");
    let reads = "fn main() { print!(include_str!(\"../secret\")); }\n";
    project.write(
        "src/main.rs",
        format!("fn main() {{ std::fs::write(\"src/main.rs\", {reads:?}).unwrap(); }}\n"),
    );
    project.ok("run -q");
    assert_eq!(project.read("src/main.rs"), reads);
    for _ in 0..2 {
        let failed = project.burst("build");
        assert_eq!(failed.code, Some(101), "{failed:#?}");
        assert_told(&failed, &[hint(Path::new("secret"))]);
        assert!(!sandbox.agent_tree(&project.root).join("secret").exists());
    }
}

/// A package outside of the workspace, which the workspace depends on, in a repository of its own.
fn dependency<'a>(project: &Project<'a>) -> Project<'a> {
    let library = Project { sandbox: project.sandbox, root: project.sandbox.path().join("lib") };
    library.write("Cargo.toml", "[package]\nname = 'lib'\nedition = '2021'\n[workspace]\n");
    library.ignore("/target\nmade*\n/data\n.env\n");
    let manifest = project.read("Cargo.toml");
    project
        .write("Cargo.toml", format!("{manifest}\n[dependencies]\nlib = {{ path = '../lib' }}\n"));
    project.write("src/main.rs", "fn main() { println!(\"{}\", lib::text()); }\n");
    library
}

#[test]
fn a_package_outside_of_the_workspace_that_lacks_ignored_files_gets_them() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let library = dependency(&project);
    let at = |path: &str| library.root.join(path).display().to_string();
    library.write("src/lib.rs", "mod made;\npub fn text() -> &'static str { made::TEXT }\n");
    library.write("src/made.rs", "pub const TEXT: &str = include_str!(\"../data/x\");\n");
    library.write("data/x", "text");
    library.write("data/other", "not sent");
    let again = "cargo runs again now";
    let built = project.burst("build");
    assert_eq!(built.code, Some(0), "{built:#?}\n{}", logs(&simulator, &sandbox));
    assert_told(&built, &[told(&at("src/made.rs"), again), told(&at("data/x"), again)]);
    assert_eq!(project.output_of("target/debug/hello"), "text\n");
    library.write("data/x", "other");
    assert_told(&project.ok("build"), &[]);
    assert_eq!(project.output_of("target/debug/hello"), "other\n");
    // A secret, and a file that lies in no package, are only told.
    for (named, file) in
        [("../.env", library.root.join(".env")), ("../../text", sandbox.path().join("text"))]
    {
        let source = format!("pub fn text() -> &'static str {{ include_str!({named:?}) }}\n");
        library.write("src/lib.rs", source);
        std::fs::write(&file, "secret").unwrap();
        let failed = project.burst("build");
        assert_eq!(failed.code, Some(101), "{failed:#?}");
        assert_told(&failed, &[hint(&file)]);
    }
}

/// The run is one of the package's own workspace, on this machine, and the build one on a server.
#[test]
fn a_source_that_a_run_of_another_workspace_has_written_has_no_file_sent() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let sandbox = sandbox_on(&simulator);
    let project = sandbox.hello("app");
    let library = dependency(&project);
    let reads = "pub fn text() -> &'static str { include_str!(\"../data/x\") }\n";
    library.write("src/lib.rs", "");
    library.write(
        "src/main.rs",
        format!("fn main() {{ std::fs::write(\"src/lib.rs\", {reads:?}).unwrap(); }}\n"),
    );
    library.write("data/x", "never to leave");
    let mut local = library.command("run -q");
    let run = ended(local.env_remove("HCLOUD_TOKEN").output().unwrap());
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(library.read("src/lib.rs"), reads);
    let failed = project.burst("build");
    assert_eq!(failed.code, Some(101), "{failed:#?}\n{}", logs(&simulator, &sandbox));
    assert_told(&failed, &[hint(&library.root.join("data/x"))]);
}

/// A macro of a dependency, which runs while the build does and prints what it likes.
fn printing<'a>(project: &Project<'a>, text: &str) -> Project<'a> {
    let printer =
        Project { sandbox: project.sandbox, root: project.sandbox.path().join("printer") };
    printer.write(
        "Cargo.toml",
        "[package]\nname = 'printer'\nedition = '2021'\n[lib]\nproc-macro = true\n[workspace]\n",
    );
    printer.write(
        "src/lib.rs",
        format!(
            "#[proc_macro]\npub fn print(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    \
             eprintln!(\"{{}}\", {text:?});\n    panic!();\n}}\n"
        ),
    );
    let manifest = project.read("Cargo.toml");
    project.write(
        "Cargo.toml",
        format!("{manifest}\n[dependencies]\nprinter = {{ path = '../printer' }}\n"),
    );
    printer
}

/// Of a build that fails: these files, of which git ignores all, stay here.
#[track_caller]
fn assert_stay_here(project: &Project<'_>, expected: &[String], files: &[&str]) {
    let failed = project.burst("build");
    assert_eq!(failed.code, Some(101), "{failed:#?}");
    assert_told(&failed, expected);
    project.burst("build");
    let there = project.sandbox.agent_tree(&project.root);
    for file in files {
        assert!(project.root.join(file).exists() && !there.join(file).exists(), "{file}");
    }
}

#[test]
fn a_printed_error_about_a_module_has_no_other_file_sent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\nprivate/\nCredentials.json\n/src/util/\n");
    printing(
        &project,
        "error[E0583]: file not found for module `util`\n --> src/main.rs:1:1\n  |\n  = help: to create \
         the module `util`, create file \"private/id_rsa\" or \"Credentials.json\" or \
         \"private/util.rs\"\n",
    );
    project.write("src/main.rs", "mod util;\nprinter::print!();\nfn main() {}\n");
    project.write("src/util.rs", "");
    let files = ["private/id_rsa", "Credentials.json", "private/util.rs"];
    files.iter().for_each(|file| project.write(file, "secret"));
    assert_stay_here(&project, &[hint(Path::new("private/util.rs"))], &files);
}

#[test]
fn a_printed_error_about_a_file_has_none_sent_that_is_called_the_same() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\nprivate/\n.env/\n.ssh/\n");
    let error = |path: &str| {
        format!("error: couldn't read `{path}`: No such file\n --> src/main.rs:1:1\n  |\n\n")
    };
    let files = ["private/config.toml", ".env/config.toml", ".ssh/known", "private/x.env"];
    printing(&project, &files.map(error).concat());
    // The last two are named exactly, and have the names of secrets.
    project.write(
        "src/main.rs",
        "printer::print!();\nfn main() {\n    std::fs::read(\"public/config.toml\").unwrap();\n    \
         print!(\"{}\", include_str!(\"../.ssh/known\"));\n    \
         print!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/private/x.env\"));\n}\n",
    );
    files.iter().for_each(|file| project.write(file, "secret"));
    let hints = [".env/config.toml", ".ssh/known", "private/config.toml"];
    assert_stay_here(&project, &hints.map(|file| hint(Path::new(file))), &files);
}

/// Each line of the output is an error that points at the same source of a megabyte.
#[test]
fn many_printed_errors_are_looked_at_in_bounded_time() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\n");
    let errors: String = (0..20_000)
        .map(|number| format!("error: couldn't read `x{number}`: No\n --> src/big.rs:1:1\n"))
        .collect();
    printing(&project, &errors);
    project.write("src/main.rs", "mod big;\nprinter::print!();\nfn main() {}\n");
    project.write("src/big.rs", "// \"x\"\n".repeat(130_000));
    let failed = project.burst("build");
    assert_eq!(failed.code, Some(101));
    assert_told(&failed, &[]);
}

#[test]
fn a_program_that_panics_without_a_file_is_told_which_one_is_not_sent() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    project.ignore("/target\n*.csv\n");
    project.write("data.csv", "1");
    project.write("whole.csv", "1");
    for (name, path) in [
        ("data.csv", "\"data.csv\""),
        ("whole.csv", "concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/whole.csv\")"),
    ] {
        let main = format!("fn main() {{ std::fs::read_to_string({path}).unwrap(); }}\n");
        project.write("src/main.rs", &main);
        let run = project.burst("run");
        assert_eq!(run.code, Some(101), "{run:?}");
        assert_told(&run, &[hint(Path::new(name))]);
    }
}
