//! Operations on SSH keys, of which names and fingerprints are unique.

use serde_json::Value;

use super::{World, labels_of, reference, text};
use crate::refusal::Refusal;
use crate::selector::Labels;

/// An SSH key.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// The id.
    pub id: u64,
    /// The name.
    pub name: String,
    /// The key as a line of an `authorized_keys` file.
    pub public_key: String,
    /// The MD5 fingerprint, as pairs of hexadecimal digits.
    pub fingerprint: String,
    /// The labels.
    pub labels: Labels,
    /// The time of creation, in milliseconds of virtual time.
    pub created: i64,
}

impl World {
    /// Carries out `POST /ssh_keys`; returns the id.
    pub fn create_ssh_key(&mut self, body: &Value, now: i64) -> Result<u64, Refusal> {
        let (name, public_key) = (text(body, "name").to_owned(), text(body, "public_key"));
        let labels = labels_of(body)?.unwrap_or_default();
        let fingerprint = fingerprint(public_key)
            .ok_or_else(|| Refusal::invalid("public_key", "is not a valid SSH key"))?;
        if self.ssh_keys.values().any(|key| key.name == name) {
            return Err(Refusal::taken("SSH key name is already used"));
        }
        if self.ssh_keys.values().any(|key| key.fingerprint == fingerprint) {
            return Err(Refusal::taken("SSH key with the same fingerprint already exists"));
        }
        let id = self.new_id();
        let public_key = public_key.to_owned();
        let key = SshKey { id, name, public_key, fingerprint, labels, created: now };
        self.ssh_keys.insert(id, key);
        Ok(id)
    }

    /// Refuses a list of ids and names that has one of no key.
    pub(super) fn check_ssh_keys(&self, wanted: &[Value]) -> Result<(), Refusal> {
        for one in wanted {
            let wanted = reference(one).unwrap_or_default();
            let is_meant = |key: &SshKey| key.name == wanted || key.id.to_string() == wanted;
            if !self.ssh_keys.values().any(is_meant) {
                let message = format!("SSH key '{wanted}' not found");
                let mut refusal = Refusal::invalid("ssh_keys", &message);
                refusal.message = message;
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Carries out `DELETE /ssh_keys/{id}`.
    pub fn delete_ssh_key(&mut self, id: u64) -> Result<(), Refusal> {
        self.ssh_keys.remove(&id).map(drop).ok_or_else(|| Refusal::not_found("SSH key"))
    }
}

fn fingerprint(public_key: &str) -> Option<String> {
    let mut words = public_key.split_whitespace();
    let kind =
        words.next().filter(|kind| kind.starts_with("ssh-") || kind.starts_with("ecdsa-"))?;
    let bytes = data_encoding::BASE64.decode(words.next()?.as_bytes()).ok()?;
    // The key begins with the length of its type and the type.
    let told = bytes.get(4..4 + kind.len())?;
    (told == kind.as_bytes()).then(|| {
        let pairs = md5::compute(&bytes).0.map(|byte| format!("{byte:02x}"));
        pairs.join(":")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me";
        let expected = "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba";
        assert_eq!(fingerprint(key).as_deref(), Some(expected));
        for wrong in ["", "ssh-rsa", "ssh-rsa !!!", "hello AAAA", "ssh-rsa AAAAC3NzaC1lZDI1NTE5"] {
            assert_eq!(fingerprint(wrong), None, "{wrong}");
        }
    }
}
