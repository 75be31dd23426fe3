//! The structure of the code: rooms whose arrows point down, and no circle of imports.
//!
//! The sources are read as text: `use` declarations and paths that begin with `crate`,
//! `self` or `super`. Unit tests at the end of a file are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms of the shim from top to bottom: a room may name those below it, never one
/// above it. Rooms in one row do not know each other.
const ROOMS: [&[&str]; 18] = [
    &["main"],
    &["lib"],
    &["cli"],
    &["commands"],
    &["run"],
    &["detached"],
    &["transfer"],
    &["workspace"],
    &["agent"],
    &["keeper"],
    &["hetzner"],
    &["terminal"],
    &["settings"],
    &["cargo_config", "cargo_options", "connection", "log"],
    &["background"],
    &["atomic_file", "directories"],
    &["environment"],
    &["error"],
];

/// The crates whose files must not import each other in circles.
const CRATES: [&str; 5] = ["shim", "shim/hcloud", "agent", "agent/protocol", "agent/sync"];

/// A module: its path below the crate, such as `hetzner::lease`; `lib` is the root.
type Module = String;

#[test]
fn rooms_name_only_those_below_them() {
    let level = |room: &str| ROOMS.iter().position(|row| row.contains(&room));
    let mut wrong = Vec::new();
    for (from, targets) in imports("shim") {
        let own = room_of(&from);
        let own_level = level(own).unwrap_or_else(|| panic!("`{own}` is in no row of ROOMS"));
        for to in targets {
            let room = room_of(&to);
            let below = level(room).is_some_and(|level| level > own_level);
            if room != own && !below {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "arrows that point up");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for name in CRATES {
        let graph = imports(name);
        // A module is in a circle if it can reach itself.
        let circle: Vec<&Module> =
            graph.keys().filter(|module| reachable(&graph, module).contains(*module)).collect();
        if !circle.is_empty() {
            circles.push(format!("{name}: {circle:?}"));
        }
    }
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn the_reader_sees_every_form_of_import() {
    let source = "use crate::a::{self, B};\nuse super::c::{D, e::F};\nfn f() { self::g::h(); \
                  crate::i::J::new(); k::l(); }\npub use self::y::Y;\n// crate::comment\n#[cfg(test)]\nmod tests { use crate::z; }";
    let modules: BTreeSet<Module> =
        ["lib", "a", "m", "m::n", "m::c", "m::c::e", "m::n::g", "m::n::k", "i", "y", "z"]
            .map(String::from)
            .into();
    let found = targets(source, "m::n", &modules);
    assert_eq!(found, ["a", "i", "m::c", "m::c::e", "m::n::g", "m::n::k"].map(String::from).into());
}

fn room_of(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn reachable(graph: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&Module> = graph.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if seen.insert(module.clone()) {
            next.extend(graph.get(module).into_iter().flatten());
        }
    }
    seen
}

/// Which modules each module of a crate imports from, itself left out.
fn imports(name: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "{} has no sources", root.display());
    let sources: BTreeMap<Module, String> = files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            (module_of(file.strip_prefix(&root).unwrap()), text)
        })
        .collect();
    let modules: BTreeSet<Module> = sources.keys().cloned().collect();
    sources.iter().map(|(module, text)| (module.clone(), targets(text, module, &modules))).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module_of(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts.join("::")
}

/// The modules that a source names.
fn targets(source: &str, own: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code: String = source
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let code = without_reexports(&code);
    let mut found = BTreeSet::new();
    for (keyword, base) in [("crate::", ""), ("self::", own), ("super::", parent_of(own))] {
        for (at, _) in code.match_indices(keyword) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|one| one.is_alphanumeric() || one == '_' || one == ':') {
                continue;
            }
            for path in expand(&code[at + keyword.len()..]) {
                let base = if base == "lib" { "" } else { base };
                let full = if base.is_empty() { path } else { format!("{base}::{path}") };
                found.insert(nearest(&full, modules));
            }
        }
    }
    // A module also names its own children without a keyword.
    let prefix = if own == "lib" { String::new() } else { format!("{own}::") };
    for child in modules.iter().filter_map(|module| module.strip_prefix(&prefix)) {
        for (at, _) in code.match_indices(&format!("{child}::")) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|one| one.is_alphanumeric() || one == '_' || one == ':') {
                found.insert(format!("{prefix}{child}"));
            }
        }
    }
    found.remove(own);
    found
}

/// A re-export makes a name shorter; the module itself does not need it.
fn without_reexports(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) =
        ["pub use ", "pub(crate) use ", "pub(super) use ", "pub(in crate::settings) use "]
            .iter()
            .filter_map(|start| rest.find(start))
            .min()
    {
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        kept.push_str(&rest[..at]);
        // Only of a module's own children.
        let path = rest[at..end].split_once(" use ").map_or("", |(_, path)| path);
        if !path.starts_with("self::") {
            kept.push_str(path);
        }
        rest = &rest[end..];
    }
    kept + rest
}

fn parent_of(module: &str) -> &str {
    module.rsplit_once("::").map_or("lib", |(parent, _)| parent)
}

/// The paths that the text begins with, groups in braces taken apart.
fn expand(text: &str) -> Vec<String> {
    let end = text.find(|one: char| !(one.is_alphanumeric() || one == '_' || one == ':'));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let Some(group) = rest.strip_prefix('{').filter(|_| head.is_empty() || head.ends_with("::"))
    else {
        return vec![head.trim_end_matches(':').to_owned()];
    };
    let mut depth = 1;
    let length = group.find(|one| {
        depth += match one {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    let mut items = vec![String::new()];
    for one in group[..length.unwrap_or(group.len())].chars().filter(|one| !one.is_whitespace()) {
        depth += match one {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        match one {
            ',' if depth == 0 => items.push(String::new()),
            other => items.last_mut().expect("never empty").push(other),
        }
    }
    let paths = items.iter().filter(|item| !item.is_empty()).flat_map(|item| expand(item));
    paths
        .map(|path| match path.as_str() {
            "self" => head.trim_end_matches(':').to_owned(),
            path => format!("{head}{path}"),
        })
        .collect()
}

/// The module that a path leads into: its longest beginning that is one.
fn nearest(path: &str, modules: &BTreeSet<Module>) -> Module {
    let mut path = path;
    loop {
        if modules.contains(path) {
            return path.to_owned();
        }
        match path.rsplit_once("::") {
            Some((shorter, _)) => path = shorter,
            None => return "lib".to_owned(),
        }
    }
}
