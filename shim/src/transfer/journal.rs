//! Journals: records to which a process adds entries, one by one.
//!
//! For each entry a journal has its length (4 bytes, little endian) and the entry as a message
//! is encoded. Each is written at once, so that a kill leaves all of it or nothing; what is cut
//! off at the end of a journal does not count.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use burst_protocol::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::process_record;

/// The journal of this process for entries of one type.
#[derive(Debug)]
pub(super) struct Journal<T> {
    path: PathBuf,
    file: Option<File>,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// The journal of this process, in the directory of records; `kind` is the beginning of
    /// its name. It does not exist until an entry is added.
    pub(super) fn own(records: &Path, kind: &str) -> Self {
        let path = process_record::own(records, kind);
        Self { path, file: None, entries: PhantomData }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &T) -> io::Result<()> {
        let body = codec::encode(entry).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                none.insert(options.append(true).create(true).mode(0o600).open(&self.path)?)
            }
        };
        file.write_all(&[length.to_le_bytes().as_slice(), &body].concat())
    }

    /// Removes the journal, if an entry was added.
    pub(super) fn remove(self) {
        if self.file.is_some() {
            drop(std::fs::remove_file(self.path));
        }
    }

    /// The entries of the journal in a file.
    pub(super) fn read(path: &Path) -> io::Result<Vec<T>> {
        let bytes = std::fs::read(path)?;
        let mut bytes = bytes.as_slice();
        let mut entries = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some(body) = rest.get(..length) else { break };
            let Ok(entry) = codec::decode(body) else { break };
            entries.push(entry);
            bytes = &rest[length..];
        }
        Ok(entries)
    }
}
