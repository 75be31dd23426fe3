//! The file with the owner's name.
//!
//! The name is chosen at random once per installation and never changes: the labels of all
//! servers and volumes refer to it. Invariant: of processes that start at the same time
//! all use the same name, and no reader sees half of the file.

use std::io::{self, ErrorKind as IoError, Write};
use std::path::Path;

use super::naming::Owner;
use crate::directories::{create_private, unusable};
use crate::error::{Error, ErrorKind};

/// Bytes of randomness in a new name.
const RANDOM_BYTES: usize = 32;

/// Reads the owner's name below `state`, and creates it if there is none.
pub(super) fn load_or_create(state: &Path) -> Result<Owner, Error> {
    create_private(state)?;
    let path = state.join("owner");
    if let Some(owner) = read(&path)? {
        return Ok(owner);
    }
    match create(state, &path) {
        Err(source) if source.kind() == IoError::AlreadyExists => {}
        created => return created.map_err(|source| unusable("create", &path, &source)),
    }
    // Another process has created it since.
    read(&path)?.ok_or_else(|| unusable("read", &path, &IoError::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<Owner>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Owner::parse(&text).map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::State,
                format!("`{}` does not contain an owner's name", path.display()),
                "delete the file; `cargo burst down --all` deletes the servers and volumes that \
                 were created under the old name",
            )
            .cause("an owner's name has 16 hexadecimal digits")
        }),
        Err(source) if source.kind() == IoError::NotFound => Ok(None),
        Err(source) => Err(unusable("read", path, &source)),
    }
}

/// Creates the file with its whole content; fails if it exists.
fn create(state: &Path, path: &Path) -> io::Result<Owner> {
    let mut random = [0; RANDOM_BYTES];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled != RANDOM_BYTES {
        return Err(IoError::UnexpectedEof.into());
    }
    let owner = Owner::from_bytes(&random);
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    writeln!(file, "{}", owner.as_str())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_kept_and_a_damaged_file_is_reported() {
        let state = tempfile::tempdir().unwrap();
        let owner = load_or_create(state.path()).unwrap();
        assert_eq!(load_or_create(state.path()).unwrap(), owner);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
        let taken = create(state.path(), &state.path().join("owner")).unwrap_err();
        assert_eq!(taken.kind(), IoError::AlreadyExists);
        let mut file = std::fs::File::create(state.path().join("owner")).unwrap();
        file.write_all(b"nonsense").unwrap();
        let error = load_or_create(state.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.hint().starts_with("delete the file"), "{}", error.hint());
    }
}
