//! The packet filter of a host: what the rules of its server's firewalls let pass on its public
//! interface. Replies to what was allowed pass, too.

use crate::cidr::Cidr;
use crate::world::Rule;

/// The input of `nft` that makes these rules the host's; `None` lets everything pass.
pub(super) fn script(rules: Option<&[Rule]>) -> String {
    // A table is added before it is deleted, since it may be missing.
    let mut script = String::from("add table inet firewall\ndelete table inet firewall\n");
    let Some(rules) = rules else { return script };
    script += "add table inet firewall\n";
    for (is_inbound, chain, interface) in [(true, "in", "iifname"), (false, "out", "oifname")] {
        let own: Vec<&Rule> = rules.iter().filter(|rule| rule.is_inbound == is_inbound).collect();
        // Without rules for outgoing traffic, all of it passes.
        if own.is_empty() && !is_inbound {
            continue;
        }
        // Hetzner's firewalls are in front of the host: they see packets before its own NAT.
        let hook = if is_inbound { "prerouting priority -150" } else { "postrouting priority 150" };
        script += &format!(
            "add chain inet firewall {chain} {{ type filter hook {hook}; }}\n\
             add rule inet firewall {chain} {interface} != \"eth0\" accept\n\
             add rule inet firewall {chain} ct state established,related accept\n\
             add rule inet firewall {chain} icmpv6 type \
             {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n"
        );
        for rule in own {
            for range in &rule.ranges {
                let matches = format!("{} {}", addresses(range, is_inbound), packets(rule));
                script += &format!("add rule inet firewall {chain} {matches} accept\n");
            }
        }
        script += &format!("add rule inet firewall {chain} drop\n");
    }
    script
}

fn addresses(range: &Cidr, is_inbound: bool) -> String {
    let side = if is_inbound { "saddr" } else { "daddr" };
    match (range.is_v4(), range.is_everything()) {
        (true, true) => "meta nfproto ipv4".into(),
        (false, true) => "meta nfproto ipv6".into(),
        (true, false) => format!("ip {side} {range}"),
        (false, false) => format!("ip6 {side} {range}"),
    }
}

fn packets(rule: &Rule) -> String {
    match (rule.ports, rule.protocol.as_str()) {
        (Some((first, last)), protocol) if first == last => format!("{protocol} dport {first}"),
        (Some((first, last)), protocol) => format!("{protocol} dport {first}-{last}"),
        (None, "icmp") => "meta l4proto { icmp, ipv6-icmp }".into(),
        (None, protocol) => format!("meta l4proto {protocol}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(is_inbound: bool, protocol: &str, ports: Option<(u16, u16)>, range: &str) -> Rule {
        let ranges = vec![Cidr::parse(range).unwrap()];
        Rule { is_inbound, protocol: protocol.into(), ports, ranges }
    }

    #[test]
    fn each_range_of_a_rule_is_a_line() {
        let rules = [
            rule(true, "tcp", Some((80, 80)), "10.0.0.0/8"),
            rule(true, "icmp", None, "::/0"),
            rule(false, "udp", Some((1, 53)), "0.0.0.0/0"),
        ];
        let script = script(Some(&rules));
        for line in [
            "in ip saddr 10.0.0.0/8 tcp dport 80 accept",
            "in meta nfproto ipv6 meta l4proto { icmp, ipv6-icmp } accept",
            "in drop",
            "out meta nfproto ipv4 udp dport 1-53 accept",
            "out drop",
        ] {
            assert!(script.contains(&format!("inet firewall {line}\n")), "{line}: {script}");
        }
    }

    #[test]
    fn without_a_firewall_everything_passes_and_without_rules_nothing_comes_in() {
        assert!(!script(None).contains("chain"));
        let empty = script(Some(&[]));
        assert!(empty.contains("firewall in drop") && !empty.contains("firewall out"), "{empty}");
    }
}
