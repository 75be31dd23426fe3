//! The owner of this installation: a digest of a random seed in the state directory, of the
//! machine and of the user.
//!
//! All labels of servers and volumes name the owner, and keys lie in its directory. So a state
//! directory that was copied to another machine belongs to another owner there. Machines that
//! are alike (a clone with the same machine id) are told apart by their keys: an installation
//! that finds a server of its owner without having its keys takes a new seed, and with it
//! another owner. It never deletes or replaces that server.
//!
//! Invariant: of processes that start at the same time all use the same seed, and no reader
//! sees half of the file.

use std::io::{self, ErrorKind as IoError, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::keys::KeyStore;
use super::naming::{Owner, is_short_digest, short_digest};
use crate::directories::{create_private, unusable};
use crate::error::{Error, ErrorKind};

/// Bytes of randomness in a new seed.
const RANDOM_BYTES: usize = 32;

/// The mode of the file with the seed.
const PRIVATE: u32 = 0o600;

/// The files in which a machine has its id, as in machine-id(5); the first with an id counts.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The seed of one state directory, and the owner that follows from it.
#[derive(Debug)]
pub(super) struct Installation {
    state: PathBuf,
    owner: RwLock<Owner>,
}

impl Installation {
    /// Reads the seed below `state`, and creates it if there is none.
    pub(super) fn open(state: &Path) -> Result<Self, Error> {
        let owner = RwLock::new(owner(&load_or_create(state)?));
        Ok(Self { state: state.to_owned(), owner })
    }

    /// The owner.
    pub(super) fn owner(&self) -> Owner {
        self.owner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys of the owner's servers.
    pub(super) fn keys(&self) -> KeyStore {
        KeyStore::new(self.state.join(self.owner().as_str()).join("keys"))
    }

    /// Takes a new seed, and so becomes another owner. Keys of the former owner stay.
    pub(super) fn renew(&self) -> Result<(), Error> {
        let path = path(&self.state);
        let failed = |source| unusable("write", &path, &source);
        let seed = random_seed().map_err(failed)?;
        let text = format!("{seed}\n");
        crate::atomic_file::write(&path, text.as_bytes(), PRIVATE).map_err(failed)?;
        *self.owner.write().unwrap_or_else(PoisonError::into_inner) = owner(&seed);
        Ok(())
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("seed")
}

/// The owner of a seed on this machine, for this user.
fn owner(seed: &str) -> Owner {
    let machines = MACHINE_IDS.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let machine = machines.iter().map(|text| text.trim()).find(|text| is_machine_id(text));
    Owner::of(seed, machine.unwrap_or_default(), rustix::process::getuid().as_raw())
}

/// Whether a text is the id of a machine: 32 hexadecimal digits. While a machine starts for the
/// first time the file holds another word.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn load_or_create(state: &Path) -> Result<String, Error> {
    create_private(state)?;
    let path = path(state);
    if let Some(seed) = read(&path)? {
        return Ok(seed);
    }
    match create(state, &path) {
        Err(source) if source.kind() == IoError::AlreadyExists => {}
        created => return created.map_err(|source| unusable("create", &path, &source)),
    }
    // Another process has created it since.
    read(&path)?.ok_or_else(|| unusable("read", &path, &IoError::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) if is_short_digest(text.trim()) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(Error::new(
            ErrorKind::State,
            format!("`{}` does not contain a seed", path.display()),
            "delete the file; servers and volumes that were created before then belong to another \
             owner: they are deleted when they expire, or by `cargo burst down --all`",
        )
        .cause("a seed has 16 hexadecimal digits")),
        Err(source) if source.kind() == IoError::NotFound => Ok(None),
        Err(source) => Err(unusable("read", path, &source)),
    }
}

fn random_seed() -> io::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled != RANDOM_BYTES {
        return Err(IoError::UnexpectedEof.into());
    }
    Ok(short_digest(&random))
}

/// Creates the file with its whole content; fails if it exists.
fn create(state: &Path, path: &Path) -> io::Result<String> {
    let seed = random_seed()?;
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    writeln!(file, "{seed}")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_kept_and_a_damaged_file_is_reported() {
        let state = tempfile::tempdir().unwrap();
        let path = path(state.path());
        let seed = load_or_create(state.path()).unwrap();
        assert_eq!(load_or_create(state.path()).unwrap(), seed);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
        let taken = create(state.path(), &path).unwrap_err();
        assert_eq!(taken.kind(), IoError::AlreadyExists);
        std::fs::write(&path, "nonsense").unwrap();
        let error = load_or_create(state.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.hint().starts_with("delete the file"), "{}", error.hint());
    }

    #[test]
    fn a_new_seed_is_another_owner_with_keys_of_its_own() {
        let state = tempfile::tempdir().unwrap();
        let installation = Installation::open(state.path()).unwrap();
        let before = installation.owner();
        let (keys, _) = installation.keys().make(15).unwrap();
        installation.renew().unwrap();
        assert_ne!(installation.owner(), before);
        let next = Installation::open(state.path()).unwrap();
        assert_eq!(next.owner(), installation.owner());
        let keys_of = |owner: Owner| state.path().join(owner.as_str()).join("keys").join(&keys);
        assert!(keys_of(before).is_dir() && !keys_of(next.owner()).exists());
    }

    #[test]
    fn what_a_machine_writes_before_it_has_an_id_is_none() {
        assert!(is_machine_id("3d1219c7c4c5404aaa1f6d2a48adfda4"));
        assert!(!is_machine_id("uninitialized") && !is_machine_id(""));
    }
}
