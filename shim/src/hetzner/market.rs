//! What can be ordered at Hetzner for this program: server types with their prices and where they
//! are in stock, and what of it suits a new account. Apart from [`Market::ask`] pure.
//!
//! Types on which no image of ours can run, and deprecated ones, are no offers. Prices are in EUR
//! without tax, as the API lists them.

use std::collections::BTreeSet;

use burst_hcloud::image::{Image, ImageStatus};
use burst_hcloud::pricing::Pricing;
use burst_hcloud::retry::Retries;
use burst_hcloud::server_type::ServerType;
use burst_hcloud::{Client, Error as ApiError, Token};

use super::credentials::Endpoint;
use super::error::api;
use super::naming::{IMAGE, ours};
use crate::error::Error;

/// The architecture of images while there is none.
const FIRST_ARCHITECTURE: &str = "x86";

/// What can be ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Market {
    /// Server types: first those without a quota, then by price.
    pub(crate) offers: Vec<Offer>,
    /// Names of other types, and why they are no offer.
    left_out: Vec<(String, &'static str)>,
    /// All locations.
    locations: BTreeSet<String>,
    /// The price of a GB of a volume in a month.
    pub(crate) volume_gb_monthly: f64,
    /// Whether a server can be created at all.
    pub(crate) has_image: bool,
}

/// A server type that can be ordered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Its name, such as `cpx62`.
    pub(crate) name: String,
    /// `x86` or `arm`.
    pub(crate) architecture: String,
    /// Whether its cores are dedicated: accounts have a quota of these, new ones none or few.
    pub(crate) is_dedicated: bool,
    /// The number of cores.
    pub(crate) cores: f64,
    /// The memory in GB.
    pub(crate) memory_gb: f64,
    /// The size of the disk in GB.
    pub(crate) disk_gb: f64,
    /// Where it is offered, the cheapest first.
    pub(crate) places: Vec<Place>,
}

/// A location that offers a type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Its name, such as `hel1`.
    pub(crate) location: String,
    /// The price of a started hour.
    pub(crate) hourly: f64,
    /// The most that is billed in a month.
    pub(crate) monthly: f64,
    /// The price of the address in an hour.
    pub(crate) address_hourly: f64,
    /// Whether it is in stock now.
    pub(crate) is_available: bool,
}

impl Market {
    /// Asks the API, and checks that the token may write.
    pub(crate) async fn ask(endpoint: &Endpoint, token: &Token) -> Result<Self, Error> {
        let failed = |error: ApiError| api(endpoint, "use this token", &error);
        let chance = std::sync::Arc::new(|| 0.5);
        let client =
            Client::new(endpoint.url(), token, Retries::default(), chance).map_err(failed)?;
        let types = client.server_types().await.map_err(failed)?;
        client.check_write().await.map_err(failed)?;
        let images = ours(Some(IMAGE));
        let asked = tokio::try_join!(client.pricing(), client.snapshots(&images));
        let (pricing, images) = asked.map_err(failed)?;
        Ok(Self::of(types, &pricing, &images))
    }

    fn of(types: Vec<ServerType>, pricing: &Pricing, images: &[Image]) -> Self {
        let usable: Vec<&Image> =
            images.iter().filter(|image| image.status == ImageStatus::Available).collect();
        let mut market = Self {
            volume_gb_monthly: pricing.volume.price_per_gb_month.net(),
            has_image: !usable.is_empty(),
            ..Self::default()
        };
        for kind in types {
            market.locations.extend(kind.locations.iter().map(|there| there.name.clone()));
            match unsuitable(&kind, &usable) {
                Some(why) => market.left_out.push((kind.name, why)),
                None => market.offers.push(Offer::of(kind, pricing)),
            }
        }
        market.offers.sort_by(|a, b| {
            let order = a.is_dedicated.cmp(&b.is_dedicated);
            order.then(a.hourly().total_cmp(&b.hourly())).then(a.name.cmp(&b.name))
        });
        market
    }

