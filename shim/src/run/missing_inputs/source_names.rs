//! The files that a Rust source names, by the rules of the compiler: those of its modules, and the
//! paths in its strings. Pure.
//!
//! `mod NAME;` names files below the directory of the source, or below the directory that is called
//! like the source; modules with a body are directories on the way. A string is a path relative to
//! the source, as for `include_str!`, whatever macro it stands in. `concat!` is understood if it
//! joins strings and the directory of the package. Comments name nothing, and neither does what a
//! macro of another source makes up.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;

use super::tokens::{Token, tokens};

/// The longest string that can be a path, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// The variable with the directory of the package.
const PACKAGE: &str = "CARGO_MANIFEST_DIR";

/// Where a source is. Paths are absolute.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourcePlace<'a> {
    pub(super) path: &'a Path,
    /// Whether it is the main file of a target.
    pub(super) is_target: bool,
    /// The directory of its package.
    pub(super) package: Option<&'a Path>,
}

/// How a source names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// By its path.
    Exact,
    /// It names a file that has this name and another path.
    SameName,
    Absent,
}

/// The files that a source names.
#[derive(Debug, Default)]
pub(super) struct SourceNames {
    /// Absolute.
    paths: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

impl SourceNames {
    /// Reads a source.
    pub(super) fn read(text: &str, place: SourcePlace<'_>) -> Self {
        let tokens = tokens(text);
        let mut reading = Reading {
            place,
            directory: ModuleDirectory::of(place),
            outer: Vec::new(),
            attributes: Vec::new(),
            found: Self::default(),
        };
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            rest = &rest[reading.step(rest)..];
        }
        reading.found
    }

    /// How the source names the file at a normalized absolute path.
    pub(super) fn naming(&self, path: &Path) -> Naming {
        match path.file_name() {
            _ if self.paths.contains(path) => Naming::Exact,
            Some(name) if self.names.contains(name) => Naming::SameName,
            _ => Naming::Absent,
        }
    }

    /// The paths that are named below a directory, as they are below it.
    pub(super) fn below<'n>(&'n self, directory: &'n Path) -> impl Iterator<Item = &'n Path> {
        self.paths.iter().filter_map(move |path| path.strip_prefix(directory).ok())
    }

    fn add(&mut self, path: &Path) {
        let path = normalized(path);
        self.names.extend(path.file_name().map(OsStr::to_owned));
        self.paths.insert(path);
    }
}

/// Where the files of modules are.
#[derive(Clone, Debug)]
struct ModuleDirectory {
    path: PathBuf,
    /// A directory below it, for modules without an attribute `path`.
    below: Option<OsString>,
}

impl ModuleDirectory {
    /// That of the modules of a source.
    fn of(place: SourcePlace<'_>) -> Self {
        let name = place.path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let is_beside = place.is_target || ["mod.rs", "main.rs", "lib.rs"].contains(&name);
        let below = place.path.file_stem().map(OsStr::to_owned);
        Self {
            path: place.path.parent().unwrap_or(place.path).to_owned(),
            below: below.filter(|_| !is_beside),
        }
    }

    fn plain(&self) -> PathBuf {
        self.path.join(self.below.as_deref().unwrap_or_default())
    }
}

/// A source that is being read.
struct Reading<'a> {
    place: SourcePlace<'a>,
    directory: ModuleDirectory,
    /// For each open brace, the directory outside of it, if it is another one.
    outer: Vec<Option<ModuleDirectory>>,
    /// The values of attributes `path`, of what follows.
    attributes: Vec<String>,
    found: SourceNames,
}

