//! What Hetzner charges for a resource, in EUR without tax. Pure.
//!
//! Every hour that a resource has started is charged, from its creation to its deletion, on
//! or off; in a calendar month at most the monthly price. An hour belongs to the month in
//! which it starts. Volumes and snapshots have a monthly price alone, of which each started
//! hour is charged its share of the month. Months are those of UTC: Hetzner does not say.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::record::{Entry, Kind, Rate, Resource, Standing, standings};
use crate::hetzner::cost_model::{self, Life};
use crate::hetzner::lease::HOUR;

/// A calendar month (UTC), in unix seconds: its start, and that of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Month {
    /// Its first second.
    pub(crate) begin: i64,
    /// The first second of the next month.
    pub(crate) end: i64,
}

impl Month {
    /// The month that contains a time.
    pub(crate) fn of(now: i64) -> Self {
        let first = |months: i32| {
            let zoned = Timestamp::from_second(now).ok()?.to_zoned(TimeZone::UTC);
            let first = zoned.date().first_of_month().checked_add(months.months()).ok()?;
            Some(first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
        };
        // Times that no calendar has cost nothing.
        Self { begin: first(0).unwrap_or(now), end: first(1).unwrap_or(now) }
    }

    /// The month before.
    pub(crate) fn previous(self) -> Self {
        Self::of(self.begin - 1)
    }
}

/// The sums of a period, in EUR without tax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// Started hours of servers.
    pub(crate) started_hours: i64,
    /// Servers with their addresses.
    pub(crate) servers: f64,
    /// Volumes.
    pub(crate) volumes: f64,
    /// Snapshots.
    pub(crate) images: f64,
    /// All of it.
    pub(crate) total: f64,
}

/// What all resources of a record cost in a month, up to `now`: those of this installation
/// and those of others that it has seen.
pub(crate) fn spent(entries: &[Entry], month: Month, now: i64) -> Spent {
    let mut spent = Spent::default();
    for standing in standings(entries).values() {
        let life = life(standing, now);
        let cost = cost_in(standing.resource, life, month);
        match standing.resource.kind {
            Kind::Server => {
                spent.started_hours += hours_in(life, month);
                spent.servers += cost;
            }
            Kind::Volume => spent.volumes += cost,
            Kind::Image => spent.images += cost,
        }
        spent.total += cost;
    }
    spent
}

/// The life of a resource, up to `now` if it exists.
pub(super) fn life(standing: &Standing<'_>, now: i64) -> Life {
    let created = standing.resource.created;
    let deleted = standing.closed.map_or(now, |closed| closed.at);
    Life { created, deleted: deleted.max(created) }
}

/// What a resource with this life costs in all its months.
pub(crate) fn cost(resource: &Resource, life: Life) -> f64 {
    let mut month = Month::of(life.created);
    let mut sum = 0.0;
    while month.begin < life.deleted.max(life.created + 1) && month.begin < month.end {
        sum += cost_in(resource, life, month);
        month = Month::of(month.end);
    }
    sum
}

fn cost_in(resource: &Resource, life: Life, month: Month) -> f64 {
    let hours = hours_in(life, month) as f64;
    let of_month = ((month.end - month.begin) / HOUR) as f64;
    let charged = |rate: &Rate| {
        let hourly = rate.hourly.or_else(|| rate.monthly.map(|monthly| monthly / of_month));
        let sum = hours * hourly.unwrap_or(0.0);
        rate.monthly.map_or(sum, |monthly| sum.min(monthly))
    };
    // The sum of nothing is -0.0.
    resource.rates.iter().map(charged).sum::<f64>() + 0.0
}