    /// The offer of this name. The error says why there is none, or which there are.
    pub(crate) fn offer(&self, name: &str) -> Result<&Offer, (String, String)> {
        if let Some(offer) = self.offers.iter().find(|offer| offer.name == name) {
            return Ok(offer);
        }
        let left_out = self.left_out.iter().find(|(left_out, _)| left_out == name);
        let message = match left_out {
            Some((_, why)) => format!("the server type `{name}` cannot be used: {why}"),
            None => format!("there is no server type `{name}`"),
        };
        let names: Vec<&str> = self.offers.iter().map(|offer| offer.name.as_str()).collect();
        Err((message, format!("choose one of {}", names.join(", "))))
    }

    /// Checks that a location exists and offers one of these types. The error as of
    /// [`offer`](Self::offer).
    pub(crate) fn check_location(
        &self,
        location: &str,
        offers: &[&Offer],
    ) -> Result<(), (String, String)> {
        let one_of = |names: Vec<&str>| format!("choose one of {}", names.join(", "));
        if !self.locations.contains(location) {
            let all = self.locations.iter().map(String::as_str).collect();
            return Err((format!("there is no location `{location}`"), one_of(all)));
        }
        if offers.iter().any(|offer| offer.place(location).is_some()) {
            return Ok(());
        }
        let names: Vec<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
        let places: BTreeSet<&str> = offers.iter().flat_map(|offer| offer.locations()).collect();
        let message = format!("the location `{location}` does not offer {}", names.join(", "));
        Err((message, one_of(Vec::from_iter(places))))
    }

    /// The types to suggest: those of the defaults that a new account can have now; without one
    /// the type with the most shared cores that is in stock, the cheapest of these. What the user
    /// has `chosen` before stays, as far as it is an offer.
    pub(crate) fn suggested(&self, configured: &[String], chosen: bool) -> Vec<String> {
        let is_fit = |offer: &Offer| !offer.is_dedicated && offer.is_available();
        let named = |name: &&String| {
            let mut offers = self.offers.iter().filter(|offer| offer.name == **name);
            offers.any(|offer| chosen || is_fit(offer))
        };
        let suggested: Vec<String> = configured.iter().filter(named).cloned().collect();
        if !suggested.is_empty() {
            return suggested;
        }
        let mut fit = self.offers.iter().filter(|offer| is_fit(offer));
        let largest = fit.next().map(|first| {
            // Of the same size the first is the cheapest.
            fit.fold(first, |best, next| if next.cores > best.cores { next } else { best })
        });
        let some = largest.or_else(|| self.offers.first());
        some.map(|offer| offer.name.clone()).into_iter().collect()
    }
}

impl Offer {
    fn of(kind: ServerType, pricing: &Pricing) -> Self {
        let places = kind.locations.iter().filter_map(|there| {
            let price = kind.price_in(&there.name)?;
            let is_deprecated = kind.is_deprecated_in(&there.name);
            (!is_deprecated).then(|| Place {
                location: there.name.clone(),
                hourly: price.price_hourly.net(),
                monthly: price.price_monthly.net(),
                address_hourly: pricing.ipv4_hourly(&there.name),
                is_available: there.available,
            })
        });
        let mut places: Vec<Place> = places.collect();
        places.sort_by(|a, b| {
            a.hourly.total_cmp(&b.hourly).then_with(|| a.location.cmp(&b.location))
        });
        Self {
            is_dedicated: kind.is_dedicated(),
            name: kind.name,
            architecture: kind.architecture,
            cores: kind.cores,
            memory_gb: kind.memory,
            disk_gb: kind.disk,
            places,
        }
    }