impl Reading<'_> {
    /// Reads what the tokens begin with; returns how many that are.
    fn step(&mut self, tokens: &[Token<'_>]) -> usize {
        match tokens {
            [Token::Word("mod"), Token::Word(name), Token::Mark(';'), ..] => {
                let directory = self.directory.plain();
                self.found.add(&directory.join(format!("{name}.rs")));
                self.found.add(&directory.join(name).join("mod.rs"));
                for path in self.attributes.drain(..) {
                    self.found.add(&self.directory.path.join(path));
                }
                return 3;
            }
            [Token::Word("mod"), Token::Word(name), Token::Mark('{'), ..] => {
                let path = match self.attributes.drain(..).next() {
                    Some(path) => self.directory.path.join(path),
                    None => self.directory.plain().join(name),
                };
                let inner = ModuleDirectory { path, below: None };
                self.outer.push(Some(std::mem::replace(&mut self.directory, inner)));
                return 3;
            }
            [Token::Word("path"), Token::Mark('='), Token::Text(path), ..] => {
                self.attributes.extend(self.is_path(path).then(|| path.clone()));
            }
            [
                Token::Word("concat"),
                Token::Mark('!'),
                Token::Mark('(' | '[' | '{'),
                joined @ ..,
            ] => {
                if let Some((text, length)) = self.joined(joined) {
                    self.add_text(&text);
                    return 3 + length;
                }
            }
            [Token::Text(text), ..] => self.add_text(text),
            [Token::Mark('{'), ..] => self.outer.push(None),
            [Token::Mark('}'), ..] => {
                if let Some(outer) = self.outer.pop().flatten() {
                    self.directory = outer;
                }
            }
            _ => {}
        }
        if matches!(tokens, [Token::Mark('{' | '}' | ';'), ..]) {
            self.attributes.clear();
        }
        1
    }

    /// The text of a `concat!` behind its open bracket, and its length in tokens.
    fn joined(&self, tokens: &[Token<'_>]) -> Option<(String, usize)> {
        let mut text = String::new();
        let mut rest = tokens;
        loop {
            rest = match rest {
                [Token::Text(part), rest @ ..] => {
                    text += part;
                    rest
                }
                [
                    Token::Word("env"),
                    Token::Mark('!'),
                    Token::Mark('('),
                    Token::Text(name),
                    Token::Mark(')'),
                    rest @ ..,
                ] if name == PACKAGE => {
                    text += self.place.package?.to_str()?;
                    rest
                }
                [Token::Mark(')' | ']' | '}'), ..] => rest,
                _ => return None,
            };
            match rest {
                [Token::Mark(','), behind @ ..] => rest = behind,
                [Token::Mark(')' | ']' | '}'), behind @ ..] => {
                    return Some((text, tokens.len() - behind.len()));
                }
                _ => return None,
            }
        }
    }

    fn is_path(&self, text: &str) -> bool {
        !text.is_empty() && text.len() <= PATH_BYTES_MAX && !text.contains(['\0', '\n'])
    }

    fn add_text(&mut self, text: &str) {
        if self.is_path(text) {
            let directory = self.place.path.parent().unwrap_or(self.place.path);
            self.found.add(&directory.join(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> SourceNames {
        let package = Some(Path::new("/w/app"));
        SourceNames::read(text, SourcePlace { path: Path::new(path), is_target: false, package })
    }

    #[track_caller]
    fn assert_named(path: &str, text: &str, expected: &[&str]) {
        let expected: BTreeSet<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(read(path, text).paths, expected, "{text}");
    }

    #[test]
    fn modules_are_beside_a_root_and_below_other_sources() {
        let main = "/w/app/src/main.rs";
        assert_named(main, "mod a;", &["/w/app/src/a.rs", "/w/app/src/a/mod.rs"]);
        let expected = ["/w/app/src/x/a.rs", "/w/app/src/x/a/mod.rs"];
        for path in ["/w/app/src/x.rs", "/w/app/src/x/mod.rs"] {
            assert_named(path, "pub(in crate::y) mod r#a ;", &expected);
        }
        let place =
            SourcePlace { path: Path::new("/w/app/tests/x.rs"), is_target: true, package: None };
        let found = SourceNames::read("mod a;", place);
        assert_eq!(found.naming(Path::new("/w/app/tests/a.rs")), Naming::Exact);
        assert_eq!(found.naming(Path::new("/w/app/tests/x/a.rs")), Naming::SameName);
        for text in ["// mod a;", "/* /* mod a; */ mod a; */", "mod $a;", "r#\"mod a;\"#\n"] {
            let text = text.replace("r#\"mod a;\"#\n", "x!(r#\"mod a;\n\"#)");
            assert_named(main, &text, &[]);
        }
    }

    #[test]
    fn modules_with_a_body_are_directories() {
        let text = "mod a { fn f() { let c = '}'; } mod b; } mod c;";
        let below = |at: &str| {
            ["a/b.rs", "a/b/mod.rs", "c.rs", "c/mod.rs"].map(|path| format!("{at}/{path}"))
        };
        let expected = below("/w/app/src");
        assert_named("/w/app/src/lib.rs", text, &expected.each_ref().map(String::as_str));
        let expected = below("/w/app/src/x");
        assert_named("/w/app/src/x.rs", text, &expected.each_ref().map(String::as_str));
    }

    #[test]
    fn an_attribute_names_the_file_of_a_module() {
        assert_named(
            "/w/app/src/x.rs",
            "#[cfg_attr(unix, path = \"../y.rs\")]\npub mod a;\nmod b;",
            &[
                "/w/app/y.rs",
                "/w/app/src/x/a.rs",
                "/w/app/src/x/a/mod.rs",
                "/w/app/src/x/b.rs",
                "/w/app/src/x/b/mod.rs",
            ],
        );
        let found = read("/w/app/src/x.rs", "#[path = \"dir\"] mod a { mod b; }");
        assert_eq!(found.naming(Path::new("/w/app/src/dir/b.rs")), Naming::Exact);
        assert_eq!(found.naming(Path::new("/w/app/src/x/a/b.rs")), Naming::SameName);
    }

    #[test]
    fn strings_are_paths_from_the_source() {
        let main = "/w/app/src/main.rs";
        for text in ["m!(\"../d/\\x78\")", "br##\"../d/x\"##", "('\"', r\"../d/x\")"] {
            assert_named(main, text, &["/w/app/d/x"]);
        }
        let found = read(main, "read(\"public/config.toml\")");
        assert_eq!(found.naming(Path::new("/w/app/public/config.toml")), Naming::SameName);
        let in_package = "concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/\", \"d/x\",)";
        assert_named(main, in_package, &["/w/app/d/x"]);
        assert_named(main, "concat![\"../d\", r\"/x\"]", &["/w/app/d/x"]);
        let other = read(main, "concat!(env!(\"OTHER\"), \"/d/x\")");
        assert_eq!(other.naming(Path::new("/w/app/d/x")), Naming::SameName);
        assert_eq!(other.naming(Path::new("/w/app/d/y")), Naming::Absent);
    }
}
