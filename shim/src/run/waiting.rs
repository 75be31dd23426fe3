//! Runs that wait for each other: what a run is called, and what is said of the one that another
//! waits for.

use burst_protocol::message::Invocation;

use super::exchange::Exchange;
use crate::detached::runs::Runs;
use crate::detached::title::{numbered, without_number};

/// The command as `status` and waiting commands show it: at most 80 characters, and its number if
/// it is `detached`.
pub(super) fn title(invocations: &[Invocation], detached: Option<u32>) -> String {
    const CHARACTERS_MAX: usize = 80;
    let call = invocations.first().and_then(|invocation| invocation.alternatives.first());
    let line = call.map(|call| {
        let words = call.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned());
        let line = format!("cargo {}", words.collect::<Vec<_>>().join(" "));
        line.chars().take(CHARACTERS_MAX).collect()
    });
    let title = line.unwrap_or_else(|| "cargo burst sync".to_owned());
    match detached {
        Some(number) => numbered(&title, number),
        None => title,
    }
}

/// Says that the run with this title has to end first, and how to see it if it is detached.
pub(super) fn wait_for(exchange: &Exchange<'_>, title: &str) {
    let Exchange { terminal, prepared, state, .. } = exchange;
    let runs = Runs::below(state);
    let is_here = |number| runs.is_running(number, &prepared.workspace.root);
    let (title, number) = without_number(title, is_here);
    let (run, shows) = match number {
        Some(number) => (
            format!("`{title}`, detached run {number}"),
            format!(": `cargo burst attach {number}` shows it"),
        ),
        None => (format!("`{title}`"), String::new()),
    };
    terminal.say(&format!("waiting for {run}, which runs in this project{shows}"));
    terminal.wait_for(&run, format!("waiting for `{title}` in this project"));
}

/// Waits for the results of the run with this title.
pub(super) fn wait_for_results(exchange: &Exchange<'_>, title: &str) {
    let text = format!("waiting for the results of `{title}`");
    exchange.terminal.wait_for(&format!("the results of `{title}`"), text);
}
