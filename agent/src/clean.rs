//! `cargo clean` of a whole target directory.
//!
//! cargo removes the directory itself last, and the kernel refuses to remove a mount point.
//! For such a call the target directory is therefore one level below the mount point: at its
//! place is the directory that has it. Only the paths that `cargo clean -v` lists show that.
//!
//! What is removed may be mounted in another run of the project, and cargo takes no lock while
//! it cleans. So a run that cleans is the only active run of its project ([`crate::queue`]),
//! until its client has removed its own files too.

use std::io;
use std::path::Path;

use burst_protocol::ByteBuf;
use burst_protocol::message::Invocation;

use crate::run::spec::{self, RunSpec};

/// cargo's options in front of the verb that have a value of their own.
const WITH_VALUE: [&[u8]; 4] = [b"--color", b"--config", b"-C", b"-Z"];

/// Whether a run with these invocations may call `cargo clean`.
pub(crate) fn cleans(invocations: &[Invocation]) -> bool {
    let mut calls = invocations.iter().flat_map(|invocation| &invocation.alternatives);
    calls.any(|call| is_clean(&call.arguments))
}

/// Whether the arguments behind `cargo` are those of `cargo clean`.
pub(crate) fn is_clean(arguments: &[ByteBuf]) -> bool {
    let mut words = arguments.iter().map(|word| word.as_slice());
    while let Some(word) = words.next() {
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with(b"-") && !word.starts_with(b"+") {
            return word == b"clean";
        }
    }
    false
}

/// Puts the directory that is mounted at `seen` one level below that place, and tells cargo by
/// a variable.
pub(crate) fn make_removable(spec: &mut RunSpec, seen: &Path, variable: &str) {
    let point = spec::path_bytes(seen);
    let Some(mount) = spec.mounts.iter_mut().rfind(|mount| mount.target == point) else { return };
    let source = spec::path(&mount.source);
    let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else { return };
    mount.source = spec::path_bytes(parent);
    let directory = seen.join(name);
    spec.set_variable(variable, directory.as_os_str());
}

/// Removes an empty target directory, which exists for the mount alone: cargo is to find what
/// it would find here.
pub(crate) fn remove_empty(target: &Path) {
    // An error says that it is not empty.
    drop(std::fs::remove_dir(target));
}

/// Creates the target directory again if it is gone. Whatever else a program of the call has
/// put in its place is removed.
pub(crate) fn restore(target: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => std::fs::remove_file(target)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::create_dir(target)
}

#[cfg(test)]
mod tests {
    use burst_protocol::message::{Call, JsonMessages};

    use super::*;

    #[test]
    fn the_target_directory_is_a_directory_again() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        restore(&target).unwrap();
        std::fs::write(target.join("kept"), "").unwrap();
        remove_empty(&target);
        restore(&target).unwrap();
        assert!(target.join("kept").exists());
        std::fs::remove_dir_all(&target).unwrap();
        std::os::unix::fs::symlink("/", &target).unwrap();
        restore(&target).unwrap();
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
        remove_empty(&target);
        assert!(!target.exists());
    }

    fn words(line: &str) -> Vec<ByteBuf> {
        line.split(' ').map(|word| ByteBuf::from(word.as_bytes())).collect()
    }

    fn is_clean_line(line: &str) -> bool {
        is_clean(&words(line))
    }

    #[test]
    fn a_run_cleans_if_one_of_its_calls_may() {
        let invocation = |line| {
            let call = Call { needs: None, arguments: words(line), json: JsonMessages::Absent };
            Invocation { alternatives: vec![call], optional: false, runs_after: None }
        };
        assert!(cleans(&["build", "-q clean"].map(invocation)));
        assert!(!cleans(&["build", "run clean"].map(invocation)));
        assert!(!cleans(&[]));
    }

    #[test]
    fn clean_is_the_first_word_that_is_no_option() {
        for line in ["clean", "clean --doc", "-q clean -p build", "--config a=1 -Z x clean"] {
            assert!(is_clean_line(line), "{line}");
        }
        for line in ["build clean", "-v", "--config clean", "run -- clean", ""] {
            assert!(!is_clean_line(line), "{line}");
        }
    }
}
