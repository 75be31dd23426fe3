//! The bill.
//!
//! A server costs each started hour from its creation to its deletion, on or off, and at
//! most the monthly price per thirty days; so does an IPv4 address, without a cap. Volumes and
//! snapshots are billed by the time that they exist.

use serde::Serialize;

use crate::catalogue::{self, IMAGE_GB_MONTH, IPV4_HOURLY, VOLUME_GB_MONTH};

const HOUR: i64 = 3_600_000;
const MONTH_HOURS: i64 = 720;

/// A billed item.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A server without its address.
    Server {
        /// The server type.
        server_type: String,
        /// The location.
        location: String,
    },
    /// A primary IPv4 address.
    Address,
    /// A volume or a snapshot.
    Storage {
        /// The size in GB.
        gb: f64,
        /// True for a snapshot, false for a volume.
        is_image: bool,
    },
}

/// A line of the bill.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The id of the resource.
    pub id: u64,
    /// The name of the resource.
    pub name: String,
    /// The billed item.
    pub item: Item,
    /// The time of creation, in milliseconds of virtual time.
    pub from: i64,
    /// The time of deletion, if it was deleted.
    pub to: Option<i64>,
}

/// The sum of a line or of the bill, in euros without VAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sum {
    /// The started hours of servers.
    pub server_hours: i64,
    /// The cost of servers.
    pub servers: f64,
    /// The cost of their addresses.
    pub addresses: f64,
    /// The cost of volumes.
    pub volumes: f64,
    /// The cost of snapshots.
    pub images: f64,
}

impl Sum {
    /// The total cost.
    pub fn total(&self) -> f64 {
        self.servers + self.addresses + self.volumes + self.images
    }

    fn add(&mut self, other: Self) {
        self.server_hours += other.server_hours;
        self.servers += other.servers;
        self.addresses += other.addresses;
        self.volumes += other.volumes;
        self.images += other.images;
    }
}

/// The bill with all lines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// The lines in the order of creation.
    pub lines: Vec<Line>,
}

/// The number of started hours between two times, at least one.
pub fn started_hours(from: i64, to: i64) -> i64 {
    ((to - from).max(1) + HOUR - 1) / HOUR
}

impl Line {
    /// The sum of the line until `now`.
    pub fn sum(&self, now: i64) -> Sum {
        let to = self.to.unwrap_or(now).max(self.from);
        let hours = started_hours(self.from, to);
        let exact = (to - self.from) as f64 / HOUR as f64;
        match &self.item {
            Item::Server { server_type, location } => {
                let Some(kind) = catalogue::server_type(server_type) else { return Sum::default() };
                let whole = (hours / MONTH_HOURS) as f64 * kind.monthly_in(location);
                let rest = (hours % MONTH_HOURS) as f64 * kind.hourly_in(location);
                Sum {
                    server_hours: hours,
                    servers: whole + rest.min(kind.monthly_in(location)),
                    ..Sum::default()
                }
            }
            Item::Address => Sum { addresses: hours as f64 * IPV4_HOURLY, ..Sum::default() },
            Item::Storage { gb, is_image } => {
                let months = exact / MONTH_HOURS as f64;
                match is_image {
                    true => Sum { images: gb * IMAGE_GB_MONTH * months, ..Sum::default() },
                    false => Sum { volumes: gb * VOLUME_GB_MONTH * months, ..Sum::default() },
                }
            }
        }
    }
}

impl Ledger {
    /// Opens a line.
    pub fn open(&mut self, id: u64, name: &str, item: Item, now: i64) {
        self.lines.push(Line { id, name: name.to_owned(), item, from: now, to: None });
    }

    /// Closes the open line of a resource.
    pub fn close(&mut self, id: u64, now: i64) {
        let open = self.lines.iter_mut().find(|line| line.id == id && line.to.is_none());
        if let Some(line) = open {
            line.to = Some(now);
        }
    }

    /// The sum of all lines until `now`.
    pub fn sum(&self, now: i64) -> Sum {
        let mut sum = Sum::default();
        for line in &self.lines {
            sum.add(line.sum(now));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_started_hour_counts() {
        assert_eq!(started_hours(0, 0), 1);
        assert_eq!(started_hours(0, HOUR), 1);
        assert_eq!(started_hours(0, HOUR + 1), 2);
        let mut ledger = Ledger::default();
        let item = Item::Server { server_type: "ccx63".into(), location: "fsn1".into() };
        ledger.open(1, "a", item.clone(), 0);
        ledger.close(1, 60_000);
        ledger.open(2, "a", item, 120_000);
        let sum = ledger.sum(180_000);
        assert_eq!(sum.server_hours, 2);
        assert!((sum.servers - 2.0 * 853.49 / 624.0).abs() < 1e-9);
        // A month is capped.
        let sum = ledger.sum(120_000 + 700 * HOUR);
        assert!(sum.servers < 853.49 + 853.49 / 624.0 + 1e-9);
    }
}
