//! The owner of this installation: a digest of a random seed in the state directory, of the
//! machine and of the user.
//!
//! All labels of servers and volumes name the owner, and keys lie in its directory. So a state
//! directory that was copied to another machine belongs to another owner there. Machines that
//! are alike (a clone with the same machine id) are told apart by their keys: an installation
//! that finds a server of its owner without having its keys takes a new seed, and with it
//! another owner. It never deletes or replaces that server. The file keeps the former seeds: in
//! another project at Hetzner the server of a former owner, with keys that are here, is its own.
//!
//! Invariant: of processes that start at the same time all use the same seed, and no reader
//! sees half of the file.

use std::io::{self, ErrorKind as IoError, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::inventory::Inventory;
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

/// The seeds of one state directory, and the owner that follows from one of them in one project
/// at Hetzner.
#[derive(Debug)]
pub(super) struct Installation {
    state: PathBuf,
    owners: RwLock<Owners>,
}

/// The owners of all seeds, the newest first; at least one.
#[derive(Debug)]
struct Owners {
    all: Vec<Owner>,
    /// The index of the one in this project.
    here: usize,
}

impl Owners {
    fn of(seeds: &[String]) -> Self {
        Self { all: seeds.iter().map(|seed| owner(seed)).collect(), here: 0 }
    }
}

impl Installation {
    /// Reads the seed below `state`, and creates it if there is none.
    pub(super) fn open(state: &Path) -> Result<Self, Error> {
        let owners = RwLock::new(Owners::of(&load_or_create(state)?));
        Ok(Self { state: state.to_owned(), owners })
    }

    /// The owner.
    pub(super) fn owner(&self) -> Owner {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.all[owners.here].clone()
    }

    /// The keys of the owner's servers.
    pub(super) fn keys(&self) -> KeyStore {
        self.keys_of(&self.owner())
    }

    fn keys_of(&self, owner: &Owner) -> KeyStore {
        KeyStore::new(self.state.join(owner.as_str()).join("keys"))
    }

    /// Goes on as the newest owner that has a server in this list of a project, with keys that are
    /// here; if there is none, nothing changes.
    pub(super) fn recognise(&self, inventory: &Inventory) {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        if owners.all.len() == 1 {
            return;
        }
        let has_server = |owner: &Owner| {
            let server = inventory.server_of(owner);
            server.is_some_and(|server| self.keys_of(owner).has_that_of(server))
        };
        if let Some(found) = owners.all.iter().position(has_server) {
            owners.here = found;
        }
    }

    /// Becomes another owner: the newest one, or of a new seed if this is the newest. Keys of the
    /// former owner stay.
    pub(super) fn renew(&self) -> Result<(), Error> {
        let path = path(&self.state);
        let failed = |source| unusable("write", &path, &source);
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        // The account of another project may have taken one.
        let mut seeds = read(&path)?.unwrap_or_default();
        if seeds.first().is_none_or(|newest| owner(newest) == owners.all[owners.here]) {
            seeds.insert(0, random_seed().map_err(failed)?);
            let text: String = seeds.iter().map(|seed| format!("{seed}\n")).collect();
            crate::atomic_file::write(&path, text.as_bytes(), PRIVATE).map_err(failed)?;
        }
        *owners = Owners::of(&seeds);
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

/// The seeds of a state directory, the newest first; at least one.
fn load_or_create(state: &Path) -> Result<Vec<String>, Error> {
    create_private(state)?;
    let path = path(state);
    if let Some(seeds) = read(&path)? {
        return Ok(seeds);
    }
    match create(state, &path) {
        Err(source) if source.kind() == IoError::AlreadyExists => {}
        created => {
            let created = created.map_err(|source| unusable("create", &path, &source))?;
            return Ok(vec![created]);
        }
    }
    // Another process has created it since.
    read(&path)?.ok_or_else(|| unusable("read", &path, &IoError::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<Vec<String>>, Error> {
    let seeds_of = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    match std::fs::read_to_string(path).map(seeds_of) {
        Ok(seeds) if !seeds.is_empty() && seeds.iter().all(|seed| is_short_digest(seed)) => {
            Ok(Some(seeds))
        }
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

    /// A list with one server.
    fn list_of(owner: &Owner, keys: &str) -> Inventory {
        let server = serde_json::json!({
            "id": 7, "name": "s", "status": "running", "created": "2026-01-01T00:00:00Z",
            "public_net": {}, "location": {"name": "hel1"},
            "server_type": {
                "name": "cx53", "cores": 16, "memory": 32.0, "disk": 320, "architecture": "x86",
                "cpu_type": "shared", "prices": [],
            },
            "labels": {"cargo-burst.owner": owner.as_str(), "cargo-burst.keys": keys},
        });
        Inventory { servers: vec![serde_json::from_value(server).unwrap()], volumes: Vec::new() }
    }

    #[test]
    fn a_dispute_in_one_project_leaves_the_servers_of_another_one_its_own() {
        let state = tempfile::tempdir().unwrap();
        let open = || Installation::open(state.path()).unwrap();
        let (here, disputed) = (open(), open());
        let former = here.owner();
        let (keys, _) = here.keys().make(15).unwrap();
        disputed.renew().unwrap();
        let newest = disputed.owner();
        assert_eq!(here.owner(), former);
        // Also in the next process.
        let (list, next) = (list_of(&former, &keys), open());
        assert_eq!(next.owner(), newest);
        next.recognise(&list);
        assert_eq!(next.owner(), former);
        // One whose keys are not here is no reason, and one of the newest owner comes first.
        let next = open();
        next.recognise(&list_of(&former, "0123456789abcdef"));
        assert_eq!(next.owner(), newest);
        let (keys, _) = next.keys().make(15).unwrap();
        let mut both = list;
        both.servers.extend(list_of(&newest, &keys).servers);
        here.recognise(&both);
        assert_eq!(here.owner(), former);
        next.recognise(&both);
        assert_eq!(next.owner(), newest);
        // A dispute there as well leads to the same owner, and the next one to another.
        here.renew().unwrap();
        assert_eq!(here.owner(), newest);
        here.renew().unwrap();
        assert!(here.owner() != newest && open().owner() == here.owner());
        next.renew().unwrap();
        assert_eq!(next.owner(), here.owner());
    }

    #[test]
    fn what_a_machine_writes_before_it_has_an_id_is_none() {
        assert!(is_machine_id("3d1219c7c4c5404aaa1f6d2a48adfda4"));
        assert!(!is_machine_id("uninitialized") && !is_machine_id(""));
    }
}
