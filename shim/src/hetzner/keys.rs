//! The keys of servers, a pair of identities each, in the state directory.
//!
//! Invariants: a pair is on disk before its server is created, and a label of the server
//! names it. So the next keeper finds the keys of every server that a killed one has
//! created. It stays as long as its server may exist, whichever Hetzner project that is in:
//! the pair of a server that something else has deleted, or that was refused, is left over,
//! which does no harm.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use burst_agent::error::{AgentError, FileOperation};
use burst_agent::identity::{Identity, load_certificate};
use burst_agent::user_data::UserData;
use burst_hcloud::server::Server;
use rustls::pki_types::CertificateDer;

use super::naming::{KEYS, is_short_digest, short_digest};
use crate::error::{Error, ErrorKind};

/// The directory with the keys of an owner's servers.
#[derive(Clone, Debug)]
pub(super) struct KeyStore(PathBuf);

/// The shim's side of a pair.
#[derive(Debug)]
pub(super) struct KeyPair {
    /// The shim's certificate and key.
    pub(super) shim: Identity,
    /// The agent's certificate.
    pub(super) agent: CertificateDer<'static>,
}

impl KeyStore {
    /// The store in a directory, which is created when it is needed.
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Creates a pair and stores the shim's side. Returns the name of the pair, and the
    /// agent's side for the server.
    pub(super) fn make(&self, gone_after_secs: u64) -> Result<(String, UserData), Error> {
        self.create(gone_after_secs).map_err(|error| {
            let hint = format!("make `{}` writable for your user", self.0.display());
            let message = "cannot create the keys of a server";
            Error::new(ErrorKind::State, message, hint).caused_by(&error)
        })
    }

    fn create(&self, gone_after_secs: u64) -> Result<(String, UserData), AgentError> {
        let (agent, shim) = (Identity::generate()?, Identity::generate()?);
        let name = short_digest(agent.certificate());
        let directory = self.0.join(&name);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|source| {
            AgentError::File {
                operation: FileOperation::CreateDirectory,
                path: directory.clone(),
                source,
            }
        })?;
        shim.save(&directory, "shim")?;
        // The agent's key is for the server alone, so only its certificate is stored.
        agent.save_certificate(&directory, "agent")?;
        Ok((name, UserData::new(&agent, &shim, gone_after_secs)))
    }

    /// Loads the pair that a server's label names.
    pub(super) fn of_server(&self, server: &Server) -> Result<KeyPair, AgentError> {
        self.load(name_of(server))
    }

    /// Whether the pair that a server's label names is here.
    pub(super) fn has_that_of(&self, server: &Server) -> bool {
        self.of_server(server).is_ok()
    }

    /// Deletes the pair of a server that does not exist any more. One that cannot be deleted
    /// does no harm.
    pub(super) fn forget_that_of(&self, server: &Server) {
        drop(std::fs::remove_dir_all(self.directory_of(name_of(server))));
    }

    fn load(&self, name: &str) -> Result<KeyPair, AgentError> {
        let directory = self.directory_of(name);
        Ok(KeyPair {
            shim: Identity::load(&directory, "shim")?,
            agent: load_certificate(&directory, "agent")?,
        })
    }

    /// The directory of a pair. The name comes from a label, which everyone with the token
    /// can write, so one that is not valid leads to a directory that does not exist.
    fn directory_of(&self, name: &str) -> PathBuf {
        self.0.join(if is_short_digest(name) { Path::new(name) } else { Path::new("none") })
    }
}

/// The name of a server's pair, by its label.
fn name_of(server: &Server) -> &str {
    server.labels.get(KEYS).map(String::as_str).unwrap_or_default()
}
