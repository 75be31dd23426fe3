//! Prices of resources other than servers. All prices are net, without VAT.

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::server_type::Price;

/// The price list.
#[derive(Clone, Debug, Deserialize)]
pub struct Pricing {
    /// The currency of all prices, such as `EUR`.
    pub currency: String,
    /// The price of volumes.
    pub volume: PerGbMonth,
    /// The price of snapshots.
    pub image: PerGbMonth,
    /// The prices of public addresses.
    #[serde(default)]
    pub primary_ips: Vec<AddressPrices>,
}

/// A price by size and time.
#[derive(Clone, Debug, Deserialize)]
pub struct PerGbMonth {
    /// The price per GB and month.
    pub price_per_gb_month: Price,
}

/// The prices of one kind of address.
#[derive(Clone, Debug, Deserialize)]
pub struct AddressPrices {
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The prices by location.
    pub prices: Vec<AddressPrice>,
}

/// The price of an address in a location.
#[derive(Clone, Debug, Deserialize)]
pub struct AddressPrice {
    /// The name of the location.
    pub location: String,
    /// The price per hour.
    pub price_hourly: Price,
    /// The most that is billed in a month.
    #[serde(default)]
    pub price_monthly: Option<Price>,
}

impl Pricing {
    /// The price of an IPv4 address per hour in a location; 0 if the list does not have it.
    pub fn ipv4_hourly(&self, location: &str) -> f64 {
        self.ipv4(location).map_or(0.0, |price| price.price_hourly.net())
    }

    /// The price of an IPv4 address in a location; `None` if the list does not have it.
    pub fn ipv4(&self, location: &str) -> Option<&AddressPrice> {
        let ipv4 = self.primary_ips.iter().filter(|prices| prices.kind == "ipv4");
        let mut prices = ipv4.flat_map(|prices| &prices.prices);
        prices.find(|price| price.location == location)
    }
}

impl Client {
    /// Fetches the price list.
    pub async fn pricing(&self) -> Result<Pricing, Error> {
        self.get("/pricing", "pricing").await
    }
}
