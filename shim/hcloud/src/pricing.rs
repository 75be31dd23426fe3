//! Prices of what is no server.

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::server_type::Price;

/// The price list.
#[derive(Clone, Debug, Deserialize)]
pub struct Pricing {
    /// Such as `EUR`.
    pub currency: String,
    /// Of volumes.
    pub volume: PerGbMonth,
    /// Of snapshots.
    pub image: PerGbMonth,
    /// Of addresses.
    #[serde(default)]
    pub primary_ips: Vec<AddressPrices>,
}

/// A price for one GB and month.
#[derive(Clone, Debug, Deserialize)]
pub struct PerGbMonth {
    /// The price.
    pub price_per_gb_month: Price,
}

/// Prices of one kind of address.
#[derive(Clone, Debug, Deserialize)]
pub struct AddressPrices {
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type")]
    pub kind: String,
    /// By location.
    pub prices: Vec<AddressPrice>,
}

/// What an address costs somewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct AddressPrice {
    /// Where.
    pub location: String,
    /// For an hour.
    pub price_hourly: Price,
}

impl Pricing {
    /// An IPv4 address for an hour in a location.
    pub fn ipv4_hourly(&self, location: &str) -> f64 {
        let ipv4 = self.primary_ips.iter().filter(|prices| prices.kind == "ipv4");
        let mut prices = ipv4.flat_map(|prices| &prices.prices);
        prices
            .find(|price| price.location == location)
            .map_or(0.0, |price| price.price_hourly.net())
    }
}

impl Client {
    /// The price list.
    pub async fn pricing(&self) -> Result<Pricing, Error> {
        self.get("/pricing", "pricing").await
    }
}
