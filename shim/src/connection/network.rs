//! The network that this machine is in: what tells it from others, without a question to
//! anybody.
//!
//! It is the address from which packets to the agent leave, and the default gateway. Two
//! networks may have the same, as private addresses do: what is remembered of one is then
//! tried in the other first, and costs time there, nothing else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The kernel's table of IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// A network, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network(String);

impl Network {
    /// The network by which an address is reached; `None` if there is no route to it. On a thread
    /// that may block.
    pub(super) async fn find(address: SocketAddr) -> Option<Self> {
        tokio::task::spawn_blocking(move || Self::towards(address)).await.ok().flatten()
    }

    fn towards(address: SocketAddr) -> Option<Self> {
        // A connected UDP socket has asked the kernel for the route, and sent nothing.
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(address).ok()?;
        let own = socket.local_addr().ok()?.ip();
        let routes = std::fs::read_to_string(ROUTES).unwrap_or_default();
        Some(Self::of(own, gateway(&routes)))
    }

    /// The network of a source address and a default gateway.
    pub(super) fn of(own: IpAddr, gateway: Option<Ipv4Addr>) -> Self {
        Self(match gateway {
            Some(gateway) => format!("{own} via {gateway}"),
            None => own.to_string(),
        })
    }

    /// It, as it is remembered.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The gateway of the default route in the kernel's table.
fn gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        // In the byte order of the machine.
        (destination == "00000000").then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let gateway_bytes = format!("{:08X}", u32::from_ne_bytes([192, 168, 7, 1]));
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t0007A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
             eth0\t00000000\t{gateway_bytes}\t0003\t0\t0\t0\t00000000\n"
        );
        assert_eq!(gateway(&table), Some(Ipv4Addr::new(192, 168, 7, 1)));
        for text in ["", "Iface\n", "Iface\neth0\n", "Iface\neth0\t00000000\tnonsense\n"] {
            assert_eq!(gateway(text), None, "{text:?}");
        }
    }

    #[test]
    fn networks_differ_by_address_and_gateway() {
        let [own, other] = [[10, 0, 0, 2], [10, 0, 0, 3]].map(IpAddr::from);
        let gateway = Some(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(Network::of(own, gateway).as_str(), "10.0.0.2 via 10.0.0.1");
        assert_ne!(Network::of(own, gateway), Network::of(other, gateway));
        assert_ne!(Network::of(own, gateway), Network::of(own, None));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(Network::towards(loopback).unwrap().as_str().starts_with("127.0.0.1"));
    }
}
