//! The user data of a server: the keys of the connection, and the client timeout.
//!
//! ```json
//! {"cargo-burst": 1, "agent_certificate": "HEX", "agent_key": "HEX",
//!  "shim_certificate": "HEX", "gone_after_secs": 15}
//! ```
//!
//! The shim passes it with the creation of the server, the agent reads it from the metadata
//! service. Only root may do so (see `boot`); the keys stay in the agent's memory.

use burst_protocol::limit::USER_DATA_BYTES_MAX;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::error::AgentError;
use crate::identity::Identity;

/// The version of this format.
const FORMAT: u32 = 1;

/// The keys of the connection, as user data of a server.
#[derive(Serialize, Deserialize)]
pub struct UserData {
    #[serde(rename = "cargo-burst")]
    format: u32,
    agent_certificate: String,
    agent_key: String,
    shim_certificate: String,
    /// Seconds of silence after which a client counts as gone.
    pub gone_after_secs: u64,
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UserData([private])")
    }
}

impl UserData {
    /// The user data for the agent with the identity `agent`, which accepts `shim` alone.
    pub fn new(agent: &Identity, shim: &Identity, gone_after_secs: u64) -> Self {
        Self {
            format: FORMAT,
            agent_certificate: HEXLOWER.encode(agent.certificate()),
            agent_key: HEXLOWER.encode(agent.secret()),
            shim_certificate: HEXLOWER.encode(shim.certificate()),
            gone_after_secs,
        }
    }

    /// The JSON text for the API.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the JSON text, of at most [`USER_DATA_BYTES_MAX`] bytes. No error quotes it.
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let wrong = |why: &str| AgentError::UserData(why.to_owned());
        if text.len() > USER_DATA_BYTES_MAX {
            return Err(wrong("it is longer than 32 KiB"));
        }
        // The parser's own error could quote a key.
        let data: Self =
            serde_json::from_str(text).map_err(|_| wrong("it is not the JSON of this format"))?;
        match data.format {
            FORMAT => Ok(data),
            other => {
                Err(wrong(&format!("its format is {other}, and this agent reads format {FORMAT}")))
            }
        }
    }

    /// The agent's identity, and the certificate of its only client.
    pub fn keys(
        &self,
    ) -> Result<(Identity, rustls::pki_types::CertificateDer<'static>), AgentError> {
        let bytes = |hex: &str| {
            HEXLOWER_PERMISSIVE
                .decode(hex.as_bytes())
                .map_err(|_| AgentError::UserData("a key is not hexadecimal".into()))
        };
        let own = Identity::from_parts(bytes(&self.agent_certificate)?, bytes(&self.agent_key)?);
        Ok((own, bytes(&self.shim_certificate)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_written_and_not_shown() {
        let (agent, shim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let text = UserData::new(&agent, &shim, 15).to_text();
        assert!(text.len() < 4096, "{}", text.len());
        let read = UserData::parse(&text).unwrap();
        let (own, client) = read.keys().unwrap();
        assert_eq!(own.certificate(), agent.certificate());
        assert_eq!(own.secret(), agent.secret());
        assert_eq!(&client, shim.certificate());
        assert!(!format!("{read:?}").contains(&HEXLOWER.encode(agent.secret())[..16]));
        for wrong in ["", "{}", &text.replace("\"cargo-burst\":1", "\"cargo-burst\":2")] {
            assert!(UserData::parse(wrong).is_err());
        }
        let odd = text.replace("\"agent_key\":\"", "\"agent_key\":\"0");
        assert!(UserData::parse(&odd).unwrap().keys().is_err());
    }
}
