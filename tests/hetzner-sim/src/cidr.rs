//! Ranges of addresses in CIDR notation.

use std::fmt;
use std::net::IpAddr;

/// A range of addresses, whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// It is not an address with the length of a prefix.
    #[error("invalid CIDR address: {0}")]
    Form(String),
    /// Bits behind the prefix are set.
    #[error("{0} is not the start of the cidr block {1}")]
    HostBits(String, Cidr),
}

impl Cidr {
    /// Parses a range, such as `10.0.0.0/8` or `2001:db8::/32`.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if !is_number || prefix > width(address) {
            return Err(form());
        }
        let start = Self { address: masked(address, prefix), prefix };
        match start.address == address {
            true => Ok(start),
            false => Err(CidrError::HostBits(text.to_owned(), start)),
        }
    }

    /// Whether another range lies within this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
    }

    /// Whether these are IPv4 addresses.
    pub const fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether these are all addresses of the family.
    pub const fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// The first address, as a number; 0 for IPv6.
    pub fn first_v4(&self) -> u32 {
        match self.address {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(_) => 0,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with zeros behind the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let left = u32::from(width(address) - prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(left).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(left).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_begin_where_their_prefix_ends() {
        for text in
            ["0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "fe80::1/128"]
        {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
        for text in ["10.1.2.3/8", "fe80::1337/64", "0.0.0.1/0"] {
            assert!(matches!(Cidr::parse(text), Err(CidrError::HostBits(..))), "{text}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0/8", "::/+1", "a/8"] {
            assert_eq!(Cidr::parse(text), Err(CidrError::Form(text.into())), "{text}");
        }
        let parse = |text| Cidr::parse(text).unwrap();
        assert!(parse("10.0.0.0/8").contains(&parse("10.2.0.0/16")));
        assert!(!parse("10.2.0.0/16").contains(&parse("10.0.0.0/8")));
        assert!(!parse("0.0.0.0/0").contains(&parse("::/0")));
    }
}
