//! What the small git directory of a workspace ([`super::git_facts`]) is made from, as one digest:
//! it changes whenever git could say something else of the repository.
//!
//! Files are read, and git is asked only where its configuration includes other files. A file
//! counts with its path: a tag that is renamed changes no content. What is not sent, and the
//! attributes below the root of the working tree, is for the caller to count.
//!
//! The repository is not trusted: only regular files are read. Links of its own files are followed,
//! since some tools make working trees with them and only digests are taken. Below the tags no link
//! is followed, so that the walk ends.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use burst_protocol::Digest;
use burst_sync::git_directory::Repository;
use burst_sync::regular_file::{self, Links};

use super::{git_command, git_excludes};
use crate::environment;

/// The largest file that counts by its content, in bytes; a larger one counts by its size and time.
const CONTENT_BYTES_MAX: u64 = 64 << 20;

/// The largest file that names a branch, in bytes.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// How many entries below the tags are looked at. git packs tags long before.
const TAGS_MAX: usize = 100_000;

/// The digest for a repository; `settings` stand for everything that is not git's.
pub(super) fn origin(repository: &Repository, settings: &Digest) -> Digest {
    let mut users = git_excludes::configurations(Some(repository));
    users.extend(git_excludes::find(Some(repository)));
    users.extend(environment::git_home().map(|home| home.join("attributes")));
    let listed = git_excludes::is_told_elsewhere(&users).then(|| listed(repository));
    digest(repository, &users, &[settings.as_bytes(), &listed.unwrap_or_default()])
}

/// The whole configuration, as git reads it; nothing if git fails.
fn listed(repository: &Repository) -> Vec<u8> {
    let mut command = git_command::inside(repository, &repository.work_tree);
    // It would be the only file that is read.
    command.args(["config", "-z", "--list"]).env_remove("GIT_CONFIG");
    git_command::answer(&mut command, b"").unwrap_or_default()
}

/// The digest of the repository's files, those of its user, and other parts.
fn digest(repository: &Repository, users: &[PathBuf], others: &[&[u8]]) -> Digest {
    let Repository { work_tree, directory, common } = repository;
    let mut files = Parts::default();
    for name in ["HEAD", "index", "config.worktree", "gitdir", "logs/HEAD", "reftable/tables.list"]
    {
        files.add_file(&directory.join(name));
    }
    // The names of the tables change with their contents.
    for name in [
        "packed-refs",
        "config",
        "info/exclude",
        "info/attributes",
        "shallow",
        "reftable/tables.list",
    ] {
        files.add_file(&common.join(name));
    }
    let head = regular_file::read(&directory.join("HEAD"), HEAD_BYTES_MAX, Links::Followed);
    let head = String::from_utf8_lossy(head.as_deref().unwrap_or_default()).into_owned();
    if let Some(branch) = head.strip_prefix("ref:") {
        files.add_file(&common.join(branch.trim()));
    }
    files.add_directory(common.join("refs/tags"));
    files.add_file(&work_tree.join(".gitattributes"));
    users.iter().for_each(|file| files.add_file(file));
    files.add(work_tree.as_os_str().as_encoded_bytes());
    others.iter().for_each(|part| files.add(part));
    Digest::of(&files.0)
}

/// What is hashed: each part with its length, so that no two lists are the same bytes.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }

    /// Adds the path of a file and its content; one that is missing differs from an empty one.
    fn add_file(&mut self, path: &Path) {
        self.add(path.as_os_str().as_encoded_bytes());
        match regular_file::read(path, CONTENT_BYTES_MAX, Links::Followed) {
            Ok(content) => self.add(Digest::of(&content).as_bytes()),
            Err(_) => match fs::metadata(path) {
                Ok(found) if found.is_file() => {
                    let (secs, nanos) = (found.mtime(), found.mtime_nsec());
                    self.add(format!("{} {secs} {nanos}", found.len()).as_bytes());
                }
                _ => self.add(b""),
            },
        }
    }

    /// Adds all files below a directory. What is neither a file nor a directory does not count:
    /// git takes a link there for a tag, but makes none.
    fn add_directory(&mut self, directory: PathBuf) {
        let mut open = vec![directory];
        let mut left = TAGS_MAX;
        while let Some(directory) = open.pop() {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten().take(left);
            let mut entries: Vec<fs::DirEntry> = entries.collect();
            left -= entries.len();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    Ok(kind) if kind.is_file() => self.add_file(&entry.path()),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A repository with a tag, and the file of a user's configuration.
    struct Example {
        disk: tempfile::TempDir,
        last: Option<Digest>,
    }

    impl Example {
        fn git(&self, arguments: &str) {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@b"]);
            git.args(arguments.split(' ')).current_dir(self.work_tree());
            assert!(git.stdout(Stdio::null()).status().unwrap().success(), "{arguments}");
        }

        fn work_tree(&self) -> PathBuf {
            self.disk.path().join("app")
        }

        /// Whether the digest is another one than when this was called last.
        fn has_changed(&mut self) -> bool {
            let repository = Repository::at(&self.work_tree()).unwrap();
            let users = [self.disk.path().join("gitconfig")];
            let now = digest(&repository, &users, &[b"settings"]);
            self.last.replace(now).is_none_or(|last| last != now)
        }

        fn new(init: &str) -> Self {
            let example = Self { disk: tempfile::tempdir().unwrap(), last: None };
            fs::create_dir(example.work_tree()).unwrap();
            for arguments in [init, "commit -q --allow-empty -m one", "tag v1"] {
                example.git(arguments);
            }
            example
        }
    }

    #[test]
    fn names_and_configuration_count_as_contents_do() {
        let mut example = Example::new("init -q");
        assert!(example.has_changed());
        assert!(!example.has_changed());
        example.git("tag v2 v1");
        example.git("tag -d v1");
        assert!(example.has_changed());
        example.git("reset -q --soft HEAD");
        assert!(example.has_changed(), "the log of HEAD");
        for file in ["gitconfig", "app/.gitattributes", "app/.git/info/attributes"] {
            fs::write(example.disk.path().join(file), "").unwrap();
            assert!(example.has_changed(), "{file}");
            fs::write(example.disk.path().join(file), "# x\n").unwrap();
            assert!(example.has_changed(), "{file}");
        }
        assert!(!example.has_changed());
    }

    /// There `HEAD` is always the same file.
    #[test]
    fn a_repository_with_tables_of_references_is_noticed() {
        let mut example = Example::new("-c init.defaultRefFormat=reftable init -q");
        assert!(example.has_changed());
        assert!(!example.has_changed());
        for arguments in ["tag v2 v1", "tag -d v1", "switch -q -c other"] {
            example.git(arguments);
            assert!(example.has_changed(), "{arguments}");
        }
        assert!(!example.has_changed());
    }
}
