//! The rules of firewalls.

use serde_json::{Value, json};

use crate::cidr::Cidr;
use crate::refusal::Refusal;

/// Most rules of a firewall.
const RULES_MAX: usize = 50;

/// Most ranges of a rule.
const RANGES_MAX: usize = 100;

/// A rule, which allows traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it is about incoming traffic.
    pub is_inbound: bool,
    /// The protocol, as the API names it.
    pub protocol: String,
    /// The first and the last port, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Where the traffic may come from or go to.
    pub ranges: Vec<Cidr>,
}

impl Rule {
    /// Parses a rule that the schemas accept. `place` names it in the error.
    pub fn parse(rule: &Value, place: &str) -> Result<Self, Refusal> {
        let is_inbound = rule["direction"] == "in";
        let (own, other) = match is_inbound {
            true => ("source_ips", "destination_ips"),
            false => ("destination_ips", "source_ips"),
        };
        let list = |field: &str| rule[field].as_array().cloned().unwrap_or_default();
        if !list(other).is_empty() {
            return Err(Refusal::invalid(&format!("{place}.{other}"), "is of the other direction"));
        }
        let field = format!("{place}.{own}");
        let mut ranges = Vec::new();
        for text in list(own) {
            let range = Cidr::parse(text.as_str().unwrap_or_default());
            ranges.push(range.map_err(|error| Refusal::invalid(&field, &error.to_string()))?);
        }
        if ranges.is_empty() || ranges.len() > RANGES_MAX {
            return Err(Refusal::invalid(&field, "must have 1 to 100 elements"));
        }
        let protocol = rule["protocol"].as_str().unwrap_or_default().to_owned();
        let has_ports = matches!(protocol.as_str(), "tcp" | "udp");
        let field = format!("{place}.port");
        let ports = match rule["port"].as_str() {
            Some(_) if !has_ports => {
                return Err(Refusal::invalid(&field, "is allowed for tcp and udp alone"));
            }
            None if has_ports => return Err(Refusal::invalid(&field, "is required")),
            None => None,
            Some(text) => {
                let ports = ports(text);
                Some(ports.ok_or_else(|| Refusal::invalid(&field, "is not a port or a range"))?)
            }
        };
        Ok(Self { is_inbound, protocol, ports, ranges })
    }
}

/// A port such as `80`, or a range such as `1024-5000`.
fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| is_number && *port > 0)
    };
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

/// Checks the rules of a request; returns them with ranges in their canonical form.
pub(super) fn checked(rules: &[Value]) -> Result<Vec<Value>, Refusal> {
    if rules.len() > RULES_MAX {
        return Err(Refusal::invalid("rules", "must be at most 50"));
    }
    let check = |(index, sent): (usize, &Value)| {
        let rule = Rule::parse(sent, &format!("rules.{index}"))?;
        let mut sent = sent.clone();
        let own = if rule.is_inbound { "source_ips" } else { "destination_ips" };
        sent[own] = json!(rule.ranges.iter().map(Cidr::to_string).collect::<Vec<_>>());
        Ok(sent)
    };
    rules.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        for (text, expected) in [
            ("80", Some((80, 80))),
            ("1024-5000", Some((1024, 5000))),
            ("1-65535", Some((1, 65535))),
            ("0", None),
            ("65536", None),
            ("5000-1024", None),
            ("80-", None),
            ("+80", None),
            ("any", None),
            ("", None),
        ] {
            assert_eq!(ports(text), expected, "{text}");
        }
    }
}
