//! The user's trust in project files: once per content, as direnv has it.
//!
//! A record is a file of its own in the state directory, with mode 0600, named by the digest
//! of the project file's path. It holds the digest of the content that is trusted and the
//! path, so a file that has changed, by hand, by git or by a build, is not trusted any more.
//! A file in one of the user's `trusted_directories` needs no record. A record that cannot be
//! understood counts as none.
//!
//! Two commands at once are safe: each record is replaced whole.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use burst_protocol::Digest;

use super::project_file::{Content, Standing, file_of};
use crate::atomic_file;
use crate::directories::{Directories, create_private, unusable};
use crate::environment;
use crate::error::Error;

/// Where settings look for a project file, and who knows whether it is trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Project<'a> {
    /// The root of the workspace.
    pub(crate) root: &'a Path,
    /// The records of trust.
    pub(crate) trust: &'a TrustStore,
}

/// The records of what the user trusts.
#[derive(Clone, Debug)]
pub(crate) struct TrustStore {
    directory: PathBuf,
    home: Option<PathBuf>,
}

impl TrustStore {
    /// The user's.
    pub(crate) fn of(directories: &Directories) -> Self {
        Self::new(directories.state.join("trust"), environment::home())
    }

    /// Records in a directory, which is created with the first one. `home` is meant by `~`.
    pub(crate) const fn new(directory: PathBuf, home: Option<PathBuf>) -> Self {
        Self { directory, home }
    }

    /// Whether the user trusts a content, by the records and by the trusted directories of
    /// the user's settings.
    pub(crate) fn standing(
        &self,
        content: &Content,
        trusted_directories: &[String],
    ) -> Result<Standing, Error> {
        let home = self.home.as_deref();
        let directories = trusted_directories.iter().filter_map(|text| expanded(text, home));
        // A directory that does not exist has no files.
        let mut directories = directories.filter_map(|directory| directory.canonicalize().ok());
        if directories.any(|directory| content.path.starts_with(directory)) {
            return Ok(Standing::InDirectory);
        }
        self.recorded(content)
    }

    /// Trusts a content, and no longer another one of the same file.
    pub(crate) fn record(&self, content: &Content) -> Result<(), Error> {
        create_private(&self.directory)?;
        let record = self.record_of(&content.path);
        atomic_file::write(&record, &record_text(content), 0o600)
            .map_err(|source| unusable("write", &record, &source))
    }

    /// Ends the trust in the project file of a workspace. Returns whether there was any.
    pub(crate) fn revoke(&self, root: &Path) -> Result<bool, Error> {
        let record = self.record_of(&file_of(root));
        match std::fs::remove_file(&record) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(unusable("remove", &record, &source)),
        }
    }

    /// Trusts the content that this program itself made out of `before`, if that is
    /// recorded.
    pub(crate) fn carry_over(&self, before: &Content, after: &Content) -> Result<(), Error> {
        match self.recorded(before)? {
            Standing::Recorded => self.record(after),
            _ => Ok(()),
        }
    }

    fn recorded(&self, content: &Content) -> Result<Standing, Error> {
        let record = self.record_of(&content.path);
        match std::fs::read(&record) {
            Ok(text) => Ok(standing_of(&text, content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::Unknown),
            Err(source) => Err(unusable("read", &record, &source)),
        }
    }

    /// The record of a project file.
    fn record_of(&self, path: &Path) -> PathBuf {
        self.directory.join(Digest::of(path.as_os_str().as_bytes()).to_hex())
    }
}

/// The text of a record: the digest in a line, then the path.
fn record_text(content: &Content) -> Vec<u8> {
    [content.digest.to_hex().as_bytes(), b"\n", content.path.as_os_str().as_bytes(), b"\n"].concat()
}

/// What a record says of a content.
fn standing_of(record: &[u8], content: &Content) -> Standing {
    let digest = content.digest.to_hex();
    let Some((found, path)) = record.split_at_checked(digest.len()) else {
        return Standing::Unknown;
    };
    let expected = [b"\n", content.path.as_os_str().as_bytes(), b"\n"].concat();
    match (path == expected, found == digest.as_bytes()) {
        (true, true) => Standing::Recorded,
        (true, false) => Standing::Changed,
        (false, _) => Standing::Unknown,
    }
}

