//! Help and version; verbs, flags and exit codes of the help, held against the README.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burst_tests::ended;

use crate::command_line::cargo;
use crate::sandbox;

/// The help of the program is a result, also where no verb asks for it. The help of a verb that
/// is only passed on is cargo's.
#[test]
fn help_is_a_result() {
    let sandbox = sandbox();
    let project = sandbox.hello("app");
    let help = project.ok("help");
    for arguments in ["", "-q", "--"] {
        let (found, cargos) = (project.burst(arguments), cargo(&project, arguments));
        assert_eq!((found.code, cargos.code), (Some(0), Some(0)), "{arguments}");
        assert_eq!((found.stderr.as_str(), cargos.stderr.as_str()), ("", ""), "{arguments}");
        assert_eq!(found.stdout, help.stdout, "{arguments}");
    }
    project.write(".cargo/config.toml", "[alias]\nmine = 'tree'\n");
    for arguments in ["help fmt", "help tree", "help mine", "help nextest"] {
        let (found, cargos) = (project.burst(arguments), cargo(&project, arguments));
        let ours = arguments == "help nextest";
        assert_eq!(found.code, Some(0), "{arguments}: {found:?}");
        assert_eq!(found.stdout == cargos.stdout, !ours, "{arguments}");
    }
    let listed = project.ok("help sync").stdout;
    let listed = listed.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let names: Vec<_> = listed.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["fetch", "keep-alive", "no-reap", "max-cost", "yes", "detach"]);
}

#[test]
fn the_exit_codes_of_the_help_are_in_the_readme() {
    let sandbox = sandbox();
    let help = ended(sandbox.burst_command(sandbox.path(), "help").output().unwrap()).stdout;
    let (_, listed) = help.split_once("Exit codes: cargo's own pass through;").unwrap();
    let codes: Vec<&str> =
        listed.split([',', ' ', '\n']).filter(|word| word.parse::<u8>().is_ok()).collect();
    assert_eq!(codes.len(), 15, "{codes:?}");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let rows: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|word| word.parse::<u8>().is_ok())
        .collect();
    assert_eq!(rows, codes.into_iter().collect());
}

#[test]
fn the_version_names_commit_and_protocol() {
    let sandbox = sandbox();
    let version = ended(sandbox.burst_command(sandbox.path(), "--version").output().unwrap());
    let git = std::process::Command::new("git")
        .args(["log", "-1", "--format=%h %cs", "--abbrev=9"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let commit = String::from_utf8(git.stdout).unwrap();
    let commit = commit.trim();
    let commit = if commit.is_empty() { String::new() } else { format!("{commit}, ") };
    assert_eq!(version.stdout, format!("cargo-burst 0.1.0 ({commit}protocol 1)\n"));
    assert_eq!((version.code, version.stderr.as_str()), (Some(0), ""));
}

/// Verbs and flags in code spans of the README's tables, and those that the help lists.
#[test]
fn the_readme_has_all_verbs_and_flags() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).collect();
    let spans: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let words: BTreeSet<&str> = spans.iter().flat_map(|span| span.split([' ', '[', ']'])).collect();
    let sandbox = sandbox();
    let help = |arguments: &str| {
        ended(sandbox.burst_command(sandbox.path(), arguments).output().unwrap()).stdout
    };
    let text = help("help");
    let listed = text.split("Verbs:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 15, "{verbs:?}");
    let missing: Vec<&&str> = verbs.iter().filter(|verb| !words.contains(**verb)).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "verbs that no table of the README has");
    for verb in &verbs {
        let text = help(&format!("help {verb}"));
        let text = text.split("Examples:").next().unwrap_or_default();
        let flags = text
            .lines()
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
            .map(|flag| flag.split('=').next().unwrap_or(flag))
            .filter(|flag| *flag != "--help" && *flag != "--");
        let missing: Vec<&str> = flags.filter(|flag| !words.contains(flag)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "flags of {verb} that no table of the README has");
    }
}