    /// The place in a location, if that offers it.
    pub(crate) fn place(&self, location: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.location == location)
    }

    /// The locations that offer it.
    pub(crate) fn locations(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.location.as_str())
    }

    /// Whether it is in stock anywhere.
    fn is_available(&self) -> bool {
        self.places.iter().any(|place| place.is_available)
    }

    /// The configured locations in which it is in stock, in their order; without one all in which
    /// it is; without one the configured ones that offer it, or all.
    pub(crate) fn suggested_locations(&self, configured: &[String]) -> Vec<String> {
        let of_configured = |is_fit: fn(&Place) -> bool| -> Vec<String> {
            let fits = |name: &&String| self.place(name).is_some_and(is_fit);
            configured.iter().filter(fits).cloned().collect()
        };
        let of_all = |is_fit: fn(&Place) -> bool| -> Vec<String> {
            let fit = self.places.iter().filter(|place| is_fit(place));
            fit.map(|place| place.location.clone()).collect()
        };
        let any = |_: &Place| true;
        let in_stock = |place: &Place| place.is_available;
        let suggestions = [of_configured(in_stock), of_all(in_stock), of_configured(any)];
        suggestions.into_iter().find(|some| !some.is_empty()).unwrap_or_else(|| of_all(any))
    }

    /// The lowest price of a started hour.
    fn hourly(&self) -> f64 {
        self.places.first().map_or(f64::INFINITY, |place| place.hourly)
    }
}

