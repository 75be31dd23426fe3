//! The rules that select the files of a workspace to be sent.
//!
//! The first rule that matches decides:
//!
//! 1. The current target directory is never sent.
//! 2. `extra_excludes`: patterns as in a `.gitignore` at the workspace root, including
//!    negation with `!`.
//! 3. The default excludes, except those in `unexclude`.
//! 4. git's rules for untracked files: `.gitignore` files from the deepest directory up to
//!    the root of the repository, then `info/exclude` of its git directory, then its excludes
//!    file (`core.excludesFile`), whose name the caller finds. As in git, a nested repository
//!    is not subject to the rules of the outer one, but to its own, and where there is no
//!    repository, of git or of Jujutsu, there are no rules.
//!
//! A file that git tracks is sent, whatever the patterns in 3 and 4 say. Only git knows
//! the tracked files, so the caller asks git and adds those that
//! [`IgnoreRules::excludes_tracked`] does not exclude. In the same way it adds what cargo reads,
//! of which it may scan whole directories ([`IgnoreRules::whole`]).
//!
//! Of a directory that git alone ignores, the directory itself is sent, empty: programs write to
//! `logs/` or `tmp/` without making it. Hidden files are sent. A directory that cargo has marked as a target directory with a
//! `CACHEDIR.TAG` counts as `target/`; a directory that is only named `target` does not,
//! because crates have source directories of this name. The files that cargo itself reads
//! ([`cargo_reads`]) are sent even if they are ignored, because a missing `Cargo.lock`
//! would change the build.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burst_protocol::{Digest, RelativePath};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, gitconfig_excludes_path};

use crate::git_directory::Repository;
use crate::regular_file::{self, Links};
use crate::scan::Filter;

/// The default excludes, as patterns of a `.gitignore`. Each can be disabled with
/// `unexclude`.
pub const DEFAULT_EXCLUDES: [&str; 8] =
    ["target/", ".git/", "node_modules/", ".direnv/", ".vscode/", ".idea/", "*.swp", ".DS_Store"];

/// Suffix of the agent's version of a file that was edited on both ends. Files with this
/// suffix are never sent.
pub const CONFLICT_SUFFIX: &str = ".from-burst";

/// The names in a directory that change what a scan sends of it.
const NAMES_WITH_RULES: [&[u8]; 4] = [TAG_FILE, GIT, JUJUTSU, GITIGNORE];
const TAG_FILE: &[u8] = b"CACHEDIR.TAG";
const GIT: &[u8] = b".git";
/// Jujutsu reads the ignore files of git, also where git has no repository.
const JUJUTSU: &[u8] = b".jj";
const GITIGNORE: &[u8] = b".gitignore";

/// The number of versions that can lie beside one path.
const CONFLICTS_MAX: u32 = 10_000;

/// The paths for another version of a path, in the order in which they are tried:
/// `NAME.from-burst`, `NAME.1.from-burst` and so on. A name that would become too long is
/// replaced by its digest. The versions of a version are those of its path.
pub fn conflict_paths(path: &RelativePath) -> impl Iterator<Item = RelativePath> + use<> {
    let (parent, name) = path.split();
    let parent = parent.map(|parent| [parent, b"/"].concat()).unwrap_or_default();
    let name = name.strip_suffix(CONFLICT_SUFFIX.as_bytes()).unwrap_or(name).to_owned();
    (0..CONFLICTS_MAX).filter_map(move |number| {
        let suffix = match number {
            0 => CONFLICT_SUFFIX.to_owned(),
            number => format!(".{number}{CONFLICT_SUFFIX}"),
        };
        let with = |name: &[u8]| {
            RelativePath::new(&[parent.as_slice(), name, suffix.as_bytes()].concat()).ok()
        };
        with(&name).or_else(|| with(&Digest::of(&name).to_hex().as_bytes()[..16]))
    })
}

/// Finds the excludes file (`core.excludesFile`) of a repository, or, outside of one, that of
/// the user. It need not exist.
pub type FindExcludes = fn(Option<&Repository>) -> Option<PathBuf>;

/// The excludes file of the user, as far as it can be found without git: other files that the
/// configuration includes are not read.
pub fn excludes_without_git() -> Option<PathBuf> {
    gitconfig_excludes_path()
}

