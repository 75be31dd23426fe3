//! Files that a failed run lacked although they are here.
//!
//! What a run prints is not trusted: a build could name any file to have it sent. So the output
//! only selects among the files that a source of the user names itself ([`source_names`]), which no
//! run has ever written and which is as it was sent. Such a file is sent if it lies in the
//! workspace or in a package outside of it that is sent, is a regular file that the settings do not
//! exclude, and has not the name of a secret. Other files that exist here are only named to the
//! user.

mod compiler_errors;
mod secret_names;
mod source_names;
mod tokens;

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

use self::compiler_errors::{unread, with_rendered};
use self::secret_names::is_secret;
use self::source_names::{Naming, SourceNames, SourcePlace};
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

/// How many words of the output are looked at as paths of files that were not found.
const NOT_FOUND_MAX: usize = 1000;

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
    let says_not_found = says_not_found(&text);
    if unread.is_empty() && !says_not_found {
        return missing;
    }
    let root = run.workspace.root.as_path();
    let look = Look { run, roots: roots(run) };
    let shown = |path: RelativePath| shown(&path, &run.sources.project);
    let mut named = Vec::new();
    for (source, paths) in unread {
        let Some(source) = look.source(&source) else { continue };
        for path in paths.iter().map(|path| normalized(&root.join(path))) {
            let unsent = look.unsent(&path);
            match (source.author, source.names.naming(&path)) {
                (_, Naming::Absent) => {}
                (Author::User, Naming::Exact) => match unsent {
                    Some(Unsent { place, is_secret: false }) => {
                        missing.inputs.insert(place);
                    }
                    Some(unsent) => named.push(shown(unsent.place)),
                    None => named.extend(look.outside(&path)),
                },
                _ => named.extend(unsent.map(|unsent| shown(unsent.place))),
            }
        }
    }
    if missing.inputs.is_empty() {
        let paths = [run.directory, root]
            .into_iter()
            .flat_map(|base| not_found.iter().map(|path| normalized(&base.join(path))));
        let unsent = paths.filter_map(|path| look.unsent(&path));
        named.extend(unsent.map(|unsent| shown(unsent.place)).take(NAMED_MAX));
        if named.is_empty() && says_not_found {
            named.extend(look.named_by_panics(&text).map(|unsent| shown(unsent.place)));
        }
    }
    for path in named {
        if missing.named.len() < NAMED_MAX {
            missing.named.insert(path);
        }
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

/// A source that is said to need a file.
struct ReadSource {
    author: Author,
    names: SourceNames,
}

/// A file that is here, was not sent and may be.
struct Unsent {
    /// Below `/`.
    place: RelativePath,
    is_secret: bool,
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
    /// The innermost root around a normalized path, and the path below it.
    fn around(&self, path: &Path) -> Option<(&Root, RelativePath)> {
        let place = below_root(path).ok()?;
        let around = self.roots.iter().filter_map(|root| Some((root, place.below(&root.prefix)?)));
        around.max_by_key(|(root, _)| root.prefix.names().count())
    }

    /// The file at a normalized path, if it is here, was not sent and may be.
    fn unsent(&self, path: &Path) -> Option<Unsent> {
        let (root, path) = self.around(path)?;
        let is_file = root
            .handle
            .status(&path)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile);
        let is_git = path.names().any(|name| name.eq_ignore_ascii_case(b".git"));
        let is_refused = is_git || is_credentials(&path) || root.rules.excludes_tracked(&path);
        let place = root.prefix.join_path(&path).ok()?;
        let is_sent = matches!(self.run.sources.tree.get(&place), Some(Node::File(_)));
        (is_file && !is_refused && !is_sent).then(|| Unsent { place, is_secret: is_secret(&path) })
    }

    /// A normalized path if a file is here, outside of the roots.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        let place = below_root(path).ok()?;
        let is_unsent = self.run.sources.tree.get(&place).is_none();
        let is_outside = self.around(path).is_none() && path.is_file() && is_unsent;
        is_outside.then(|| path.to_owned())
    }

    /// The directory of the innermost package around a normalized path.
    fn package_of(&self, path: &Path) -> Option<&Path> {
        let packages = self.run.workspace.inputs.packages.iter();
        let around = packages.filter(|package| path.starts_with(package));
        around.max_by_key(|package| package.iter().count()).map(PathBuf::as_path)
    }

    /// The files that are here and named in sources in which a program has panicked: an error says
    /// that a file was not found, and not which one.
    fn named_by_panics(&self, text: &str) -> impl Iterator<Item = Unsent> {
        panics(text).into_iter().take(NAMED_MAX).flat_map(|path| {
            let path = normalized(&self.run.workspace.root.join(path));
            let names = self.source(&path).map(|source| source.names).unwrap_or_default();
            let bases = [Some(self.run.directory), self.package_of(&path)];
            let directory = path.parent().unwrap_or(&path);
            // From where the program runs, and the whole paths of the macros.
            let from_bases = bases.into_iter().flatten().flat_map(|base| {
                names.below(directory).map(move |name| normalized(&base.join(name)))
            });
            let whole = names.below(Path::new("/")).map(|name| Path::new("/").join(name));
            let paths = from_bases.chain(whole);
            paths.filter_map(|path| self.unsent(&path)).collect::<Vec<_>>()
        })
    }

    /// A source of the workspace or of a package, by its path as the compiler says it.
    fn source(&self, path: &Path) -> Option<ReadSource> {
        let path = normalized(&self.run.workspace.root.join(path));
        let (root, below) = self.around(&path)?;
        if path.extension() != Some(OsStr::new("rs")) || root.rules.is_in_registry(&below) {
            return None;
        }
        let place = root.prefix.join_path(&below).ok()?;
        let sent = self.run.sources.tree.file(&place)?;
        let text = root.handle.read(&below, SOURCE_BYTES_MAX).ok()?;
        let is_as_sent = sent.digest == Digest::of(&text);
        let author = match is_as_sent && !self.run.state.is_written_by_run(&place.absolute()) {
            true => Author::User,
            false => Author::Run,
        };
        let inputs = &self.run.workspace.inputs;
        let place = SourcePlace {
            path: &path,
            is_target: inputs.targets.iter().any(|(target, _)| *target == path),
            package: self.package_of(&path),
        };
        Some(ReadSource {
            author,
            names: SourceNames::read(&String::from_utf8_lossy(&text), place),
        })
    }
}

