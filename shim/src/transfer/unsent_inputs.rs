//! Inputs of a build that are here and were not sent, such as files that git ignores: what was
//! made there without them, or with others, must not count as fresh here.
//!
//! Two files of cargo name the inputs of a unit: the output of a build script, and what the
//! compiler has read (`dep-...`). Both are read as cargo reads them. What cannot be read names
//! inputs that were not sent. Each path is looked at once, and their number is bounded.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::path::normalized;

/// The paths that are looked at; with more, each further one counts as an input that was not
/// sent. About two seconds.
const LOOKS_MAX: usize = 200_000;

/// What cargo's list of what the compiler has read begins with: what older versions take for one
/// file of an unknown kind, and the version.
const DEP_INFO: &[u8] = b"\x01\0\0\0\xff\x01";

/// Looks for inputs that were not sent.
pub(super) struct Inputs<'a> {
    /// The directories of packages, from which relative paths go out.
    packages: &'a [&'a Path],
    /// Whether a file was sent. The path is absolute, without `.` and `..`.
    is_sent: &'a dyn Fn(&Path) -> bool,
    /// What was found at a path.
    found: HashMap<PathBuf, bool>,
}

impl<'a> Inputs<'a> {
    /// Nothing has been looked at.
    pub(super) fn new(packages: &'a [&'a Path], is_sent: &'a dyn Fn(&Path) -> bool) -> Self {
        Self { packages, is_sent, found: HashMap::new() }
    }

    /// Whether the output of a build script names an input that was not sent.
    pub(super) fn lack_of_script(&mut self, output: &[u8]) -> bool {
        let lines = output.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
        let mut paths = lines.filter_map(|line| {
            let line = line.trim();
            let directive = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:"))?;
            Some(directive.strip_prefix("rerun-if-changed=")?.trim_end())
        });
        paths.any(|path| self.is_lacking(Path::new(path)))
    }

    /// Whether the compiler has read an input that was not sent, by cargo's list of what it has
    /// read.
    pub(super) fn lack_of_compiler(&mut self, dep_info: &[u8]) -> bool {
        read_by_compiler(dep_info)
            .is_none_or(|paths| paths.into_iter().any(|path| self.is_lacking(path)))
    }

    /// Whether an input lacks there: in one of the packages if the path is relative.
    fn is_lacking(&mut self, path: &Path) -> bool {
        if path.is_absolute() {
            return self.has_unsent(&normalized(path));
        }
        let packages = self.packages;
        packages.iter().any(|package| self.has_unsent(&normalized(&package.join(path))))
    }

    /// Whether a file is here and was not sent, or one in a directory.
    fn has_unsent(&mut self, place: &Path) -> bool {
        if let Some(known) = self.found.get(place) {
            return *known;
        }
        if self.found.len() >= LOOKS_MAX {
            return true;
        }
        // Not yet true for a directory that is looked at, so that no circle is followed.
        self.found.insert(place.to_owned(), false);
        let has_unsent = match std::fs::metadata(place) {
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            Ok(found) if found.is_dir() => match std::fs::read_dir(place) {
                Ok(mut entries) => {
                    entries.any(|entry| entry.map_or(true, |entry| self.has_unsent(&entry.path())))
                }
                Err(_) => true,
            },
            Ok(_) => !self.is_sent(place),
        };
        self.found.insert(place.to_owned(), has_unsent);
        has_unsent
    }

    /// Whether a file was sent, under its own path or the one that links lead to.
    fn is_sent(&self, place: &Path) -> bool {
        (self.is_sent)(place)
            || place.canonicalize().is_ok_and(|real| real != place && (self.is_sent)(&real))
    }
}

