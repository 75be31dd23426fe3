//! The files that errors of the compiler name, in the output of a run. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// How many errors are looked at. A run can print any number of them.
const ERRORS_MAX: usize = 1000;

/// The output, with the messages that cargo prints as JSON in the form for people.
pub(super) fn with_rendered(text: &str) -> String {
    let rendered = text.lines().filter(|line| line.starts_with('{')).filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("message")?.get("rendered")?.as_str()?.to_owned())
    });
    let rendered: Vec<String> = rendered.collect();
    [&[text.to_owned()], rendered.as_slice()].concat().join("\n")
}

/// The possible paths of the files that could not be read, by the source that an error points at.
pub(super) fn unread(text: &str) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    const READ: &str = ": couldn't read `";
    const MODULE: &str = ": file not found for module `";
    let mut found: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut count = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let file = between(line, READ, "`: ").map(PathBuf::from);
        let is_unread = file.is_some() || line.contains(MODULE);
        if !line.starts_with("error") || !is_unread {
            continue;
        }
        // The lines that belong to the error.
        let below: Vec<&str> = lines
            .clone()
            .take_while(|line| !line.is_empty() && !line.starts_with("error"))
            .collect();
        let source = below.iter().find_map(|line| line.trim_start().strip_prefix("--> "));
        let Some(source) = source.and_then(|place| place.rsplitn(3, ':').nth(2)) else { continue };
        let paths = file.map_or_else(|| created(&below), |file| vec![file]);
        let known = found.entry(source.into()).or_default();
        for path in paths {
            count += usize::from(known.insert(path));
            if count == ERRORS_MAX {
                return found;
            }
        }
    }
    found
}

/// The paths in quotes of a line that says which files can be created for a module.
fn created(lines: &[&str]) -> Vec<PathBuf> {
    let help = lines.iter().find_map(|line| line.split_once(", create file "));
    let quoted = help.into_iter().flat_map(|(_, paths)| paths.split('"').skip(1).step_by(2));
    quoted.map(PathBuf::from).collect()
}

fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::output_tail::OutputTail;
    use super::*;

    fn found(text: &str) -> Vec<(PathBuf, Vec<PathBuf>)> {
        let unread = unread(&with_rendered(text)).into_iter();
        unread.map(|(source, paths)| (source, paths.into_iter().collect())).collect()
    }

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
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let expected = [
            ("app/src/lib.rs".into(), paths(&["app/src/made/mod.rs", "app/src/made.rs"])),
            ("app/src/main.rs".into(), paths(&["app/src/../made/x.txt"])),
        ];
        assert_eq!(found(&tail.text()), expected);
        let json = "{\"reason\":\"compiler-message\",\"message\":{\"rendered\":\"error: couldn't read \
                    `a`: it\\n --> b.rs:1:2\\n\"}}\n";
        assert_eq!(found(json)[0].0, Path::new("b.rs"));
    }

    #[test]
    fn a_source_that_many_errors_point_at_is_one_and_their_number_has_a_limit() {
        let error =
            |number: usize| format!("error: couldn't read `x{number}`: it\n --> src/big.rs:1:1\n");
        let text: String = (0..2 * ERRORS_MAX).map(error).collect();
        let found = found(&text);
        assert_eq!((found.len(), found[0].1.len()), (1, ERRORS_MAX));
    }
}
