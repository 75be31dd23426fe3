//! The checks of what the API tells: endpoint, token, its rights, quota and image. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use burst_hcloud::server_type::ServerType;

use super::check::Check;
use crate::connection::VERSION;
use crate::error::{Error, ErrorKind};
use crate::hetzner::examination::Examination;
use crate::terminal::{counted, span};

/// What is known of the account.
#[derive(Debug)]
pub(super) enum Account {
    /// The settings cannot be read.
    NoSettings,
    /// There is no token.
    NoToken,
    /// The API has not answered in time.
    Silent(Duration),
    /// The API cannot be reached, or refuses.
    Failed(Error),
    /// The API has answered.
    Examined(Box<Examination>),
}

/// The endpoint and the token, as they are set.
#[derive(Debug)]
pub(super) struct Access {
    /// The URL of the API, without a password.
    pub(super) url: String,
    /// Whether what is sent there can be read on the way.
    pub(super) is_unencrypted: bool,
    /// The variables that name a proxy.
    pub(super) proxies: Vec<&'static str>,
    /// Where the token is set.
    pub(super) token_origin: String,
}

impl Account {
    /// What the API has told, or why it has told nothing.
    pub(super) fn examined(&self) -> Result<&Examination, &'static str> {
        match self {
            Self::NoSettings => Err("the settings cannot be read"),
            Self::NoToken => Err("no token is set: cargo runs on this machine"),
            Self::Failed(error) if error.kind() == ErrorKind::Token => Err("the token is refused"),
            Self::Silent(_) | Self::Failed(_) => Err("the API has not answered"),
            Self::Examined(found) => Ok(found),
        }
    }
}

/// The endpoint answers.
pub(super) fn endpoint(account: &Account, access: &Access) -> Check {
    const NAME: &str = "endpoint";
    let through = match access.proxies.as_slice() {
        [] => String::new(),
        names => format!("; a proxy is set in {}", names.join(" and ")),
    };
    let url = &access.url;
    let silent = |secs: u64| {
        Check::error(
            NAME,
            ErrorKind::Api,
            format!("{url} has not answered within {secs} s{through}"),
            "check the connection to the Internet, `hetzner_endpoint` and the proxy; \
             https://status.hetzner.com lists outages",
        )
    };
    let latency = match account {
        Account::NoSettings | Account::NoToken => return skipped(NAME, account),
        Account::Silent(after) => return silent(after.as_secs()),
        Account::Failed(error) if error.kind() != ErrorKind::Token => {
            return Check::failed(NAME, error);
        }
        Account::Failed(_) => String::new(),
        Account::Examined(found) => format!(" a call in {} ms", found.latency.as_millis()),
    };
    if access.is_unencrypted {
        return Check::warning(
            NAME,
            format!("{url} answers{latency}, without encryption: the token can be read on the way"),
            "set `hetzner_endpoint` to an https URL",
        );
    }
    Check::ok(NAME, format!("{url} answers{latency}{through}"))
}

/// The token is accepted.
pub(super) fn token(account: &Account, access: &Access) -> Check {
    const NAME: &str = "token";
    let origin = &access.token_origin;
    match account {
        Account::NoSettings | Account::NoToken => skipped(NAME, account),
        Account::Failed(error) if error.kind() == ErrorKind::Token => {
            let check = Check::failed(NAME, error);
            Check { finding: format!("{} (set in {origin})", check.finding), ..check }
        }
        Account::Silent(_) | Account::Failed(_) => {
            Check::skipped(NAME, format!("set in {origin}; the API has not answered"))
        }
        Account::Examined(_) => Check::ok(NAME, format!("accepted, set in {origin}")),
    }
}

/// The token may write.
pub(super) fn rights(account: &Account) -> Check {
    const NAME: &str = "rights";
    match account.examined().map(|found| &found.write) {
        Err(why) => Check::skipped(NAME, why),
        Ok(Ok(())) => Check::ok(NAME, "the token may read and write"),
        Ok(Err(error)) => Check::failed(NAME, error),
    }
}

/// The quotas, as far as the API tells of them: `server_types` are those of the settings.
pub(super) fn quota(account: &Account, server_types: &[String]) -> Check {
    const NAME: &str = "quota";
    let found = match account.examined() {
        Ok(found) => found,
        Err(why) => return Check::skipped(NAME, why),
    };
    let there = format!(
        "the API tells no limits; {} and {} of cargo-burst exist",
        counted(found.servers.len() as u64, "server"),
        counted(found.volumes as u64, "volume"),
    );
    let known: Vec<&ServerType> = configured(found, server_types).collect();
    if !known.is_empty() && known.iter().all(|kind| kind.cpu_type == "dedicated") {
        let cores = known.iter().map(|kind| kind.cores).fold(f64::INFINITY, f64::min);
        return Check::warning(
            NAME,
            format!(
                "{there}; each type in `server_type` has dedicated cores, at least {cores}, of \
                 which new accounts may have 8 or fewer"
            ),
            "look at the limits in the Hetzner console, request a higher one, or add a type with \
             shared cores to `server_type`",
        );
    }
    Check::ok(NAME, there)
}

/// There is an image for each architecture that the settings ask for.
pub(super) fn image(account: &Account, server_types: &[String]) -> Check {
    const NAME: &str = "image";
    let found = match account.examined() {
        Ok(found) => found,
        Err(why) => return Check::skipped(NAME, why),
    };
    let wanted: BTreeSet<&str> =
        configured(found, server_types).map(|kind| kind.architecture.as_str()).collect();
    let has = |wanted: &&str| found.images.iter().any(|image| image.architecture == **wanted);
    if found.images.is_empty() || !wanted.is_empty() && !wanted.iter().any(has) {
        let what = Vec::from_iter(wanted).join(" or ");
        let what = if what.is_empty() { what } else { format!(" for {what}") };
        return Check::error(
            NAME,
            ErrorKind::NoImage,
            format!("there is no image{what} to create a server from"),
            "cargo-burst cannot create images yet; without a token, cargo runs on this machine",
        );
    }
    let lines = found.images.iter().map(|image| {
        let agent = match &image.agent_version {
            Some(version) => format!("agent {version}"),
            None => "no label tells its agent's version".to_owned(),
        };
        let age = span(image.age_secs);
        format!("{} for {}, created {age} ago, {agent}", image.id, image.architecture)
    });
    let finding = Vec::from_iter(lines).join("; ");
    // The newest of each architecture is used.
    let mut used = BTreeSet::new();
    let newest = found.images.iter().filter(|image| used.insert(&image.architecture));
    let is_other = |version: &String| version != VERSION;
    if newest.filter_map(|image| image.agent_version.as_ref()).any(is_other) {
        return Check::warning(
            NAME,
            finding,
            format!("create an image with the agent of this version, {VERSION}"),
        );
    }
    match wanted.iter().find(|one| !has(one)) {
        None => Check::ok(NAME, finding),
        Some(missing) => Check::warning(
            NAME,
            format!("{finding}; none for {missing}, which a type in `server_type` needs"),
            format!("create an image for {missing}, or remove the type from `server_type`"),
        ),
    }
}

/// The server types of the settings that the API knows.
fn configured<'a>(
    found: &'a Examination,
    server_types: &'a [String],
) -> impl Iterator<Item = &'a ServerType> {
    found.types.iter().filter(|kind| server_types.contains(&kind.name))
}

fn skipped(name: &'static str, account: &Account) -> Check {
    Check::skipped(name, account.examined().err().unwrap_or_default())
}

#[cfg(test)]
mod tests;
