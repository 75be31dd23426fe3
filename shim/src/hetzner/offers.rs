//! What can be rented today, for comparisons. Nothing is created.

use std::time::Duration;

use burst_hcloud::pricing::Pricing;
use burst_hcloud::retry::Retries;
use burst_hcloud::server_type::ServerType;

use super::audit::Offer;
use super::client;
use super::credentials::Credentials;

/// How long a comparison waits for prices.
const DEADLINE: Duration = Duration::from_secs(5);

/// All server types with their lowest price in one of the regions; `None` if the API does not tell
/// them in time.
pub(crate) async fn offers(credentials: &Credentials, regions: &[String]) -> Option<Vec<Offer>> {
    let client = client::of(credentials, "ask for prices", Retries::default()).ok()?;
    let asked = async { tokio::try_join!(client.server_types(), client.pricing()) };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok((types, pricing))) => Some(priced(&types, &pricing, regions)),
        Ok(Err(error)) => {
            tracing::info!("no prices for a comparison: {error}");
            None
        }
        Err(_) => None,
    }
}

fn priced(types: &[ServerType], pricing: &Pricing, regions: &[String]) -> Vec<Offer> {
    let offer = |one: &ServerType| {
        let hourly = regions.iter().filter_map(|region| {
            let price = one.price_in(region)?.price_hourly.net();
            Some(price + pricing.ipv4_hourly(region))
        });
        Some(Offer {
            server_type: one.name.clone(),
            cores: one.cores,
            hourly: hourly.min_by(f64::total_cmp)?,
            is_available: regions.iter().any(|region| one.is_available_in(region)),
        })
    };
    types.iter().filter_map(offer).collect()
}