/// The hours of a life that start in a month.
pub(super) fn hours_in(life: Life, month: Month) -> i64 {
    let started_before = |time: i64| {
        let age = time - life.created;
        ((age + HOUR - 1) / HOUR).clamp(0, cost_model::hours(life))
    };
    if life.created >= month.end {
        return 0;
    }
    started_before(month.end) - started_before(month.begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hetzner::audit::record::Closed;
    use proptest::prelude::*;

    /// 2026-11-01 and 2026-12-01, 00:00 UTC.
    const NOVEMBER: i64 = 1_793_491_200;
    const DECEMBER: i64 = NOVEMBER + 30 * 24 * HOUR;

    fn resource(kind: Kind, id: u64, created: i64, rates: &[Rate]) -> Entry {
        Entry::Opened(Box::new(Resource {
            kind,
            id,
            name: "r".into(),
            account: "a".into(),
            own: true,
            location: "hel1".into(),
            server_type: None,
            created,
            rates: rates.to_vec(),
        }))
    }

    fn closed(kind: Kind, id: u64, at: i64) -> Entry {
        Entry::Closed(Closed { kind, id, at, seen: None, reason: "idle".into() })
    }

    const SERVER: [Rate; 2] = [
        Rate { hourly: Some(0.25), monthly: Some(100.0) },
        Rate { hourly: Some(0.001), monthly: Some(0.5) },
    ];

    #[test]
    fn months_are_those_of_the_calendar() {
        let november = Month { begin: NOVEMBER, end: DECEMBER };
        assert_eq!(Month::of(NOVEMBER), november);
        assert_eq!(Month::of(DECEMBER - 1), november);
        assert_eq!(Month::of(DECEMBER).previous(), november);
        assert_eq!(Month::of(DECEMBER).end - DECEMBER, 31 * 24 * HOUR);
    }

    #[test]
    fn an_hour_belongs_to_the_month_in_which_it_starts() {
        // Two and a half hours over the end of November: two start there, one later.
        let created = DECEMBER - 5000;
        let entries =
            [resource(Kind::Server, 1, created, &SERVER), closed(Kind::Server, 1, created + 9000)];
        let of = |month| spent(&entries, month, DECEMBER + 99_999);
        let (before, after) = (of(Month::of(NOVEMBER)), of(Month::of(DECEMBER)));
        assert_eq!((before.started_hours, after.started_hours), (2, 1));
        assert!((before.servers - 2.0 * 0.251).abs() < 1e-9);
        assert!((after.total - 0.251).abs() < 1e-9);
        assert_eq!(of(Month::of(DECEMBER + 40 * 24 * HOUR)), Spent::default());
        assert!(spent(&[], Month::of(0), 9).total.is_sign_positive());
    }

    #[test]
    fn a_month_costs_at_most_its_monthly_price() {
        let entries = [resource(Kind::Server, 1, NOVEMBER, &SERVER)];
        let at = |hours: i64| spent(&entries, Month::of(NOVEMBER), NOVEMBER + hours * HOUR);
        assert!((at(400).servers - 100.4).abs() < 1e-9);
        // The address has a limit of its own.
        assert!((at(719).servers - 100.5).abs() < 1e-9);
        let december = spent(&entries, Month::of(DECEMBER), DECEMBER + HOUR);
        assert!((december.servers - 0.251).abs() < 1e-9);
    }

    #[test]
    fn storage_costs_its_share_of_the_month() {
        let rate = [Rate { hourly: None, monthly: Some(7.2) }];
        let entries = [
            resource(Kind::Volume, 1, NOVEMBER, &rate),
            resource(Kind::Image, 1, NOVEMBER, &rate),
            closed(Kind::Image, 1, NOVEMBER + 1),
        ];
        let found = spent(&entries, Month::of(NOVEMBER), NOVEMBER + 10 * HOUR);
        assert!((found.volumes - 0.1).abs() < 1e-9);
        assert!((found.images - 0.01).abs() < 1e-9);
        assert!((found.total - 0.11).abs() < 1e-9);
        let whole = spent(&entries, Month::of(NOVEMBER), DECEMBER);
        assert!((whole.volumes - 7.2).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_months_of_a_life_have_all_its_hours(
            created in NOVEMBER..DECEMBER, length in 0..10_000_000_i64
        ) {
            let life = Life { created, deleted: created + length };
            let mut month = Month::of(NOVEMBER);
            let mut hours = 0;
            for _ in 0..6 {
                hours += hours_in(life, month);
                month = Month::of(month.end);
            }
            prop_assert_eq!(hours, cost_model::hours(life));
            let Entry::Opened(flat) =
                resource(Kind::Server, 1, created, &[Rate { hourly: Some(1.0), monthly: None }])
            else { unreachable!() };
            prop_assert!((cost(&flat, life) - hours as f64).abs() < 1e-6);
        }
    }
}
