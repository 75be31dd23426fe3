//! Files that a failed run lacked although they are here.
//!
//! What a run prints is not trusted: a build could name any file to have it sent. So a file is
//! sent only if it lies in the workspace or in a package outside of it that is sent, is a regular
//! file that the settings do not exclude, and a source there names it, too, that no run has ever
//! written and that is as it was sent. Other files that exist here are only named to the user.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;
use burst_protocol::tree::Node;
use burst_protocol::{Digest, RelativePath};
use burst_sync::ignore_rules::IgnoreRules;
use burst_sync::root_directory::RootDirectory;
use rustix::fs::FileType;

use super::output_tail::OutputTail;
use crate::settings::Settings;
use crate::workspace::Workspace;
use crate::workspace::credentials::is_credentials;
use crate::workspace::sources::{Sources, below_root, rules};
use crate::workspace::state::WorkspaceState;

/// The largest source that is read, in bytes.
const SOURCE_BYTES_MAX: u64 = 4 << 20;

/// How many files are named to the user.
const NAMED_MAX: usize = 3;

/// How a source names a file.
#[derive(Debug, PartialEq, Eq)]
enum NamedAs {
    /// At the end of a string.
    File(String),
    /// In the declaration of a module.
    Module(String),
}

/// A file that an error of the compiler names.
#[derive(Debug, PartialEq, Eq)]
struct Unread {
    /// The source that the error points at.
    source: PathBuf,
    /// The possible paths of the file.
    paths: Vec<PathBuf>,
    /// What the source must contain.
    named_as: NamedAs,
}

/// What a failed run has lacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Files to send, below `/`.
    pub(super) inputs: BTreeSet<RelativePath>,
    /// Files to tell of, as they are [shown].
    pub(super) named: BTreeSet<PathBuf>,
}

/// What is known of a run that has failed.
#[derive(Clone, Copy)]
pub(super) struct FailedRun<'a> {
    /// The end of its output.
    pub(super) output: &'a OutputTail,
    /// The workspace, from whose root the compiler's paths go out.
    pub(super) workspace: &'a Workspace,
    pub(super) settings: &'a Settings,
    /// The working directory.
    pub(super) directory: &'a Path,
    /// What was sent.
    pub(super) sources: &'a Sources,
    /// What is remembered of runs.
    pub(super) state: &'a WorkspaceState,
}

/// Finds what a run has lacked.
pub(super) fn find(run: FailedRun<'_>) -> Missing {
    let text = run.output.text();
    let text = with_rendered(&text);
    let (unread, not_found) = (unread(&text), not_found(&text));
    let mut missing = Missing::default();
    if unread.is_empty() && not_found.is_empty() {
        return missing;
    }
    let root = run.workspace.root.as_path();
    let look = Look { run, roots: roots(run) };
    let shown = |path: RelativePath| shown(&path, &run.sources.project);
    for unread in unread {
        let paths = || unread.paths.iter().map(|path| root.join(path));
        let unsent = paths().filter_map(|path| look.unsent(&path));
        match look.author_of(&unread) {
            Some(Author::User) => {
                let (secrets, others): (Vec<_>, Vec<_>) = unsent.partition(is_secret);
                missing.inputs.extend(others);
                missing.named.extend(secrets.into_iter().map(shown).take(NAMED_MAX));
                missing.named.extend(paths().filter_map(|path| look.outside(&path)));
            }
            Some(Author::Run) => missing.named.extend(unsent.map(shown).take(NAMED_MAX)),
            None => {}
        }
    }
    if missing.inputs.is_empty() {
        let from = |base: &Path| {
            let unsent = not_found.iter().filter_map(|path| look.unsent(&base.join(path)));
            unsent.map(shown).collect::<Vec<_>>()
        };
        missing.named.extend([run.directory, root].into_iter().flat_map(from).take(NAMED_MAX));
    }
    missing
}

/// A path below `/` as the user is shown it: below the root of the workspace `project`, or
/// absolute.
pub(super) fn shown(path: &RelativePath, project: &RelativePath) -> PathBuf {
    match path.below(project) {
        Some(below) => below.in_directory(Path::new("")),
        None => path.absolute(),
    }
}

/// Who has written a source that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    User,
    /// A run has, or may have.
    Run,
}

/// A directory of the user's sources: the workspace, or a package outside of it.
struct Root {
    /// Below `/`.
    prefix: RelativePath,
    handle: RootDirectory,
    rules: IgnoreRules,
}

