//! What the user is told before something that costs money is created: what, where, at which
//! price, and until when it stays. Pure.
//!
//! Prices are in EUR without tax, as the API lists them; one that it does not list is left out.

use burst_hcloud::pricing::Pricing;
use burst_hcloud::server_type::ServerType;

use super::lease::HOUR_BEGUN_FOR;
use super::request::ServerRequest;
use crate::terminal::{amount, span};

/// The price lists of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices<'a> {
    /// Server types with their prices.
    pub(super) types: &'a [ServerType],
    /// Prices of volumes.
    pub(super) pricing: &'a Pricing,
}

/// What is told of a new server, with a new volume or the one that the project has.
pub(super) fn server(
    request: &ServerRequest,
    prices: Prices<'_>,
    server_type: &str,
    location: &str,
    with_volume: bool,
) -> String {
    let known = prices.types.iter().find(|known| known.name == server_type);
    let hourly = known.and_then(|known| known.price_in(location));
    let price = match hourly.map(|price| price.price_hourly.net()) {
        Some(hourly) => format!(" for EUR {} per started hour", amount(hourly)),
        None => String::new(),
    };
    let volume = match with_volume {
        true => format!(" and {}", a_volume(request, prices)),
        false => String::new(),
    };
    let stays = stays(request);
    format!("creating a {server_type} server in {location}{price}{volume}; {stays}")
}

/// What is told if the command is interrupted while a server is created or boots.
pub(super) fn interrupted(request: &ServerRequest, name: &str, location: &str) -> String {
    format!(
        "the server {name} in {location} is being created and is billed; {}; `cargo burst down` \
         deletes it now",
        stays(request)
    )
}

/// Until when a server stays.
fn stays(request: &ServerRequest) -> String {
    match (request.keep_alive, request.keep_paid_hour) {
        (None, _) => "it stays until `cargo burst down`".to_owned(),
        (Some(secs), false) => format!("it is deleted when idle for {}", span(secs)),
        (Some(secs), true) if secs <= HOUR_BEGUN_FOR => {
            "it is deleted when its paid hour is nearly over and no command uses it".to_owned()
        }
        (Some(secs), true) => format!(
            "it is deleted when idle for {}, but not before its paid hour is nearly over",
            span(secs)
        ),
    }
}

/// What is told of a new volume for a server that exists.
pub(super) fn volume(request: &ServerRequest, prices: Prices<'_>, location: &str) -> String {
    let stays = match request.volume_keep_alive {
        None => "it stays until `cargo burst down --with-volumes`".to_owned(),
        Some(secs) => format!("it is deleted when idle for {}", span(secs)),
    };
    format!("creating {} in {location}; {stays}", a_volume(request, prices))
}

fn a_volume(request: &ServerRequest, prices: Prices<'_>) -> String {
    let gb = request.volume_gb;
    let monthly = prices.pricing.volume.price_per_gb_month.net() * gb as f64;
    format!("a volume of {gb} GB for EUR {} per month", amount(monthly))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keep_alive: Option<i64>, keep_paid_hour: bool) -> [String; 3] {
        let request = ServerRequest {
            volume_gb: 200,
            keep_alive,
            volume_keep_alive: keep_alive.map(|_| 3600),
            keep_paid_hour,
            ..ServerRequest::of_tests()
        };
        let types = serde_json::json!([{
            "name": "ccx63", "cores": 48, "memory": 192, "disk": 960, "architecture": "x86",
            "prices": [{"location": "hel1", "price_hourly": {"net": "0.7684"},
                "price_monthly": {"net": "479.49"}}],
        }]);
        let types: Vec<ServerType> = serde_json::from_value(types).unwrap();
        let pricing = serde_json::json!({
            "currency": "EUR",
            "volume": {"price_per_gb_month": {"net": "0.044"}},
            "image": {"price_per_gb_month": {"net": "0.0119"}},
        });
        let pricing: Pricing = serde_json::from_value(pricing).unwrap();
        let prices = Prices { types: &types, pricing: &pricing };
        [
            server(&request, prices, "ccx63", "hel1", true),
            server(&request, prices, "ccx63", "ash", false),
            volume(&request, prices, "hel1"),
        ]
    }

    #[test]
    fn what_costs_money_is_told_with_place_price_and_end() {
        assert_eq!(
            told(Some(300), true),
            [
                "creating a ccx63 server in hel1 for EUR 0.77 per started hour and a volume of \
                 200 GB for EUR 8.80 per month; it is deleted when its paid hour is nearly over and \
                 no command uses it",
                "creating a ccx63 server in ash; it is deleted when its paid hour is nearly over \
                 and no command uses it",
                "creating a volume of 200 GB for EUR 8.80 per month in hel1; it is deleted when \
                 idle for 1 h",
            ]
        );
        let [with_volume, _, _] = told(Some(7200), true);
        let stays =
            "; it is deleted when idle for 2 h, but not before its paid hour is nearly over";
        assert!(with_volume.ends_with(stays));
        let [with_volume, _, _] = told(Some(90), false);
        assert!(with_volume.ends_with("; it is deleted when idle for 1 min 30 s"));
        let [with_volume, _, volume] = told(None, true);
        assert!(with_volume.ends_with("; it stays until `cargo burst down`"));
        assert!(volume.ends_with("; it stays until `cargo burst down --with-volumes`"));
    }
}