/// Whether a file lies below one of the directories.
/// A trusted directory as an absolute path; `None` without a home.
fn expanded(text: &str, home: Option<&Path>) -> Option<PathBuf> {
    match text.strip_prefix('~') {
        None => Some(text.into()),
        Some(below) => Some(home?.join(below.trim_start_matches('/'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PROJECT_FILE;
    use std::os::unix::fs::PermissionsExt;

    const NONE: &[String] = &[];

    fn store(below: &Path) -> TrustStore {
        TrustStore::new(below.join("state/trust"), Some(below.join("home")))
    }

    #[test]
    fn trust_holds_for_one_content_of_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let (app, other) = (directory.path().join("app"), directory.path().join("other"));
        let (one, two) = (Content::new(&app, b"one"), Content::new(&app, b"two"));
        let standing = |content: &Content| store.standing(content, NONE).unwrap();
        assert_eq!(standing(&one), Standing::Unknown);
        store.record(&one).unwrap();
        assert_eq!([standing(&one), standing(&two)], [Standing::Recorded, Standing::Changed]);
        assert_eq!(standing(&Content::new(&other, b"one")), Standing::Unknown);
        store.record(&two).unwrap();
        assert_eq!([standing(&one), standing(&two)], [Standing::Changed, Standing::Recorded]);
        assert!(store.revoke(&app).unwrap());
        assert!(!store.revoke(&app).unwrap());
        assert_eq!(standing(&two), Standing::Unknown);
    }

    #[test]
    fn a_record_is_the_users_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let content = Content::new(directory.path(), b"x");
        store.record(&content).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let record = store.record_of(&content.path);
        assert_eq!((mode(&record), mode(&store.directory)), (0o600, 0o700));
        let path = directory.path().canonicalize().unwrap().join(PROJECT_FILE);
        assert_eq!(
            std::fs::read_to_string(record).unwrap(),
            format!("{}\n{}\n", Digest::of(b"x"), path.display())
        );
    }

    #[test]
    fn a_record_of_another_form_counts_as_none() {
        let content = Content { path: "/app/x".into(), digest: Digest::of(b"x") };
        let whole = record_text(&content);
        assert_eq!(standing_of(&whole, &content), Standing::Recorded);
        for end in 0..whole.len() {
            assert_eq!(standing_of(&whole[..end], &content), Standing::Unknown, "{end}");
        }
        let elsewhere = Content { path: "/app/y".into(), ..content };
        assert_eq!(standing_of(&whole, &elsewhere), Standing::Unknown);
    }

    #[test]
    fn a_change_of_our_own_keeps_trust_and_gives_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let content = |bytes: &[u8]| Content::new(directory.path(), bytes);
        let standing = |bytes: &[u8]| store.standing(&content(bytes), NONE).unwrap();
        store.carry_over(&content(b"one"), &content(b"two")).unwrap();
        assert_eq!(standing(b"two"), Standing::Unknown);
        store.record(&content(b"one")).unwrap();
        store.carry_over(&content(b"other"), &content(b"two")).unwrap();
        assert_eq!(standing(b"two"), Standing::Changed);
        store.carry_over(&content(b"one"), &content(b"two")).unwrap();
        assert_eq!(standing(b"two"), Standing::Recorded);
    }

    #[test]
    fn files_below_a_trusted_directory_need_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let app = directory.path().join("home/work/app");
        let evil = directory.path().join("evil");
        for path in [&app, &evil] {
            std::fs::create_dir_all(path).unwrap();
        }
        let standing = |root: &Path, trusted: &str| {
            store.standing(&Content::new(root, b""), &[trusted.to_owned()]).unwrap()
        };
        assert_eq!(standing(&app, "~/work"), Standing::InDirectory);
        assert_eq!(standing(&app, "~/"), Standing::InDirectory);
        assert_eq!(standing(&app, app.to_str().unwrap()), Standing::InDirectory);
        assert_eq!(standing(&app, "~/wor"), Standing::Unknown);
        assert_eq!(standing(&app, "~/missing"), Standing::Unknown);
        // What a link in it leads to does not lie in it, and a link to it is it.
        let link = directory.path().join("home/work/link");
        std::os::unix::fs::symlink(&evil, &link).unwrap();
        assert_eq!(standing(&link, "~/work"), Standing::Unknown);
        let work = directory.path().join("home/w");
        std::os::unix::fs::symlink("work", &work).unwrap();
        assert_eq!(standing(&work.join("app"), "~/w"), Standing::InDirectory);
    }

    #[test]
    fn a_tilde_is_the_home() {
        let home = Some(Path::new("/home/me"));
        assert_eq!(expanded("/srv", home), Some("/srv".into()));
        assert_eq!(expanded("~", home), Some("/home/me/".into()));
        assert_eq!(expanded("~/work", home), Some("/home/me/work".into()));
        assert_eq!(expanded("~/work", None), None);
    }
}
