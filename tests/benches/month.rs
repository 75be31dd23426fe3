//! A month of irregular use, in virtual time, against the bill of the simulator: what our
//! rule of deletion costs, what a plain reaper after five idle minutes costs, and what
//! would have been best, had everything been known beforehand.
//!
//! `cargo bench -p burst-tests --bench month`

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its results")]

use cargo_burst::hetzner::cost_model::{Life, Rule, Session, best, lives};
use hetzner_sim::ledger::{Item, Ledger};

/// Sessions of the month.
const SESSIONS: usize = 200;

/// Seconds of a working day.
const WORKING_DAY: u64 = 10 * 3600;

/// A small generator with a fixed seed: the same month each time (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// Twenty working days, some busy, some not; sessions of seconds to an hour, mostly
/// short.
fn month(seed: u64) -> Vec<Session> {
    let mut chance = Chance(seed);
    let mut sessions = Vec::new();
    while sessions.len() < SESSIONS {
        let day = chance.below(28);
        if day % 7 > 4 {
            continue;
        }
        let busy = 1 + chance.below(12);
        let mut at = day * 86_400 + 8 * 3600 + chance.below(WORKING_DAY);
        for _ in 0..busy.min((SESSIONS - sessions.len()) as u64) {
            let length = match chance.below(10) {
                0 => 600 + chance.below(3000),
                1..=3 => 120 + chance.below(600),
                _ => 5 + chance.below(120),
            };
            let begin = i64::try_from(at).expect("a time");
            sessions.push(Session { begin, end: begin + i64::try_from(length).expect("a time") });
            at += length + 30 + chance.below(3600);
        }
    }
    sessions.sort_by_key(|session| session.begin);
    sessions
}

/// The bill of these lives, by the simulator.
fn bill(lives: &[Life], server_type: &str) -> (i64, f64) {
    let mut ledger = Ledger::default();
    for (id, life) in (0..).zip(lives) {
        let item = Item::Server { server_type: server_type.into(), location: "hel1".into() };
        ledger.open(id, "server", item, life.created * 1000);
        ledger.close(id, life.deleted * 1000);
    }
    let sum = ledger.sum(i64::MAX / 4);
    (sum.server_hours, sum.servers)
}

fn main() {
    let ours = Rule { keep_alive: 300, keep_paid_hour: true };
    let plain = Rule { keep_alive: 300, keep_paid_hour: false };
    println!("| month | rule | servers | started hours | EUR (ccx63) | against the best |");
    println!("|--:|---|--:|--:|--:|--:|");
    for seed in [1, 2, 3] {
        let sessions = month(seed);
        let hindsight = best(&sessions);
        let hourly = bill(&[Life { created: 0, deleted: 1 }], "ccx63").1;
        let row = |name: &str, servers: usize, hours: i64, cost: f64| {
            let ratio = hours as f64 / hindsight.hours as f64;
            println!("| {seed} | {name} | {servers} | {hours} | {cost:.2} | {ratio:.2} |");
        };
        let best_cost = hindsight.hours as f64 * hourly;
        row("best in hindsight", hindsight.cold_starts, hindsight.hours, best_cost);
        for (name, rule) in [("cargo-burst", ours), ("reaper after 5 idle minutes", plain)] {
            let lives = lives(&sessions, rule);
            let (hours, cost) = bill(&lives, "ccx63");
            row(name, lives.len(), hours, cost);
        }
    }
}
