//! Virtual time: milliseconds since 1970, which may run ahead of the machine's clock and
//! faster.

use std::time::{Instant, SystemTime};

/// A virtual clock.
#[derive(Debug)]
pub struct Clock {
    base_millis: i64,
    since: Instant,
    rate: f64,
}

impl Clock {
    /// Creates a clock that begins at a Unix time, or at the real time, and runs at a rate,
    /// where 1 is real time.
    pub fn new(unix_secs: Option<i64>, rate: f64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(0);
        Self { base_millis: unix_secs.map_or(now, |secs| secs * 1000), since: Instant::now(), rate }
    }

    /// The virtual time in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        let real = self.since.elapsed().as_secs_f64() * 1000.0;
        self.base_millis + (real * self.rate) as i64
    }

    /// Advances the clock.
    pub fn advance(&mut self, secs: f64) {
        self.base_millis += (secs * 1000.0) as i64;
    }

    /// Changes the rate from now on.
    pub fn set_rate(&mut self, rate: f64) {
        self.base_millis = self.now();
        self.since = Instant::now();
        self.rate = rate;
    }
}

/// Formats a time as RFC 3339, as in the API's JSON.
pub fn rfc3339(millis: i64) -> String {
    let secs = millis.div_euclid(1000);
    jiff::Timestamp::from_second(secs).map(|time| time.to_string()).unwrap_or_default()
}

/// Formats a time for an HTTP header.
pub fn http_date(millis: i64) -> String {
    let time = jiff::Timestamp::from_second(millis.div_euclid(1000)).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}
