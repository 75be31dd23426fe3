//! Names that files with secrets, and directories of them, usually have. Pure.
//!
//! A file with such a name is sent only if the user says so: to take another one for a secret costs
//! a line in the settings.

use burst_protocol::RelativePath;

/// Names, in small letters.
const NAMES: [&[u8]; 22] = [
    b".ssh",
    b".aws",
    b".azure",
    b".gnupg",
    b".kube",
    b".docker",
    b".gcloud",
    b"gcloud",
    b".netrc",
    b"_netrc",
    b".npmrc",
    b".yarnrc.yml",
    b".pypirc",
    b".pgpass",
    b".my.cnf",
    b".s3cfg",
    b".htpasswd",
    b".git-credentials",
    b".vault-token",
    b".terraformrc",
    b"kubeconfig",
    b"id_dsa",
];

/// Beginnings of names.
const BEGINNINGS: [&[u8]; 12] = [
    b".env",
    b"id_rsa",
    b"id_ecdsa",
    b"id_ed25519",
    b"credential",
    b".credential",
    b"secret",
    b".secret",
    b"password",
    b"passwd",
    b"service-account",
    b"service_account",
];

/// Ends of names.
const ENDINGS: [&[u8]; 13] = [
    b".env",
    b".pem",
    b".key",
    b".p8",
    b".p12",
    b".pfx",
    b".ppk",
    b".jks",
    b".keystore",
    b".kdbx",
    b".secret",
    b".tfvars",
    b".tfstate",
];

/// Whether a file, or a directory that it lies in, has the name of a secret. Letters count in both
/// cases.
pub(super) fn is_secret(path: &RelativePath) -> bool {
    path.names().any(|name| {
        let name = name.to_ascii_lowercase();
        NAMES.contains(&name.as_slice())
            || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
            || ENDINGS.iter().any(|ending| name.ends_with(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_path_can_say_that_it_is_secret() {
        let is_secret = |path: &str| is_secret(&RelativePath::new(path.as_bytes()).unwrap());
        for path in [
            ".env",
            "a/.env.local",
            ".env/config.toml",
            "tls/Server.KEY",
            "private/id_rsa",
            "Credentials.json",
            ".ssh/config",
            "deploy/prod.env",
            "Secrets/x",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["src/gen.rs", "key.rs", "environment/x", "src/id.rs", "keys/x", "data.pem.rs"]
        {
            assert!(!is_secret(path), "{path}");
        }
    }
}
