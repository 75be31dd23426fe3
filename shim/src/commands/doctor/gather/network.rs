//! What the API tells, and whether the port of servers answers.

use std::net::SocketAddr;
use std::time::Duration;

use burst_agent::transport::SERVER_PORT;
use burst_hcloud::endpoint::without_userinfo;
use tokio::task::JoinSet;

use crate::commands::doctor::account::{Access, Account};
use crate::commands::doctor::ports::{Network, Tried};
use crate::connection::port_probe;
use crate::connection::tcp_networks::{self, TcpNetworks};
use crate::directories::Directories;
use crate::environment;
use crate::hetzner::credentials::Credentials;
use crate::hetzner::examination::examine;
use crate::settings::{Origin, Settings};

/// How long the API may take for all requests.
const API_DEADLINE: Duration = Duration::from_secs(8);

/// How long servers may take.
const PORT_DEADLINE: Duration = Duration::from_secs(3);

/// An address on the Internet that no host has. Nothing is sent there: the route to it tells
/// which network this machine is in.
const OUTSIDE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), SERVER_PORT);

/// Asks the API, then tries the servers of this machine that run.
pub(crate) async fn account_and_ports(
    settings: Option<&Settings>,
    directories: &Directories,
) -> (Account, Network) {
    let account = account(settings).await;
    let mut trying = JoinSet::new();
    let servers = account.examined().map(|found| found.servers.as_slice()).unwrap_or_default();
    for server in servers.iter().filter(|server| server.is_of_this_machine) {
        let Some(address) = server.running_at else { continue };
        let (name, age_secs) = (server.name.clone(), server.age_secs);
        trying.spawn(async move {
            let address = SocketAddr::new(address, SERVER_PORT);
            let answers = port_probe::probe(address, PORT_DEADLINE).await;
            Tried { name, age_secs, answers }
        });
    }
    let mut tried = trying.join_all().await;
    tried.sort_by(|a, b| a.name.cmp(&b.name));
    let networks = TcpNetworks::new(directories.hetzner().join(tcp_networks::FILE));
    let blocks_udp = networks.blocks_udp(OUTSIDE).await;
    (account, Network { tried, blocks_udp })
}

async fn account(settings: Option<&Settings>) -> Account {
    let Some(settings) = settings else { return Account::NoSettings };
    let Some(credentials) = Credentials::of(settings) else { return Account::NoToken };
    match tokio::time::timeout(API_DEADLINE, examine(&credentials)).await {
        Err(_) => Account::Silent(API_DEADLINE),
        Ok(Err(error)) => Account::Failed(error),
        Ok(Ok(found)) => Account::Examined(Box::new(found)),
    }
}

/// Endpoint and token, as they are set.
pub(super) fn access(settings: Option<&Settings>) -> Access {
    let endpoint = settings.map_or("", |settings| settings.hetzner_endpoint.as_str());
    let is_of_this_machine = ["http://127.", "http://localhost", "http://[::1]"];
    let is_local = is_of_this_machine.iter().any(|start| endpoint.starts_with(start));
    let proxies = environment::HTTPS.into_iter().filter(|name| {
        name.eq_ignore_ascii_case("HTTPS_PROXY") && environment::variable(name).is_some()
    });
    Access {
        url: without_userinfo(endpoint),
        is_unencrypted: endpoint.starts_with("http:") && !is_local,
        proxies: proxies.collect(),
        token_origin: settings.map(token_origin).unwrap_or_default(),
    }
}

/// Where the token is set, and who may read that.
fn token_origin(settings: &Settings) -> String {
    use std::os::unix::fs::PermissionsExt;
    let setting = settings.effective().iter().find(|setting| setting.key == "hetzner_token");
    match setting.and_then(|setting| setting.origins.last()) {
        Some(Origin::User(path)) => match path.metadata() {
            Ok(found) => {
                format!("`{}`, mode {:o}", path.display(), found.permissions().mode() & 0o777)
            }
            Err(_) => format!("`{}`", path.display()),
        },
        Some(origin) => format!("the {origin}"),
        None => String::new(),
    }
}