/// The directories of the user's sources that can be read.
fn roots(run: FailedRun<'_>) -> Vec<Root> {
    let FailedRun { workspace, settings, .. } = run;
    let open = |path: &PathBuf| {
        let (rules, _) = rules(path, workspace, settings);
        Some(Root {
            prefix: below_root(path).ok()?,
            handle: RootDirectory::open(path).ok()?,
            rules,
        })
    };
    std::iter::once(&workspace.root).chain(&workspace.inputs.outside).filter_map(open).collect()
}

/// What is looked at here.
struct Look<'a> {
    run: FailedRun<'a>,
    roots: Vec<Root>,
}

impl Look<'_> {
    /// The innermost root around a path, and the path below it.
    fn around(&self, path: &Path) -> Option<(&Root, RelativePath)> {
        let place = below_root(&normalized(path)).ok()?;
        let around = self.roots.iter().filter_map(|root| Some((root, place.below(&root.prefix)?)));
        around.max_by_key(|(root, _)| root.prefix.names().count())
    }

    /// The path below `/` of a file that is here, was not sent and may be.
    fn unsent(&self, path: &Path) -> Option<RelativePath> {
        let (root, path) = self.around(path)?;
        let is_file = root
            .handle
            .status(&path)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile);
        let is_git = path.names().any(|name| name.eq_ignore_ascii_case(b".git"));
        let is_refused = is_git || is_credentials(&path) || root.rules.excludes_tracked(&path);
        let place = root.prefix.join_path(&path).ok()?;
        let is_sent = matches!(self.run.sources.tree.get(&place), Some(Node::File(_)));
        (is_file && !is_refused && !is_sent).then_some(place)
    }

    /// The path of a file that is here, outside of the roots.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        let path = normalized(path);
        let place = below_root(&path).ok()?;
        let is_unsent = self.run.sources.tree.get(&place).is_none();
        (self.around(&path).is_none() && path.is_file() && is_unsent).then_some(path)
    }

    /// Who has written the source that is said to need the file; none if it does not name it.
    fn author_of(&self, unread: &Unread) -> Option<Author> {
        let (root, source) = self.around(&self.run.workspace.root.join(&unread.source))?;
        if unread.source.extension() != Some(OsStr::new("rs")) || root.rules.is_in_registry(&source)
        {
            return None;
        }
        let place = root.prefix.join_path(&source).ok()?;
        let sent = self.run.sources.tree.file(&place)?;
        let text = root.handle.read(&source, SOURCE_BYTES_MAX).ok()?;
        let is_as_sent = sent.digest == Digest::of(&text);
        let author = match is_as_sent && !self.run.state.is_written_by_run(&place.absolute()) {
            true => Author::User,
            false => Author::Run,
        };
        names(&String::from_utf8_lossy(&text), &unread.named_as).then_some(author)
    }
}

/// The output, with the messages that cargo prints as JSON in the form for people.
fn with_rendered(text: &str) -> String {
    let rendered = text.lines().filter(|line| line.starts_with('{')).filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("message")?.get("rendered")?.as_str()?.to_owned())
    });
    let rendered: Vec<String> = rendered.collect();
    [&[text.to_owned()], rendered.as_slice()].concat().join("\n")
}

/// The files that errors of the compiler name.
fn unread(text: &str) -> Vec<Unread> {
    const READ: &str = ": couldn't read `";
    const MODULE: &str = ": file not found for module `";
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("error") {
            continue;
        }
        let file = between(line, READ, "`: ").map(PathBuf::from);
        let module = between(line, MODULE, "`");
        if file.is_none() && module.is_none() {
            continue;
        }
        // The lines that belong to the error.
        let below: Vec<&str> = lines
            .clone()
            .take_while(|line| !line.is_empty() && !line.starts_with("error"))
            .collect();
        let source = below.iter().find_map(|line| line.trim_start().strip_prefix("--> "));
        let Some(source) = source.and_then(|place| place.rsplitn(3, ':').nth(2)) else { continue };
        let (paths, named_as) = match (file, module) {
            (Some(file), _) => {
                let Some(name) = file.file_name() else { continue };
                (vec![file.clone()], NamedAs::File(name.to_string_lossy().into_owned()))
            }
            (None, module) => {
                let help = below.iter().find_map(|line| line.split_once(", create file "));
                let paths = help.map(|(_, paths)| quoted(paths)).unwrap_or_default();
                (paths, NamedAs::Module(module.unwrap_or_default().to_owned()))
            }
        };
        found.push(Unread { source: source.into(), paths, named_as });
    }
    found
}

/// The words in double quotes.
fn quoted(text: &str) -> Vec<PathBuf> {
    text.split('"').skip(1).step_by(2).map(PathBuf::from).collect()
}

fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// Whether a source names a file: a string ends in its name, or a module is declared.
fn names(source: &str, named_as: &NamedAs) -> bool {
    match named_as {
        NamedAs::File(name) => {
            ["\"", "/"].iter().any(|start| source.contains(&format!("{start}{name}\"")))
        }
        NamedAs::Module(name) => [";", " ;"].iter().any(|end| {
            ["", "r#"].iter().any(|raw| source.contains(&format!("mod {raw}{name}{end}")))
        }),
    }
}

/// Whether a file is one that only its owner sends: the name of a secret.
fn is_secret(path: &RelativePath) -> bool {
    const ENDINGS: [&[u8]; 5] = [b".pem", b".key", b".p12", b".pfx", b".secret"];
    let name = path.file_name();
    name.starts_with(b".env") || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// What can be a path in lines that say that a file was not found.
fn not_found(text: &str) -> BTreeSet<PathBuf> {
    const SAYING: [&str; 3] = ["No such file or directory", "os error 2)", "NotFound"];
    let lines = text.lines().filter(|line| SAYING.iter().any(|words| line.contains(words)));
    let is_around = |letter: char| "\"'`()[]{}<>,;".contains(letter) || letter.is_whitespace();
    let words = lines.flat_map(|line| line.split(is_around));
    words
        .map(|word| word.trim_end_matches([':', '.', '!']))
        .filter(|word| !word.is_empty())
        .map(|word| Path::new(OsStr::from_bytes(word.as_bytes())).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_compiler_name_files() {
        let mut tail = OutputTail::default();
        tail.add(
            b"\x1b[1m\x1b[91merror\x1b[0m\x1b[1m: couldn't read `app/src/../made/x.txt`: No such \
              file or directory (os error 2)\x1b[0m\n \x1b[1m\x1b[94m--> \x1b[0mapp/src/main.rs:2:23\n\
              \x1b[94m|\x1b[0m\n\n\
              error[E0583]: file not found for module `made`\n --> app/src/lib.rs:1:1\n  |\n1 | mod made;\n\
              \x20 = help: to create the module `made`, create file \"app/src/made.rs\" or \
              \"app/src/made/mod.rs\"\n\n\
              warning: couldn't read `no/error`: it\n --> app/src/main.rs:2:23\n\n\
              error: couldn't read `no/place`: it\n\nerror: aborting\n --> x.rs:1:1\n",
        );
        let expected = [
            Unread {
                source: "app/src/main.rs".into(),
                paths: vec!["app/src/../made/x.txt".into()],
                named_as: NamedAs::File("x.txt".into()),
            },
            Unread {
                source: "app/src/lib.rs".into(),
                paths: vec!["app/src/made.rs".into(), "app/src/made/mod.rs".into()],
                named_as: NamedAs::Module("made".into()),
            },
        ];
        assert_eq!(unread(&with_rendered(&tail.text())), expected);
        let json = "{\"reason\":\"compiler-message\",\"message\":{\"rendered\":\"error: couldn't read \
                    `a`: it\\n --> b.rs:1:2\\n\"}}\n";
        assert_eq!(unread(&with_rendered(json))[0].source, Path::new("b.rs"));
    }

    #[test]
    fn a_source_names_a_file_at_the_end_of_a_string_and_a_module_by_its_declaration() {
        let file = |source: &str| names(source, &NamedAs::File(".env".into()));
        assert!(file("include_str!(\"../.env\")") && file("x(\".env\")"));
        assert!(!file("Command::new(\"git\").env(\"A\", \"b\")") && !file("\"a.env\""));
        let module = |source: &str| names(source, &NamedAs::Module("a".into()));
        assert!(module("pub mod a;") && module("mod r#a;"));
        assert!(!module("mod abc;") && !module("// module a"));
    }

    #[test]
    fn secrets_are_only_named() {
        let is_secret = |path: &str| is_secret(&RelativePath::new(path.as_bytes()).unwrap());
        for path in [".env", "a/.env.local", "tls/server.key", "x.pem"] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["src/gen.rs", "key.rs", "a.env/x"] {
            assert!(!is_secret(path), "{path}");
        }
    }

    #[test]
    fn words_of_a_line_can_be_paths() {
        let text = "thread panicked: open `data/x.csv`: Os { code: 2, kind: NotFound }\n\
                    other data/y\nError: /w/z: No such file or directory (os error 2)\n";
        let found = not_found(text);
        for path in ["data/x.csv", "/w/z"] {
            assert!(found.contains(Path::new(path)), "{path}");
        }
        assert!(!found.contains(Path::new("data/y")));
    }
}
