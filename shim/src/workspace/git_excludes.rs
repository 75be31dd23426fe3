//! The files that tell git what to ignore: the excludes file of a repository, which
//! `core.excludesFile` names on any level of git's configuration, and those in its working tree.
//!
//! git alone knows its configuration. It is asked only where a file of it, or a variable, can name
//! an excludes file; otherwise the file is git's default, and no process is started. A repository
//! is asked about as in [`super::git_index`], also if its git directory is not the working tree's
//! own: without the answer more would be sent.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burst_protocol::RelativePath;
use burst_sync::git_directory::Repository;
use burst_sync::ignore_rules::excludes_without_git;
use burst_sync::regular_file::{self, Links};

use super::git_command;
use crate::environment;

/// The variables that add to git's configuration.
const ADDING: [&str; 2] = ["GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"];

/// The variables that name files of git's configuration.
const NAMING: [&str; 2] = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"];

/// The largest file of git's configuration that is looked at, in bytes.
const CONFIGURATION_BYTES_MAX: u64 = 4 << 20;

/// What a file must contain, in small letters, to name another file of the configuration.
const INCLUDING: &[u8] = b"include";

/// The same, to name an excludes file or another file of the configuration.
const TELLING: [&[u8]; 2] = [b"excludesfile", INCLUDING];

/// An excludes file. It need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excludes {
    path: PathBuf,
    /// Whether the user has chosen it, and not the configuration of a repository, which is not
    /// trusted.
    is_users: bool,
}

/// The excludes file of a repository, or, outside of one, that of the user. It need not exist.
pub(crate) fn find(repository: Option<&Repository>) -> Option<PathBuf> {
    Some(excludes(repository)?.path)
}

/// The excludes file of a repository, if the user has chosen it.
pub(super) fn of_user(repository: &Repository) -> Option<PathBuf> {
    excludes(Some(repository)).filter(|excludes| excludes.is_users).map(|excludes| excludes.path)
}

fn excludes(repository: Option<&Repository>) -> Option<Excludes> {
    match is_told(&configurations(repository), &TELLING) {
        true => answer(repository),
        false => default(),
    }
}

/// Whether a file of the working tree tells git what to ignore. Letters count in both cases,
/// since some file systems do not tell them apart.
pub(crate) fn is_ignore_file(path: &RelativePath) -> bool {
    path.file_name().eq_ignore_ascii_case(b".gitignore")
}

/// git's default.
fn default() -> Option<Excludes> {
    Some(Excludes { path: environment::git_home()?.join("ignore"), is_users: true })
}

/// Every file that can belong to the configuration. git may read fewer.
pub(super) fn configurations(repository: Option<&Repository>) -> Vec<PathBuf> {
    let system = environment::git_prefix().map(|prefix| prefix.join("etc/gitconfig"));
    let home = environment::home().map(|home| home.join(".gitconfig"));
    let user = environment::git_home().map(|home| home.join("config"));
    let mut files = vec![PathBuf::from("/etc/gitconfig")];
    files.extend([system, home, user].into_iter().flatten());
    files.extend(NAMING.into_iter().filter_map(environment::variable).map(PathBuf::from));
    if let Some(Repository { directory, common, .. }) = repository {
        files.extend([common.join("config"), directory.join("config.worktree")]);
    }
    files
}

/// Whether a variable, or another file that one of these includes, can add to the configuration.
pub(super) fn is_told_elsewhere(files: &[PathBuf]) -> bool {
    is_told(files, &[INCLUDING])
}

/// Whether a variable adds to the configuration, or one of its files has one of these words.
fn is_told(files: &[PathBuf], words: &[&[u8]]) -> bool {
    let has_word = |file: &PathBuf| {
        let text = regular_file::read(file, CONFIGURATION_BYTES_MAX, Links::Followed);
        let text = text.unwrap_or_default().to_ascii_lowercase();
        words.iter().any(|word| text.windows(word.len()).any(|part| part == *word))
    };
    ADDING.iter().any(|name| environment::variable(name).is_some()) || files.iter().any(has_word)
}

/// What git answers for a repository; it is asked once a process.
fn answer(repository: Option<&Repository>) -> Option<Excludes> {
    static ANSWERS: Mutex<BTreeMap<Option<PathBuf>, Option<Excludes>>> =
        Mutex::new(BTreeMap::new());
    let directory = repository.map(|found| found.directory.clone());
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    answers.entry(directory).or_insert_with(|| ask(repository)).clone()
}

/// Asks git.
fn ask(repository: Option<&Repository>) -> Option<Excludes> {
    // Outside of a repository, where none is, since none is around the workspace.
    let directory = repository.map_or_else(|| Path::new("/"), |found| &found.work_tree);
    let mut command = match repository {
        Some(repository) => git_command::inside(repository, directory),
        None => git_command::outside(directory),
    };
    command.args(["config", "-z", "--show-scope", "--type=path", "--get", "core.excludesFile"]);
    // It would be the only file that is read.
    let output = git_command::output(command.env_remove("GIT_CONFIG"));
    match output {
        Ok(output) if output.status.success() => chosen(&output.stdout, directory),
        // It is set nowhere.
        Ok(output) if output.status.code() == Some(1) => default(),
        _ => excludes_without_git().map(|path| Excludes { path, is_users: true }),
    }
}

/// Reads an answer of git: who has chosen the file, and its path. An empty path turns the default
/// off.
fn chosen(answer: &[u8], directory: &Path) -> Option<Excludes> {
    let mut parts = answer.split(|byte| *byte == 0);
    let (scope, path) = (parts.next()?, parts.next()?);
    let path = Path::new(OsStr::from_bytes(path));
    if path.as_os_str().is_empty() {
        return None;
    }
    // What lies at a relative path is in the repository.
    let is_users = ![b"local".as_slice(), b"worktree"].contains(&scope) && path.is_absolute();
    Some(Excludes { path: directory.join(path), is_users })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_repository_chooses_is_not_the_users() {
        for (answer, expected) in [
            (&b"global\0/home/me/ignore\0"[..], Some(("/home/me/ignore", true))),
            (b"command\0/x\0", Some(("/x", true))),
            (b"global\0ignore\0", Some(("/w/ignore", false))),
            (b"local\0/outside\0", Some(("/outside", false))),
            (b"worktree\0/outside\0", Some(("/outside", false))),
            (b"system\0\0", None),
            (b"", None),
        ] {
            let expected =
                expected.map(|(path, is_users)| Excludes { path: path.into(), is_users });
            assert_eq!(chosen(answer, Path::new("/w")), expected);
        }
    }
}
