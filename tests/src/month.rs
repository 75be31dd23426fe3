//! Forty months of irregular use, in virtual time, against the bill of the simulator: what our
//! rule of deletion costs, what a plain reaper after five idle minutes costs, and what would
//! have been best, had everything been known beforehand. All figures are exact counts.

use cargo_burst::hetzner::cost_model::{Life, Rule, Session, best, lives};
use hetzner_sim::ledger::{Item, Ledger};

/// The months.
pub const MONTHS: u64 = 40;

/// Days of a month; Saturdays and Sundays are free.
const DAYS: u64 = 28;

/// Seconds of a working day.
const WORKING_DAY: u64 = 10 * 3600;

/// The rules that are compared.
pub const RULES: [(&str, Rule); 2] = [
    ("cargo-burst", Rule { keep_alive: 300, keep_paid_hour: true }),
    ("reaper after 5 idle minutes", Rule { keep_alive: 300, keep_paid_hour: false }),
];

/// What a rule, or foresight, gives for a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Started hours, by the simulator's bill.
    pub hours: i64,
    /// Created servers.
    pub cold_starts: usize,
}

/// One month.
#[derive(Clone, Debug)]
pub struct Month {
    /// The number of sessions.
    pub sessions: usize,
    /// Best in hindsight: the fewest hours, and of those the fewest cold starts.
    pub best: Count,
    /// By [`RULES`].
    pub rules: [Count; 2],
}

/// A small generator with a fixed seed: the same months each time (xorshift64*).
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1));
        // Seeds that are near each other begin alike.
        for _ in 0..8 {
            chance.below(2);
        }
        chance
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// The sessions of a month. Months differ in how many sessions there are (60 to 459), on how
/// many days (the first 8 to 27), how many follow each other (up to 2 to 25), how long the
/// pauses between them are (up to 5 minutes to 2 hours), and in the share of long ones.
fn sessions(seed: u64) -> Vec<Session> {
    let mut chance = Chance::of(seed);
    let count = 60 + chance.below(400);
    let busy_max = 2 + chance.below(24);
    let pause_max = [300, 900, 1800, 3600, 7200][chance.below(5) as usize];
    let long = 1 + chance.below(4);
    let days = 8 + chance.below(20);
    let mut sessions = Vec::new();
    while (sessions.len() as u64) < count {
        let day = chance.below(DAYS);
        if day % 7 > 4 || day >= days {
            continue;
        }
        let busy = 1 + chance.below(busy_max);
        let mut at = day * 86_400 + 7 * 3600 + chance.below(WORKING_DAY);
        for _ in 0..busy.min(count - sessions.len() as u64) {
            let length = match chance.below(10) {
                kind if kind + 1 < long => 600 + chance.below(3000),
                kind if kind < long + 2 => 120 + chance.below(600),
                _ => 5 + chance.below(120),
            };
            sessions.push(Session { begin: at as i64, end: (at + length) as i64 });
            at += length + 15 + chance.below(pause_max);
        }
    }
    sessions.sort_by_key(|session| session.begin);
    sessions
}

/// The started hours of these lives, by the simulator's bill.
fn billed_hours(lives: &[Life]) -> i64 {
    let mut ledger = Ledger::default();
    for (id, life) in (0..).zip(lives) {
        let item = Item::Server { server_type: "cpx62".into(), location: "hel1".into() };
        ledger.open(id, "server", item, life.created * 1000);
        ledger.close(id, life.deleted * 1000);
    }
    ledger.sum(i64::MAX / 4).server_hours
}

/// All months, in the order of their seeds from 1.
pub fn months() -> Vec<Month> {
    let month = |seed| {
        let sessions = sessions(seed);
        let foresight = best(&sessions);
        let rules = RULES.map(|(_, rule)| {
            let lives = lives(&sessions, rule);
            Count { hours: billed_hours(&lives), cold_starts: lives.len() }
        });
        let best = Count { hours: foresight.hours, cold_starts: foresight.cold_starts };
        Month { sessions: sessions.len(), best, rules }
    };
    (1..=MONTHS).map(month).collect()
}

/// The sums of all months: the best, and by [`RULES`].
pub fn sums(months: &[Month]) -> (Count, [Count; 2]) {
    let sum = |of: &dyn Fn(&Month) -> Count| {
        months.iter().map(of).fold(Count::default(), |sum, one| Count {
            hours: sum.hours + one.hours,
            cold_starts: sum.cold_starts + one.cold_starts,
        })
    };
    (sum(&|month| month.best), [0, 1].map(|rule| sum(&|month| month.rules[rule])))
}

/// Fails unless our rule is at most 1.02 times the best in hindsight, over all months and in each
/// one, and has at most half of the cold starts of the plain reaper over all. In a month of fewer
/// than fifty hours, where one is more than that, it may be one hour.
pub fn check(months: &[Month]) {
    let (best, [ours, plain]) = sums(months);
    let pairs = months.iter().map(|month| (month.rules[0], month.best));
    assert!(100 * ours.hours <= 102 * best.hours, "{ours:?} {best:?}");
    for (number, (ours, best)) in (1..).zip(pairs) {
        let is_near = 100 * ours.hours <= 102 * best.hours || ours.hours - best.hours <= 1;
        assert!(is_near, "month {number}: {ours:?} {best:?}");
    }
    assert!(2 * ours.cold_starts <= plain.cold_starts, "{ours:?} {plain:?}");
}