/// Whether a text says that a file was not found.
fn says_not_found(text: &str) -> bool {
    const SAYING: [&str; 3] = ["No such file or directory", "os error 2)", "NotFound"];
    SAYING.iter().any(|words| text.contains(words))
}

/// The sources in which a program has panicked, as it says: `panicked at src/main.rs:2:5`.
fn panics(text: &str) -> BTreeSet<PathBuf> {
    let places = text.split("panicked at ").skip(1);
    let path = |place: &str| {
        let place = place.lines().next()?;
        let end = place.find(".rs:")? + ".rs".len();
        // Before Rust 1.73 the message is in between.
        Some(PathBuf::from(place[..end].rsplit(' ').next()?))
    };
    places.filter_map(path).collect()
}

/// What can be a path in lines that say that a file was not found.
fn not_found(text: &str) -> BTreeSet<PathBuf> {
    let lines = text.lines().filter(|line| says_not_found(line));
    let is_around = |letter: char| "\"'`()[]{}<>,;".contains(letter) || letter.is_whitespace();
    let words = lines.flat_map(|line| line.split(is_around));
    words
        .map(|word| word.trim_end_matches([':', '.', '!']))
        .filter(|word| !word.is_empty())
        .take(NOT_FOUND_MAX)
        .map(|word| Path::new(OsStr::from_bytes(word.as_bytes())).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_panics_are_told() {
        let text = "thread 'main' panicked at src/main.rs:2:5:\ncalled `unwrap`: Os { code: 2 }\n\
                    thread 'x' panicked at 'no file', tests/my test.rs:1:1\npanicked at last";
        let expected = ["src/main.rs", "test.rs"].map(PathBuf::from);
        assert_eq!(panics(text), expected.into());
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
