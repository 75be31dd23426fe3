//! The keys of servers, one pair of identities each, in the state directory.
//!
//! They are made, and on disk, before the server is created; the server's label names
//! them. So a keeper that was killed at any moment finds the keys of whatever it has
//! left behind.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use burst_agent::error::{AgentError, FileOperation};
use burst_agent::identity::{Identity, load_certificate};
use burst_agent::user_data::UserData;
use burst_protocol::Digest;
use rustls::pki_types::CertificateDer;

/// Hexadecimal digits of a pair's name.
const DIGITS: usize = 16;

/// Where the keys of an owner's servers are.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore(PathBuf);

/// A pair that is on disk.
#[derive(Debug)]
pub(crate) struct KeyPair {
    /// Its name, as it stands in the server's label.
    pub(crate) name: String,
    /// Ours.
    pub(crate) shim: Identity,
    /// The agent's certificate.
    pub(crate) agent: CertificateDer<'static>,
}

impl KeyStore {
    /// In this directory, which is made when it is needed.
    pub(crate) const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Makes a pair and keeps it. Returns its name, and what the server is to be told.
    pub(crate) fn make(&self, gone_after_secs: u64) -> Result<(String, UserData), AgentError> {
        let (agent, shim) = (Identity::generate()?, Identity::generate()?);
        let name = Digest::of(agent.certificate()).to_hex()[..DIGITS].to_owned();
        let directory = self.0.join(&name);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|source| {
            AgentError::File {
                operation: FileOperation::CreateDirectory,
                path: directory.clone(),
                source,
            }
        })?;
        shim.save(&directory, "shim")?;
        // Of the agent only the certificate: its key is for the server alone.
        agent.save_certificate(&directory, "agent")?;
        Ok((name, UserData::new(&agent, &shim, gone_after_secs)))
    }

    /// The pair of this name.
    pub(crate) fn load(&self, name: &str) -> Result<KeyPair, AgentError> {
        let directory = self.directory_of(name);
        Ok(KeyPair {
            name: name.to_owned(),
            shim: Identity::load(&directory, "shim")?,
            agent: load_certificate(&directory, "agent")?,
        })
    }

    /// Forgets all pairs but those of servers that still exist.
    pub(crate) fn keep_only(&self, names: &[&str]) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if !names.iter().any(|name| entry.file_name() == *name) {
                // Left over, it is merely of no use.
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }

    /// A name comes from a label, which anybody with the token can write.
    fn directory_of(&self, name: &str) -> PathBuf {
        let is_name = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.0.join(if is_name { Path::new(name) } else { Path::new("none") })
    }
}
