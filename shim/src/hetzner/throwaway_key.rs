//! The SSH key of a create call. Without one Hetzner makes a root password and mails it.
//!
//! Nobody can log in with the key: its private part is forgotten at once, and no server listens
//! for SSH. It is registered for the call alone and deleted after it, whichever way the call
//! ends. One whose deletion failed has our labels and is swept later; it costs nothing.

use burst_hcloud::server::{NewServer, Server};
use burst_hcloud::ssh_key::NewSshKey;
use burst_hcloud::{Client, Error as ApiError, Id, Labels, Made};
use data_encoding::BASE64;
use rcgen::{KeyPair, PKCS_ED25519};
use tokio::runtime::Handle;

use super::naming::{self, Owner, SSH_KEY, short_digest};
use crate::error::{Error, ErrorKind};

/// The type of the key, in its line and inside of it.
const TYPE: &[u8] = b"ssh-ed25519";

/// Seconds after which a key is left over: no create call takes that long.
const LEFT_OVER_SECS: i64 = 15 * 60;

/// A key that is registered until this is dropped, inside of a runtime.
struct Registered {
    client: Client,
    id: Id,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let (client, id) = (self.client.clone(), self.id);
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = client.delete_ssh_key(id).await {
                tracing::info!("an SSH key is left over and deleted later: {error}");
            }
        });
    }
}

/// The line of a new key, whose private part is forgotten.
pub(super) fn new_public_key() -> Result<String, Error> {
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|source| {
        Error::new(ErrorKind::State, "cannot create an SSH key", "run the command again")
            .caused_by(&source)
    })?;
    Ok(line_of(pair.public_key_raw()))
}

/// The line of an ed25519 key, as in RFC 8709: type and key, each with its length before it.
fn line_of(key: &[u8]) -> String {
    let mut blob = Vec::new();
    for part in [TYPE, key] {
        blob.extend(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        blob.extend(part);
    }
    format!("{} {}", String::from_utf8_lossy(TYPE), BASE64.encode(&blob))
}

/// Creates or adopts a server as [`Client::create_server`] does, with this key in the call.
pub(super) async fn create_server(
    client: &Client,
    owner: &Owner,
    public_key: String,
    mut new: NewServer,
    ours: &Labels,
) -> Result<Made<Server>, ApiError> {
    let labels = naming::identity(SSH_KEY, owner);
    let name = owner.ssh_key_name(&short_digest(public_key.as_bytes()));
    new.ssh_keys.push(name.clone());
    let key = NewSshKey { name, public_key, labels: labels.clone() };
    let id = client.create_ssh_key(&key, &labels).await?.resource().id;
    let _registered = Registered { client: client.clone(), id };
    client.create_server(&new, ours).await
}

/// Deletes keys that interrupted commands have left, of all owners.
pub(super) async fn sweep(client: &Client) {
    let now = client.now().as_second();
    let swept = async {
        for key in client.ssh_keys(&naming::ours(Some(SSH_KEY))).await? {
            if now - key.created.as_second() >= LEFT_OVER_SECS {
                client.delete_ssh_key(key.id).await?;
            }
        }
        Ok::<(), ApiError>(())
    };
    if let Err(error) = swept.await {
        tracing::info!("cannot delete SSH keys that are left over: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_form_of_openssh_and_differ() {
        let key: Vec<u8> = (0..32).collect();
        assert_eq!(
            line_of(&key),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        );
        let [one, other] = [new_public_key().unwrap(), new_public_key().unwrap()];
        assert!(one != other && one.len() == line_of(&key).len());
    }
}