/// The sources in cargo's list of what the compiler has read, below the package or absolute;
/// nothing if the list has another format. What lies in the target directory is no source.
fn read_by_compiler(dep_info: &[u8]) -> Option<Vec<&Path>> {
    let mut rest = match dep_info.strip_prefix(DEP_INFO) {
        Some(rest) => rest,
        // Before cargo 1.85 there is no version, and no checksum.
        None if dep_info.get(4) != Some(&u8::MAX) => dep_info,
        None => return None,
    };
    let has_checksums = rest.len() < dep_info.len();
    let mut paths = Vec::new();
    for _ in 0..number(&mut rest)? {
        let kind = take(&mut rest, 1)?[0];
        let path = Path::new(OsStr::from_bytes(bytes(&mut rest)?));
        match kind {
            0 => paths.push(path),
            1 if path.is_absolute() => paths.push(path),
            1 => {}
            _ => return None,
        }
        if has_checksums && take(&mut rest, 1)?[0] != 0 {
            take(&mut rest, 8)?;
            bytes(&mut rest)?;
        }
    }
    Some(paths)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    take(rest, length)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_input_that_is_here_and_was_not_sent_is_found_by_name_or_in_a_directory() {
        let disk = tempfile::tempdir().unwrap();
        let at = |path: &str| disk.path().join(path);
        std::fs::create_dir_all(at("assets/deep")).unwrap();
        for file in ["local.cfg", "sent.cfg", "assets/deep/ignored"] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("sent.cfg", at("link")).unwrap();
        std::os::unix::fs::symlink("../..", at("assets/circle")).unwrap();
        let is_sent = |path: &Path| path.ends_with("sent.cfg");
        let names =
            |output: &str| Inputs::new(&[disk.path()], &is_sent).lack_of_script(output.as_bytes());
        assert!(names("cargo:rustc-env=A=b\ncargo:rerun-if-changed=local.cfg\n"));
        assert!(names("cargo::rerun-if-changed=assets\n"));
        assert!(names(&format!("cargo:rerun-if-changed={}\n", at("local.cfg").display())));
        assert!(names(" cargo:rerun-if-changed=local.cfg \r\n"));
        assert!(names("cargo:rerun-if-changed=x/../local.cfg"));
        for name in ["sent.cfg", "none", "link", "x/../sent.cfg"] {
            assert!(!names(&format!("cargo:rerun-if-changed={name}\n")), "{name}");
        }
        assert!(!names("local.cfg\n"));
    }

    #[test]
    fn each_path_is_looked_at_once_and_their_number_is_bounded() {
        let disk = tempfile::tempdir().unwrap();
        std::fs::create_dir(disk.path().join("src")).unwrap();
        for file in 0..100 {
            std::fs::write(disk.path().join(format!("src/{file}")), "").unwrap();
        }
        let looks = Cell::new(0);
        let is_sent = |_: &Path| {
            looks.set(looks.get() + 1);
            true
        };
        let packages = [disk.path()];
        let mut inputs = Inputs::new(&packages, &is_sent);
        let output = "cargo:rerun-if-changed=src\ncargo:rerun-if-changed=src/1\n".repeat(1000);
        assert!(!inputs.lack_of_script(output.as_bytes()));
        assert_eq!(looks.get(), 100);
        let many = |lines: usize| -> String {
            (0..lines).map(|line| format!("cargo:rerun-if-changed=none{line}\n")).collect()
        };
        assert!(!inputs.lack_of_script(many(LOOKS_MAX - 101).as_bytes()));
        assert!(inputs.lack_of_script(many(LOOKS_MAX).as_bytes()));
        assert_eq!(inputs.found.len(), LOOKS_MAX);
    }

    #[test]
    fn what_the_compiler_has_read_is_read_in_the_formats_of_cargo() {
        // As cargo 1.95 writes it for a library that reads the variable `X`.
        let now = b"\x01\0\0\0\xff\x01\x01\0\0\0\0\x0a\0\0\0src/lib.rs\0\x01\0\0\0\x01\0\0\0X\x01\x03\0\0\0one";
        assert_eq!(read_by_compiler(now), Some(vec![Path::new("src/lib.rs")]));
        let sum = b"\x01\0\0\0\xff\x01\x03\0\0\0\x01\x02\0\0\0/a\x01\x07\0\0\0\0\0\0\0\x02\0\0\0ab\x01\x01\0\0\0b\0\0\x01\0\0\0c\0\0\0\0\0";
        assert_eq!(read_by_compiler(sum), Some(vec![Path::new("/a"), Path::new("c")]));
        let old = b"\x01\0\0\0\0\x0a\0\0\0src/lib.rs\0\0\0\0";
        assert_eq!(read_by_compiler(old), Some(vec![Path::new("src/lib.rs")]));
        for length in 0..now.len() - 17 {
            assert_eq!(read_by_compiler(&now[..length]), None, "{length}");
        }
        let later = [b"\x01\0\0\0\xff\x02".as_slice(), &now[6..]].concat();
        assert_eq!(read_by_compiler(&later), None);
        let mut unreadable = Inputs::new(&[], &|_| true);
        assert!(unreadable.lack_of_compiler(&later));
        assert!(!unreadable.lack_of_compiler(now));
    }
}