/// The rules for one root directory.
#[derive(Debug)]
pub struct IgnoreRules {
    root: PathBuf,
    extra: Gitignore,
    defaults: Gitignore,
    marked_targets: bool,
    never: HashSet<RelativePath>,
    registries: HashSet<RelativePath>,
    outer: Rules,
    find_excludes: FindExcludes,
}

/// The rules that apply in a directory, beside the settings.
#[derive(Clone, Debug)]
pub enum Rules {
    /// There is no repository, so that a `.gitignore` does not count.
    NoRepository,
    /// The patterns of a repository, if it has any.
    Repository(Option<Arc<Level>>),
    /// Everything is sent, whatever git says.
    Whole(Whole),
}

/// A kind of directory of which everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// That of a package or of a target's sources, less the default excludes.
    Package,
    /// The replacement of a registry: vendored packages, of which cargo verifies every file, or
    /// an index with archives. Nothing else in it is sent.
    Registry,
}

/// One file of patterns, linked to those that it takes precedence over.
#[derive(Debug)]
pub struct Level {
    above: Option<Arc<Self>>,
    matcher: Gitignore,
}

/// A warning for the user about a pattern in the settings that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleWarning(pub String);

impl IgnoreRules {
    /// Makes the rules for `root` from the settings and from the ignore files above it.
    /// `never` contains paths below the root that are excluded unconditionally, such as
    /// the target directory. `find_excludes` is called for each repository that is met.
    pub fn new(
        root: &Path,
        unexclude: &[String],
        extra_excludes: &[String],
        never: HashSet<RelativePath>,
        find_excludes: FindExcludes,
    ) -> (Self, Vec<RuleWarning>) {
        // git follows links in the path, too.
        let root = &root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let mut warnings = Vec::new();
        for entry in unexclude {
            if !DEFAULT_EXCLUDES.iter().any(|default| same_exclude(default, entry)) {
                warnings.push(RuleWarning(format!(
                    "`unexclude` contains {entry:?}, which is not a default exclude ({})",
                    DEFAULT_EXCLUDES.join(" ")
                )));
            }
        }
        let kept = |default: &str| !unexclude.iter().any(|entry| same_exclude(default, entry));
        let mut defaults: Vec<String> = DEFAULT_EXCLUDES
            .into_iter()
            .filter(|default| *default != "target/" && kept(default))
            .map(ToOwned::to_owned)
            .collect();
        // In worktrees and submodules `.git` is a file.
        if defaults.iter().any(|default| default == ".git/") {
            defaults.push(".git".into());
        }
        defaults.push(format!("*{CONFLICT_SUFFIX}"));
        let rules = Self {
            extra: from_lines(root, extra_excludes, &mut warnings),
            defaults: from_lines(root, &defaults, &mut warnings),
            marked_targets: kept("target/"),
            never,
            registries: HashSet::new(),
            outer: outer_levels(root, find_excludes),
            find_excludes,
            root: root.to_owned(),
        };
        (rules, warnings)
    }

    /// Whether a path lies in the replacement of a registry.
    pub fn is_in_registry(&self, path: &RelativePath) -> bool {
        self.registries.iter().any(|registry| path.below(registry).is_some())
    }

    /// Names replacements of registries below the root.
    #[must_use]
    pub fn with_registries(mut self, registries: HashSet<RelativePath>) -> Self {
        self.registries = registries;
        self
    }

    /// Whether the default excludes match a path or a directory above it.
    pub fn is_default_excluded(&self, path: &RelativePath) -> bool {
        self.defaults.matched_path_or_any_parents(self.absolute(Some(path)), false).is_ignore()
    }

    /// Whether a tracked file, or one that cargo reads, is excluded: by the settings, because it
    /// lies in the target directory, or because it is a version of a run.
    pub fn excludes_tracked(&self, path: &RelativePath) -> bool {
        let is_conflict = path.as_bytes().ends_with(CONFLICT_SUFFIX.as_bytes());
        is_conflict
            || self.is_never(path)
            || self.extra.matched_path_or_any_parents(self.absolute(Some(path)), false).is_ignore()
    }

    /// Whether a file that a run has made is excluded: as a tracked one, and by the default
    /// excludes.
    pub fn excludes_made(&self, path: &RelativePath) -> bool {
        let absolute = self.absolute(Some(path));
        self.is_never(path)
            || match self.extra.matched_path_or_any_parents(&absolute, false) {
                Match::Ignore(_) => true,
                Match::Whitelist(_) => false,
                Match::None => self.is_default_excluded(path),
            }
    }

