//! Server types: what can be ordered where, and for how much.

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;

/// A server type.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerType {
    /// Such as `ccx63`.
    pub name: String,
    /// Cores.
    pub cores: f64,
    /// Memory in GB.
    pub memory: f64,
    /// Disk in GB.
    pub disk: f64,
    /// `x86` or `arm`.
    pub architecture: String,
    /// What it costs, by location.
    #[serde(default)]
    pub prices: Vec<TypePrice>,
    /// Where there is such a type.
    #[serde(default)]
    pub locations: Vec<TypeLocation>,
}

/// Where there is such a type.
#[derive(Clone, Debug, Deserialize)]
pub struct TypeLocation {
    /// Such as `fsn1`.
    pub name: String,
    /// Whether it can be ordered right now; no promise.
    #[serde(default)]
    pub available: bool,
}

/// What a type costs somewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct TypePrice {
    /// Where.
    pub location: String,
    /// For each started hour.
    pub price_hourly: Price,
    /// At most, in a month.
    pub price_monthly: Price,
}

/// A price.
#[derive(Clone, Debug, Deserialize)]
pub struct Price {
    /// Without tax: a decimal number, as text.
    pub net: String,
}

impl Price {
    /// As a number, in the account's currency, without tax.
    pub fn net(&self) -> f64 {
        self.net.parse().unwrap_or(0.0)
    }
}

impl ServerType {
    /// What it costs in a location.
    pub fn price_in(&self, location: &str) -> Option<&TypePrice> {
        self.prices.iter().find(|price| price.location == location)
    }

    /// Whether it can be ordered in a location, as far as the API tells.
    pub fn is_available_in(&self, location: &str) -> bool {
        self.locations.iter().any(|there| there.name == location && there.available)
    }
}

impl Client {
    /// All server types.
    pub async fn server_types(&self) -> Result<Vec<ServerType>, Error> {
        self.list("/server_types", "server_types", Vec::new()).await
    }
}
