//! A TCP port here that leads to one on the machine where cargo runs. Pure.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A pair of ports, written `PORT` where both are the same, else `HERE:THERE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortForward {
    /// The port on the loopback interface of this machine.
    pub(crate) here: NonZeroU16,
    /// The port on the loopback interface of the agent's machine.
    pub(crate) there: NonZeroU16,
}

impl PortForward {
    /// Completes "expected" and "must be" in errors.
    pub(crate) const EXPECTED: &str =
        "a port such as 8080, or PORT:PORT, here and there, such as 8080:80";
}

impl FromStr for PortForward {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map_err(drop),
            false => Err(()),
        };
        match text.split_once(':') {
            None => port(text).map(|port| Self { here: port, there: port }),
            Some((here, there)) => Ok(Self { here: port(here)?, there: port(there)? }),
        }
    }
}

impl fmt::Display for PortForward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.here == self.there {
            true => write!(formatter, "{}", self.here),
            false => write!(formatter, "{}:{}", self.here, self.there),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_stands_for_both() {
        let shown = |text: &str| text.parse().map(|port: PortForward| port.to_string());
        assert_eq!(shown("8080"), Ok("8080".into()));
        assert_eq!(shown("8080:80"), Ok("8080:80".into()));
        assert_eq!(shown("80:80"), Ok("80".into()));
        for wrong in ["", "0", "65536", ":80", "80:", "80:0", "1:2:3", "+80", " 80", "http"] {
            assert_eq!(shown(wrong), Err(()), "{wrong}");
        }
    }
}
