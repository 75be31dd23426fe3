//! What the hosts follow: the addresses, the firewalls and the power of their servers.

use crate::host::Hosts;
use crate::simulator::{Shared, lock};
use crate::world::{Effect, Family, World};

impl Shared {
    /// Assigns the addresses of their hosts to servers, and gives hosts what their servers have.
    pub(crate) fn give_addresses(&self, world: &mut World) {
        let Some(hosts) = &self.hosts else { return };
        for server in world.servers.keys() {
            let held = Family::ALL.map(|family| world.primary_ip_of(*server, family));
            let held = held.into_iter().flatten().map(|address| (address.id, address.family));
            let (ids, families): (Vec<u64>, Vec<Family>) = held.unzip();
            let addresses = hosts.addresses_of(*server, &families, &world.scenario.blocked);
            for (id, ip) in ids.iter().zip(addresses) {
                if let Some(address) = world.primary_ips.get_mut(id) {
                    address.ip = ip;
                }
            }
        }
    }

    /// Passes pending effects to the hosts, after the rules of their firewalls.
    pub(crate) fn wake_hosts(&self) {
        let mut world = lock(&self.world);
        let effects = std::mem::take(&mut world.effects);
        let Some(hosts) = &self.hosts else { return };
        for server in world.servers.keys() {
            hosts.filter(*server, world.rules_of(*server).as_deref());
        }
        for effect in effects {
            let user_data = match effect {
                Effect::Boot { server, .. } => {
                    world.servers.get(&server).map(|server| server.user_data.clone())
                }
                _ => None,
            };
            let gb = match effect {
                Effect::Plug { volume, .. } => world.volumes.get(&volume).map(|volume| volume.gb),
                _ => None,
            };
            hosts.push(effect, user_data.unwrap_or_default(), gb.unwrap_or(0));
        }
    }

    /// The hosts, with [`Backend::Hosts`](crate::Backend::Hosts).
    pub const fn hosts(&self) -> Option<&Hosts> {
        self.hosts.as_ref()
    }
}
