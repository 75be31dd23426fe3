//! What a server is told at its creation, over its metadata service: the keys of the
//! connection, and nothing else.
//!
//! ```json
//! {"cargo-burst": 1, "agent_certificate": "HEX", "agent_key": "HEX",
//!  "shim_certificate": "HEX", "gone_after_secs": 15}
//! ```
//!
//! Only root may ask the metadata service (see [`crate::boot`]); the keys live in the
//! agent's memory and on no disk.

use burst_protocol::limit::USER_DATA_BYTES_MAX;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::error::AgentError;
use crate::identity::Identity;

/// The number of this format.
const FORMAT: u32 = 1;

/// What the metadata service tells.
#[derive(Serialize, Deserialize)]
pub struct UserData {
    #[serde(rename = "cargo-burst")]
    format: u32,
    agent_certificate: String,
    agent_key: String,
    shim_certificate: String,
    /// Silence after which a client counts as gone.
    pub gone_after_secs: u64,
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UserData([private])")
    }
}

impl UserData {
    /// For an agent that is to be `agent` and to accept `shim`.
    pub fn new(agent: &Identity, shim: &Identity, gone_after_secs: u64) -> Self {
        Self {
            format: FORMAT,
            agent_certificate: HEXLOWER.encode(agent.certificate()),
            agent_key: HEXLOWER.encode(agent.secret()),
            shim_certificate: HEXLOWER.encode(shim.certificate()),
            gone_after_secs,
        }
    }

    /// As the API is to pass it on.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what was passed on.
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let wrong = |why: &str| AgentError::UserData(why.to_owned());
        if text.len() > USER_DATA_BYTES_MAX {
            return Err(wrong("it is longer than 32 KiB"));
        }
        // The parser's own words could repeat a key.
        let data: Self =
            serde_json::from_str(text).map_err(|_| wrong("it is not the JSON of this format"))?;
        match data.format {
            FORMAT => Ok(data),
            other => {
                Err(wrong(&format!("its format is {other}, and this agent reads format {FORMAT}")))
            }
        }
    }

    /// Our identity, and the certificate of the only client.
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
    fn keys_survive_the_way_and_are_not_shown() {
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
