//! Virtual time: milliseconds since 1970 that run with the machine's clock, faster,
//! or ahead of it.

use std::time::{Instant, SystemTime};

/// A clock that can be moved forward.
#[derive(Debug)]
pub struct Clock {
    base_millis: i64,
    since: Instant,
    rate: f64,
}

impl Clock {
    /// Begins at a unix time, or now, and runs at a rate; 1 is real time.
    pub fn new(unix_secs: Option<i64>, rate: f64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(0);
        Self { base_millis: unix_secs.map_or(now, |secs| secs * 1000), since: Instant::now(), rate }
    }

    /// What time it is.
    pub fn now(&self) -> i64 {
        let real = self.since.elapsed().as_secs_f64() * 1000.0;
        self.base_millis + (real * self.rate) as i64
    }

    /// Moves it forward.
    pub fn advance(&mut self, secs: f64) {
        self.base_millis += (secs * 1000.0) as i64;
    }

    /// From now on it runs at another rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.base_millis = self.now();
        self.since = Instant::now();
        self.rate = rate;
    }
}

/// As the API writes it.
pub fn rfc3339(millis: i64) -> String {
    let secs = millis.div_euclid(1000);
    jiff::Timestamp::from_second(secs).map(|time| time.to_string()).unwrap_or_default()
}

/// As HTTP writes it.
pub fn http_date(millis: i64) -> String {
    let time = jiff::Timestamp::from_second(millis.div_euclid(1000)).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}