    fn is_never(&self, path: &RelativePath) -> bool {
        self.never.iter().any(|never| path.is_within(never))
    }

    /// The rules for a directory of which everything is sent that these settings allow, whatever
    /// git says; the root if there is no path.
    pub const fn whole(&self, directory: Option<RelativePath>, kind: Whole) -> WholeRules<'_> {
        WholeRules { rules: self, directory, kind }
    }

    /// Whether a scan passes over a file, or a directory above it, that git does not track.
    pub fn leaves_out(&self, path: &RelativePath) -> bool {
        let mut above: Vec<RelativePath> =
            std::iter::successors(path.parent(), RelativePath::parent).collect();
        above.reverse();
        let mut context = self.root();
        let directories = std::iter::once(None).chain(above.iter().map(Some));
        for directory in directories {
            if directory.is_some_and(|directory| self.skips(directory, true, &context)) {
                return true;
            }
            let is_here = |name: &&[u8]| {
                let name = Path::new(OsStr::from_bytes(name));
                self.absolute(directory).join(name).symlink_metadata().is_ok()
            };
            let names = NAMES_WITH_RULES.into_iter().filter(is_here).collect();
            match self.enter(directory, &names, &context) {
                Some(inner) => context = inner,
                None => return true,
            }
        }
        self.skips(path, false, &context)
    }

    fn decide(&self, path: &RelativePath, is_directory: bool, rules: &Rules) -> bool {
        let absolute = self.absolute(Some(path));
        match self.extra.matched(&absolute, is_directory) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        if is_directory && self.registries.contains(path) {
            return false;
        }
        match rules {
            Rules::Whole(Whole::Registry) => self.is_of_no_registry(path, is_directory),
            _ if self.defaults.matched(&absolute, is_directory).is_ignore() => true,
            Rules::NoRepository | Rules::Whole(Whole::Package) => false,
            Rules::Repository(level) => is_ignored(&absolute, is_directory, level.as_ref()),
        }
    }

    /// Whether cargo reads an entry of the replacement of a registry not: beside the packages, or
    /// the index and the archives.
    fn is_of_no_registry(&self, path: &RelativePath, is_directory: bool) -> bool {
        let is_first = path.parent().is_none_or(|parent| self.registries.contains(&parent));
        let absolute = self.absolute(Some(path));
        match (is_first, is_directory) {
            (false, _) => path.file_name() == GIT,
            (true, true) => {
                path.file_name() != b"index" && !absolute.join(".cargo-checksum.json").is_file()
            }
            (true, false) => absolute.extension() != Some(OsStr::new("crate")),
        }
    }

    fn absolute(&self, path: Option<&RelativePath>) -> PathBuf {
        match path {
            Some(path) => path.in_directory(&self.root),
            None => self.root.clone(),
        }
    }
}

impl Filter for IgnoreRules {
    type Context = Rules;

    fn root(&self) -> Self::Context {
        self.outer.clone()
    }

    fn enter(
        &self,
        path: Option<&RelativePath>,
        names: &HashSet<&[u8]>,
        context: &Self::Context,
    ) -> Option<Self::Context> {
        let is_registry = path.is_some_and(|path| self.registries.contains(path));
        if is_registry || matches!(context, Rules::Whole(Whole::Registry)) {
            return Some(Rules::Whole(Whole::Registry));
        }
        let marked = self.marked_targets && path.is_some() && names.contains(TAG_FILE);
        if marked && is_cargo_target(&self.absolute(path)) {
            return None;
        }
        let mut rules = context.clone();
        // The repository of the root is among the outer levels.
        if path.is_some()
            && !matches!(rules, Rules::Whole(_))
            && (names.contains(GIT) || names.contains(JUJUTSU))
            && let Some(levels) = levels_at(&self.absolute(path), self.find_excludes)
        {
            rules = Rules::Repository(levels);
        }
        if let (true, Rules::Repository(level)) = (names.contains(GITIGNORE), &mut rules) {
            *level = with_gitignore(&self.absolute(path), level.take());
        }
        Some(rules)
    }

    fn skips(&self, path: &RelativePath, is_directory: bool, context: &Self::Context) -> bool {
        if self.never.contains(path) {
            return true;
        }
        self.decide(path, is_directory, context)
    }

