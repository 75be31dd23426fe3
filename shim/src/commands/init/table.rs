//! The offers as `init` shows them, and what a session costs. Pure.

use serde_json::{Value, json};

use crate::hetzner::market::{Offer, Place};
use crate::terminal::amount;

/// The session of the example: an afternoon.
const SESSION_HOURS: f64 = 4.0;

/// How many of them a month of the example has.
const SESSIONS_A_MONTH: f64 = 20.0;

/// The line behind the table.
const PRICES: &str = "prices are without tax and without the address\n";

/// The line behind a table in which a type is marked.
const QUOTA: &str = "* dedicated cores: a new account has few or none; request more in the Hetzner \
                     console (Limits)\n";

/// The offers, one line for each type and price; of these `regions` alone, if any is named.
pub(super) fn table(offers: &[Offer], regions: &[String]) -> String {
    let mut text = format!(
        "{:<10}{:<6}{:>14}{:>9}{:>9}{:>12}{:>13}  {}\n",
        "type", "arch", "cores", "memory", "disk", "EUR an hour", "EUR a month", "in stock"
    );
    let mut is_marked = false;
    for offer in offers {
        for places in by_price(offer, regions) {
            is_marked |= offer.is_dedicated;
            text.push_str(&row(offer, &places));
        }
    }
    if is_marked {
        text.push_str(QUOTA);
    }
    text.push_str(PRICES);
    text
}

fn row(offer: &Offer, places: &[&Place]) -> String {
    let name = format!("{}{}", offer.name, if offer.is_dedicated { " *" } else { "" });
    let cores = format!("{} {}", offer.cores, kind_of_cores(offer));
    let there = places.iter().filter(|place| place.is_available);
    let there: Vec<&str> = there.map(|place| place.location.as_str()).collect();
    let there = if there.is_empty() { "(sold out)".to_owned() } else { there.join(" ") };
    let price = places.first().copied();
    format!(
        "{name:<10}{:<6}{cores:>14}{:>6} GB{:>6} GB{:>12.4}{:>13.2}  {there}\n",
        offer.architecture,
        offer.memory_gb,
        offer.disk_gb,
        price.map_or(0.0, |place| place.hourly),
        price.map_or(0.0, |place| place.monthly),
    )
}

const fn kind_of_cores(offer: &Offer) -> &'static str {
    if offer.is_dedicated { "dedicated" } else { "shared" }
}

/// The places of an offer, those of one price together.
fn by_price<'a>(offer: &'a Offer, regions: &[String]) -> Vec<Vec<&'a Place>> {
    let is_meant = |place: &&Place| regions.is_empty() || regions.contains(&place.location);
    let mut groups: Vec<Vec<&Place>> = Vec::new();
    for place in offer.places.iter().filter(is_meant) {
        let price = |place: &Place| (place.hourly.to_bits(), place.monthly.to_bits());
        match groups.last_mut() {
            Some(group) if group.iter().all(|one| price(one) == price(place)) => group.push(place),
            _ => groups.push(vec![place]),
        }
    }
    groups
}

/// The offers as JSON, in the form that `commands/init.rs` documents.
pub(super) fn as_json(offers: &[Offer], regions: &[String]) -> Value {
    let offers = offers.iter().filter_map(|offer| {
        let places: Vec<Value> = by_price(offer, regions).concat().into_iter().map(place).collect();
        (!places.is_empty()).then(|| {
            json!({
                "server_type": offer.name,
                "cores": offer.cores,
                "cpu_type": kind_of_cores(offer),
                "needs_quota": offer.is_dedicated,
                "memory_gb": offer.memory_gb,
                "disk_gb": offer.disk_gb,
                "architecture": offer.architecture,
                "offers": places,
            })
        })
    });
    Value::Array(offers.collect())
}

fn place(place: &Place) -> Value {
    json!({
        "region": place.location,
        "hourly": place.hourly,
        "monthly": place.monthly,
        "available": place.is_available,
    })
}

/// What a session costs on a type in a place, with its address, and a month of sessions with a
/// volume of this price in a month.
pub(super) fn session(
    (name, place): (&str, &Place),
    (volume_gb, volume_monthly): (u64, f64),
) -> String {
    let session = SESSION_HOURS * (place.hourly + place.address_hourly);
    format!(
        "an afternoon of {SESSION_HOURS} hours on a {name} in {}: EUR {}; {SESSIONS_A_MONTH} such a \
         month: EUR {}; a volume of {volume_gb} GB: EUR {} a month, for the time it exists",
        place.location,
        amount(session),
        amount(SESSIONS_A_MONTH * session),
        amount(volume_monthly),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<Offer> {
        let place = |location: &str, hourly: f64, is_available| Place {
            location: location.into(),
            hourly,
            monthly: hourly * 624.0,
            address_hourly: 0.001,
            is_available,
        };
        let offer = |name: &str, cores, places| Offer {
            name: name.into(),
            architecture: "x86".into(),
            is_dedicated: name.starts_with("ccx"),
            cores,
            memory_gb: 2.0 * cores,
            disk_gb: 320.0,
            places,
        };
        let eu = vec![place("fsn1", 0.2, true), place("hel1", 0.2, true), place("ash", 0.25, true)];
        vec![
            offer("cx53", 16.0, vec![place("hel1", 0.05, false)]),
            offer("cpx62", 16.0, eu),
            offer("ccx63", 48.0, vec![place("hel1", 1.25, true)]),
        ]
    }

    #[test]
    fn each_price_has_a_line_with_where_it_is_in_stock() {
        assert_eq!(
            table(&offers(), &[]),
            "type      arch           cores   memory     disk EUR an hour  EUR a month  in stock\n\
             cx53      x86        16 shared    32 GB   320 GB      0.0500        31.20  (sold out)\n\
             cpx62     x86        16 shared    32 GB   320 GB      0.2000       124.80  fsn1 hel1\n\
             cpx62     x86        16 shared    32 GB   320 GB      0.2500       156.00  ash\n\
             ccx63 *   x86     48 dedicated    96 GB   320 GB      1.2500       780.00  hel1\n\
             * dedicated cores: a new account has few or none; request more in the Hetzner console \
             (Limits)\n\
             prices are without tax and without the address\n"
        );
        assert_eq!(
            table(&offers(), &["ash".to_owned()]),
            "type      arch           cores   memory     disk EUR an hour  EUR a month  in stock\n\
             cpx62     x86        16 shared    32 GB   320 GB      0.2500       156.00  ash\n\
             prices are without tax and without the address\n"
        );
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let found = as_json(&offers(), &["ash".to_owned()]);
        assert_eq!(
            found,
            json!([{
                "server_type": "cpx62", "cores": 16.0, "cpu_type": "shared", "needs_quota": false,
                "memory_gb": 32.0, "disk_gb": 320.0, "architecture": "x86",
                "offers": [{
                    "region": "ash", "hourly": 0.25, "monthly": 156.0, "available": true,
                }],
            }])
        );
    }

    #[test]
    fn a_session_is_paid_with_its_address() {
        let offers = offers();
        let place = offers[1].place("hel1").unwrap();
        assert_eq!(
            session(("cpx62", place), (10, 0.5)),
            "an afternoon of 4 hours on a cpx62 in hel1: EUR 0.80; 20 such a month: EUR 16.08; a \
             volume of 10 GB: EUR 0.50 a month, for the time it exists"
        );
    }
}
