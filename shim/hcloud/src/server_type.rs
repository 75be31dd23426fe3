//! Server types, with their availability and prices. All prices are net, without VAT.

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;

/// A type of server that can be ordered.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerType {
    /// The name, such as `ccx63`.
    pub name: String,
    /// The number of cores.
    pub cores: f64,
    /// The memory in GB.
    pub memory: f64,
    /// The size of the local disk in GB.
    pub disk: f64,
    /// The CPU architecture: `x86` or `arm`.
    pub architecture: String,
    /// Whether the cores are `shared` or `dedicated`.
    #[serde(default)]
    pub cpu_type: String,
    /// Whether the type will no longer be offered; `deprecation` says from when on.
    #[serde(default)]
    pub deprecated: bool,
    /// The end of the type in all locations, if it is announced.
    #[serde(default)]
    pub deprecation: Option<Deprecation>,
    /// The prices by location.
    #[serde(default)]
    pub prices: Vec<TypePrice>,
    /// The locations that offer the type.
    #[serde(default)]
    pub locations: Vec<TypeLocation>,
}

/// A location that offers a server type.
#[derive(Clone, Debug, Deserialize)]
pub struct TypeLocation {
    /// The name of the location, such as `fsn1`.
    pub name: String,
    /// Whether the type is in stock. An order may fail nevertheless.
    #[serde(default)]
    pub available: bool,
    /// The end of the type in this location, if it is announced.
    #[serde(default)]
    pub deprecation: Option<Deprecation>,
}

/// An announcement that a type will no longer be offered.
#[derive(Clone, Debug, Deserialize)]
pub struct Deprecation {
    /// The time from which on it cannot be ordered.
    pub unavailable_after: String,
}

/// The price of a server type in a location.
#[derive(Clone, Debug, Deserialize)]
pub struct TypePrice {
    /// The name of the location.
    pub location: String,
    /// The price of each started hour.
    pub price_hourly: Price,
    /// The most that is billed in a month.
    pub price_monthly: Price,
}

/// A price in the account's currency.
#[derive(Clone, Debug, Deserialize)]
pub struct Price {
    /// The net price as a decimal number.
    pub net: String,
}

impl Price {
    /// The net price as a number; 0 if the API did not send one.
    pub fn net(&self) -> f64 {
        self.net.parse().unwrap_or(0.0)
    }
}

impl ServerType {
    /// The price in a location; `None` if the location does not offer the type.
    pub fn price_in(&self, location: &str) -> Option<&TypePrice> {
        self.prices.iter().find(|price| price.location == location)
    }

    /// Whether its cores are dedicated, which the quota of an account limits.
    pub fn is_dedicated(&self) -> bool {
        self.cpu_type == "dedicated"
    }

    /// Whether it is announced that a location will no longer offer the type.
    pub fn is_deprecated_in(&self, location: &str) -> bool {
        let mut there = self.locations.iter().filter(|there| there.name == location);
        self.deprecated
            || self.deprecation.is_some()
            || there.any(|there| there.deprecation.is_some())
    }

    /// Whether a location offers the type, in stock or not, as far as the API lists locations.
    pub fn is_offered_in(&self, location: &str) -> bool {
        self.locations.is_empty() || self.locations.iter().any(|there| there.name == location)
    }

    /// Whether the type is in stock in a location, according to the API.
    pub fn is_available_in(&self, location: &str) -> bool {
        self.locations.iter().any(|there| there.name == location && there.available)
    }
}

impl Client {
    /// Lists all server types.
    pub async fn server_types(&self) -> Result<Vec<ServerType>, Error> {
        self.list("/server_types", "server_types", Vec::new()).await
    }
}