    /// Programs expect a directory such as `logs/`, of which git alone ignores what is in it.
    fn keeps_empty(&self, path: &RelativePath, context: &Self::Context) -> bool {
        let absolute = self.absolute(Some(path));
        let is_of_git = |matcher: &Gitignore| matcher.matched(&absolute, true).is_none();
        matches!(context, Rules::Repository(_))
            && !self.never.contains(path)
            && [&self.extra, &self.defaults].into_iter().all(is_of_git)
            && !is_cargo_target(&absolute)
    }
}

/// The rules for a directory of which everything is sent. Its paths are relative to it.
#[derive(Debug)]
pub struct WholeRules<'a> {
    rules: &'a IgnoreRules,
    directory: Option<RelativePath>,
    kind: Whole,
}

impl WholeRules<'_> {
    /// A path below the directory, as one below the root.
    fn below_root(&self, path: Option<&RelativePath>) -> Option<RelativePath> {
        match (&self.directory, path) {
            (Some(directory), Some(path)) => directory.join_path(path).ok(),
            (directory, None) => directory.clone(),
            (None, path) => path.cloned(),
        }
    }
}

impl Filter for WholeRules<'_> {
    type Context = Rules;

    fn root(&self) -> Rules {
        Rules::Whole(self.kind)
    }

    fn enter(
        &self,
        path: Option<&RelativePath>,
        names: &HashSet<&[u8]>,
        context: &Rules,
    ) -> Option<Rules> {
        match path {
            None => Some(context.clone()),
            Some(_) => self.rules.enter(self.below_root(path).as_ref(), names, context),
        }
    }

    fn skips(&self, path: &RelativePath, is_directory: bool, context: &Rules) -> bool {
        // The scan reports a path that is too long.
        let full = self.below_root(Some(path));
        full.is_some_and(|full| self.rules.skips(&full, is_directory, context))
    }
}

/// Whether the patterns of a repository match.
fn is_ignored(path: &Path, is_directory: bool, level: Option<&Arc<Level>>) -> bool {
    let mut level = level;
    while let Some(here) = level {
        match here.matcher.matched(path, is_directory) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => level = here.above.as_ref(),
        }
    }
    false
}

/// The files below a workspace root that cargo itself reads. They are sent if they exist,
/// whether or not git ignores them.
pub fn cargo_reads() -> impl Iterator<Item = RelativePath> {
    [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        ".cargo/config",
        "rust-toolchain.toml",
        "rust-toolchain",
    ]
    .into_iter()
    .filter_map(|path| RelativePath::new(path.as_bytes()).ok())
}

/// Whether cargo has marked a directory as a target directory.
pub fn is_cargo_target(directory: &Path) -> bool {
    read_regular(&directory.join("CACHEDIR.TAG")).is_ok_and(|tag| is_cargo_tag(&tag))
}

/// The largest ignore file or tag that is read, in bytes.
pub const RULES_BYTES_MAX: u64 = 1 << 20;

/// Reads a regular file of a working tree, as git reads its ignore files: a symbolic link, which
/// a run may have made, is not followed, and a pipe is not waited for.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    regular_file::read(path, RULES_BYTES_MAX, Links::Refused)
}

/// Whether the content of a `CACHEDIR.TAG` is that of cargo.
pub fn is_cargo_tag(tag: &[u8]) -> bool {
    let tag = String::from_utf8_lossy(tag);
    tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55") && tag.contains("cargo")
}

fn same_exclude(default: &str, entry: &str) -> bool {
    default.trim_end_matches('/') == entry.trim_end_matches('/')
}

fn from_lines(root: &Path, lines: &[String], warnings: &mut Vec<RuleWarning>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for line in lines {
        if let Err(error) = builder.add_line(None, line) {
            warnings
                .push(RuleWarning(format!("the exclude {line:?} is not a valid pattern: {error}")));
        }
    }
    builder.build().unwrap_or_else(|error| {
        warnings.push(RuleWarning(format!("the excludes have no effect: {error}")));
        Gitignore::empty()
    })
}

/// Adds the `.gitignore` of a directory.
fn with_gitignore(directory: &Path, above: Option<Arc<Level>>) -> Option<Arc<Level>> {
    let text = read_regular(&directory.join(".gitignore"));
    with_patterns(directory, &text.unwrap_or_default(), above)
}

