//! A list of ports that are forwarded.

use toml::de::DeValue;

use super::{Kind, Overlay, Shown};
use crate::error::Error;
use crate::settings::error::invalid;
use crate::settings::origin::Subject;
use crate::settings::port_forward::PortForward;

/// Any number of ports, as strings or numbers; the lists of all layers add up, without
/// repetitions. In an environment variable, commas separate them.
pub(in crate::settings) struct Ports;

impl Ports {
    fn port(&self, text: &str, subject: &Subject) -> Result<PortForward, Error> {
        let expected = PortForward::EXPECTED;
        text.parse().map_err(|()| invalid(format!("{subject} must be {expected} (got {text:?})")))
    }
}

impl Kind for Ports {
    type Value = Vec<PortForward>;

    fn expected(&self) -> String {
        "ports such as 8080, or 8080:80 (here, there)".into()
    }

    fn documented(&self) -> String {
        self.expected() + "; the lists of all layers add up"
    }

    fn read_toml(&self, value: &DeValue<'_>, subject: &Subject) -> Result<Self::Value, Error> {
        let item = |value: &DeValue<'_>| match value {
            DeValue::String(text) => self.port(text, subject),
            DeValue::Integer(number) if number.radix() == 10 => self.port(number.as_str(), subject),
            other => Err(self.mistyped(other, subject)),
        };
        match value {
            DeValue::Array(items) => items.iter().map(|value| item(value.get_ref())).collect(),
            one => Ok(vec![item(one)?]),
        }
    }

    fn read_text(&self, text: &str, subject: &Subject) -> Result<Self::Value, Error> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| self.port(item, subject)).collect()
    }

    fn shown(&self, value: &Self::Value) -> Shown {
        let texts: Vec<String> = value.iter().map(PortForward::to_string).collect();
        Shown::Value(texts.into())
    }

    fn overlay(&self, held: &mut Self::Value, higher: Self::Value) -> Overlay {
        let overlay = match (higher.is_empty(), held.is_empty()) {
            (true, _) => Overlay::Unchanged,
            (false, true) => Overlay::Replaced,
            (false, false) => Overlay::Extended,
        };
        for port in higher {
            if !held.contains(&port) {
                held.push(port);
            }
        }
        overlay
    }
}