/// Why a type is no offer; `None` if it is one.
fn unsuitable(kind: &ServerType, images: &[&Image]) -> Option<&'static str> {
    if !kind.locations.iter().any(|there| !kind.is_deprecated_in(&there.name)) {
        return Some("it is deprecated");
    }
    let mut fitting = images.iter().filter(|image| image.architecture == kind.architecture);
    if images.is_empty() && kind.architecture == FIRST_ARCHITECTURE {
        return None;
    }
    match fitting.next() {
        None => Some("there is no image for its architecture"),
        // The newest is used.
        Some(image) if image.disk_size > kind.disk => Some("its disk is smaller than the image"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type in these locations, with its price there and whether it is in stock.
    fn kind(
        (name, cpu_type, architecture): (&str, &str, &str),
        (cores, disk): (u32, u32),
        places: &[(&str, f64, bool)],
    ) -> ServerType {
        let prices = places.iter().map(|(location, hourly, _)| {
            serde_json::json!({
                "location": location,
                "price_hourly": { "net": hourly.to_string() },
                "price_monthly": { "net": (hourly * 624.0).to_string() },
            })
        });
        let locations = places.iter().map(|(name, _, available)| {
            serde_json::json!({ "name": name, "available": available, "deprecation": null })
        });
        let kind = serde_json::json!({
            "name": name, "cpu_type": cpu_type, "architecture": architecture, "cores": cores,
            "memory": 2 * cores, "disk": disk, "deprecated": false, "deprecation": null,
            "prices": prices.collect::<Vec<_>>(), "locations": locations.collect::<Vec<_>>(),
        });
        serde_json::from_value(kind).unwrap()
    }

    fn image(architecture: &str, disk: u32) -> Image {
        let image = serde_json::json!({
            "id": 1, "status": "available", "description": "", "created": "2026-11-01T00:00:00Z",
            "architecture": architecture, "disk_size": disk,
        });
        serde_json::from_value(image).unwrap()
    }

    fn market(types: Vec<ServerType>, images: &[Image]) -> Market {
        let pricing = serde_json::json!({
            "currency": "EUR",
            "volume": { "price_per_gb_month": { "net": "0.05" } },
            "image": { "price_per_gb_month": { "net": "0.01" } },
        });
        Market::of(types, &serde_json::from_value(pricing).unwrap(), images)
    }

    fn types(large_in_stock: bool) -> Vec<ServerType> {
        let eu = |hourly, there| [("hel1", hourly, there), ("fsn1", hourly, there)];
        let shared = |name, cores, hourly, there| {
            kind((name, "shared", "x86"), (cores, 320), &eu(hourly, there))
        };
        vec![
            kind(("ccx13", "dedicated", "x86"), (2, 80), &eu(0.04, true)),
            shared("cpx62", 16, 0.2, true),
            shared("cx53", 16, 0.05, large_in_stock),
            shared("cx23", 2, 0.01, true),
            kind(("cx11", "shared", "x86"), (1, 20), &eu(0.001, true)),
            kind(("cax41", "shared", "arm"), (16, 320), &eu(0.06, true)),
            kind(("cpx11", "shared", "x86"), (2, 80), &[("ash", 0.03, true)]),
        ]
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn names(market: &Market) -> Vec<&str> {
        market.offers.iter().map(|offer| offer.name.as_str()).collect()
    }

    #[test]
    fn offers_suit_the_image_and_a_new_account_comes_first() {
        let with_image = market(types(true), &[image("x86", 40)]);
        assert_eq!(names(&with_image), ["cx23", "cpx11", "cx53", "cpx62", "ccx13"]);
        let refused = |name| with_image.offer(name).unwrap_err();
        let all = "choose one of cx23, cpx11, cx53, cpx62, ccx13".to_owned();
        let message = "the server type `cax41` cannot be used: there is no image for its \
                       architecture";
        assert_eq!(refused("cax41"), (message.to_owned(), all.clone()));
        let message = "the server type `cx11` cannot be used: its disk is smaller than the image";
        assert_eq!(refused("cx11"), (message.to_owned(), all.clone()));
        assert_eq!(refused("cx99"), ("there is no server type `cx99`".to_owned(), all));
        // Before there is one, it may be for x86 alone.
        assert_eq!(names(&market(types(true), &[]))[..2], ["cx11", "cx23"]);
        assert_eq!(names(&market(types(true), &[image("arm", 40)])), ["cax41"]);
    }

    #[test]
    fn a_deprecated_type_is_no_offer_and_a_deprecated_place_none_of_its() {
        let mut types = types(true);
        let end = || Some(serde_json::from_str(r#"{"unavailable_after": "2026-12-01"}"#).unwrap());
        types[1].deprecation = end();
        types[2].locations[0].deprecation = end();
        let market = market(types, &[]);
        assert_eq!(
            market.offer("cpx62").unwrap_err().0,
            "the server type `cpx62` cannot be used: it is deprecated"
        );
        assert_eq!(Vec::from_iter(market.offer("cx53").unwrap().locations()), ["fsn1"]);
    }

    #[test]
    fn what_is_in_stock_and_needs_no_quota_is_suggested() {
        let market_now = market(types(true), &[]);
        let defaults = texts(&["ccx13", "cx53", "cpx62"]);
        assert_eq!(market_now.suggested(&defaults, false), ["cx53", "cpx62"]);
        // A choice of the user is not replaced.
        assert_eq!(market_now.suggested(&defaults, true), ["ccx13", "cx53", "cpx62"]);
        assert_eq!(market_now.suggested(&texts(&["ccx13"]), false), ["cx53"]);
        let sold_out = market(types(false), &[]);
        assert_eq!(sold_out.suggested(&defaults, false), ["cpx62"]);
        assert_eq!(sold_out.suggested(&texts(&["cx99"]), true), ["cpx62"]);
        let places = |market: &Market, name, configured: &[&str]| {
            market.offer(name).unwrap().suggested_locations(&texts(configured))
        };
        assert_eq!(places(&market_now, "cx53", &["hel1", "nbg1"]), ["hel1"]);
        assert_eq!(places(&market_now, "cpx11", &["hel1"]), ["ash"]);
        assert_eq!(places(&sold_out, "cx53", &["hel1", "nbg1"]), ["hel1"]);
    }

    #[test]
    fn a_location_is_one_that_offers_the_type() {
        let market = market(types(true), &[]);
        let offers = [market.offer("cx53").unwrap()];
        assert_eq!(market.check_location("hel1", &offers), Ok(()));
        let refused = |name| market.check_location(name, &offers).unwrap_err();
        assert_eq!(
            refused("hel2"),
            ("there is no location `hel2`".to_owned(), "choose one of ash, fsn1, hel1".to_owned())
        );
        assert_eq!(
            refused("ash"),
            (
                "the location `ash` does not offer cx53".to_owned(),
                "choose one of fsn1, hel1".to_owned()
            )
        );
    }
}