/// Adds a file of patterns that lies outside of the working tree, and may be a link.
fn with_file(work_tree: &Path, file: &Path, above: Option<Arc<Level>>) -> Option<Arc<Level>> {
    let text = regular_file::read(file, RULES_BYTES_MAX, Links::Followed);
    with_patterns(work_tree, &text.unwrap_or_default(), above)
}

/// Adds patterns that are relative to a directory.
fn with_patterns(directory: &Path, text: &[u8], above: Option<Arc<Level>>) -> Option<Arc<Level>> {
    let mut builder = GitignoreBuilder::new(directory);
    for line in String::from_utf8_lossy(text).trim_start_matches('\u{feff}').lines() {
        // Like git, skip invalid lines.
        drop(builder.add_line(None, &as_glob(line)));
    }
    match builder.build() {
        Ok(matcher) if !matcher.is_empty() => Some(Arc::new(Level { above, matcher })),
        _ => above,
    }
}

/// The classes of characters that git has by name, each as characters and ranges.
const CLASSES: [(&str, &str); 8] = [
    ("[:alnum:]", "a-zA-Z0-9"),
    ("[:alpha:]", "a-zA-Z"),
    ("[:blank:]", " \t"),
    ("[:digit:]", "0-9"),
    ("[:lower:]", "a-z"),
    ("[:space:]", " \t\n\r\x0b\x0c"),
    ("[:upper:]", "A-Z"),
    ("[:xdigit:]", "0-9a-fA-F"),
];

/// A pattern of git in the language of the matcher, where braces are alternatives and classes of
/// characters have no names.
fn as_glob(pattern: &str) -> String {
    let mut glob = String::new();
    let mut rest = pattern;
    let mut is_in_class = false;
    while let Some(next) = rest.chars().next() {
        let class = CLASSES.iter().find(|(name, _)| is_in_class && rest.starts_with(name));
        let length = match (next, class) {
            (_, Some((name, ranges))) => {
                glob.push_str(ranges);
                rest = &rest[name.len()..];
                continue;
            }
            ('\\', _) if !is_in_class => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            ('[', _) if !is_in_class => {
                is_in_class = true;
                // A bracket at the beginning is one of the characters.
                let negated = 1 + usize::from(rest[1..].starts_with(['!', '^']));
                negated + usize::from(rest[negated..].starts_with(']'))
            }
            (']', _) => {
                is_in_class = false;
                1
            }
            ('{' | '}', _) if !is_in_class => {
                glob.push('\\');
                1
            }
            _ => next.len_utf8(),
        };
        glob.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    glob
}

/// The patterns of a repository that lie outside of its working tree.
fn repository_levels(repository: &Repository, find_excludes: FindExcludes) -> Option<Arc<Level>> {
    let work_tree = &repository.work_tree;
    let excludes = find_excludes(Some(repository));
    let level = excludes.and_then(|excludes| with_file(work_tree, &excludes, None));
    with_file(work_tree, &repository.common.join("info/exclude"), level)
}

/// The patterns of the repository whose working tree is `work_tree`, if it is one; one of Jujutsu
/// alone has the user's excludes file.
fn levels_at(work_tree: &Path, find_excludes: FindExcludes) -> Option<Option<Arc<Level>>> {
    if let Some(repository) = Repository::at(work_tree) {
        return Some(repository_levels(&repository, find_excludes));
    }
    let is_jujutsu = work_tree.join(OsStr::from_bytes(JUJUTSU)).is_dir();
    is_jujutsu.then(|| with_file(work_tree, &find_excludes(None)?, None))
}

/// The patterns that apply to `root` from outside of it.
fn outer_levels(root: &Path, find_excludes: FindExcludes) -> Rules {
    let at = |directory: &Path| Some((levels_at(directory, find_excludes)?, directory.to_owned()));
    let Some((mut level, work_tree)) = root.ancestors().find_map(at) else {
        return Rules::NoRepository;
    };
    let mut between: Vec<&Path> =
        root.ancestors().skip(1).take_while(|above| above.starts_with(&work_tree)).collect();
    between.reverse();
    for directory in between {
        level = with_gitignore(directory, level);
    }
    Rules::Repository(level)
}

#[cfg(test)]
mod tests;
