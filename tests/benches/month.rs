//! What the rule of deletion costs over forty months of irregular use, see
//! [`burst_tests::month`]. Fails where it costs too much.
//!
//! `cargo bench -p burst-tests --bench month`

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use burst_tests::month::{Count, RULES, check, months, sums};

fn main() {
    let months = months();
    println!("| month | sessions | rule | started hours | against the best | cold starts |");
    println!("|--:|--:|---|--:|--:|--:|");
    let rows = |number: &str, sessions: usize, best: Count, rules: [Count; 2]| {
        let named = RULES.iter().map(|(name, _)| *name).zip(rules);
        for (name, count) in [("best in hindsight", best)].into_iter().chain(named) {
            let Count { hours, cold_starts } = count;
            let ratio = hours as f64 / best.hours as f64;
            println!("| {number} | {sessions} | {name} | {hours} | {ratio:.3} | {cold_starts} |");
        }
    };
    for (number, month) in (1..).zip(&months) {
        rows(&format!("{number}"), month.sessions, month.best, month.rules);
    }
    let (best, rules) = sums(&months);
    rows("all", months.iter().map(|month| month.sessions).sum(), best, rules);
    check(&months);
}
