//! Figures in texts: amounts of data, money and time, and counted nouns. Pure.
//!
//! Figures never show a negative zero, and a unit that is zero is left out where a larger
//! one precedes it.

use std::time::Duration;

use burst_sync::tally::Figures;

/// A number of bytes, such as `1.2 kB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A measured duration: tenths of a second below a minute, such as `1.2 s`, then as in
/// [`span`].
pub(crate) fn seconds(duration: Duration) -> String {
    const MINUTE_AS_SHOWN: f64 = 59.95;
    let secs = duration.as_secs_f64();
    if secs < MINUTE_AS_SHOWN { format!("{secs:.1} s") } else { span(secs.round() as i64) }
}

/// A span of whole seconds in its two largest units, such as `5 s`, `2 min 5 s`, `1 h` or
/// `3 d 4 h`. A negative span, which clocks that disagree may give, is `0 s`.
pub(crate) fn span(secs: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let (large, small) = match secs {
        ..MINUTE => return format!("{} s", secs.max(0)),
        MINUTE..HOUR => ((secs / MINUTE, "min"), (secs % MINUTE, "s")),
        HOUR..DAY => ((secs / HOUR, "h"), (secs % HOUR / MINUTE, "min")),
        DAY.. => ((secs / DAY, "d"), (secs % DAY / HOUR, "h")),
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        small => format!("{} {} {} {}", large.0, large.1, small.0, small.1),
    }
}

/// A number with its noun: `1 hour`, `2 hours`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// How far a step is, such as `12 of 310 files, 1.2 MB of 34 MB`; `None` before it has counted
/// anything.
pub(super) fn tallied(figures: Figures) -> Option<String> {
    let Figures { files, bytes: done, expected_files, expected_bytes } = figures;
    let files = match (files, expected_files) {
        (0, 0) => None,
        (files, 0) => Some(counted(files, "file")),
        (files, all) => Some(format!("{files} of {}", counted(all, "file"))),
    };
    let bytes =
        (expected_bytes > 0).then(|| format!("{} of {}", bytes(done), bytes(expected_bytes)));
    let parts: Vec<String> = files.into_iter().chain(bytes).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// An amount of money in cents, such as `0.05`.
pub(crate) fn amount(value: f64) -> String {
    let text = format!("{value:.2}");
    // What rounds to zero has lost its sign.
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1234), "1.2 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(48_310_832), "48 MB");
    }

    #[test]
    fn durations_round_into_the_next_unit() {
        assert_eq!(seconds(Duration::ZERO), "0.0 s");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_millis(59_940)), "59.9 s");
        assert_eq!(seconds(Duration::from_millis(59_960)), "1 min");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn spans_have_at_most_two_units() {
        assert_eq!(span(i64::MIN), "0 s");
        assert_eq!(span(0), "0 s");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(60), "1 min");
        assert_eq!(span(3599), "59 min 59 s");
        assert_eq!(span(3600), "1 h");
        assert_eq!(span(7265), "2 h 1 min");
        assert_eq!(span(86_399), "23 h 59 min");
        assert_eq!(span(86_400), "1 d");
        assert_eq!(span(100 * 86_400 + 7200), "100 d 2 h");
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(counted(0, "hour"), "0 hours");
        assert_eq!(counted(1, "hour"), "1 hour");
        assert_eq!(counted(2, "cold start"), "2 cold starts");
    }

    #[test]
    fn a_step_says_how_far_it_is_and_of_how_much() {
        let figures = |files, bytes, expected_files, expected_bytes| Figures {
            files,
            bytes,
            expected_files,
            expected_bytes,
        };
        let text = |figures| tallied(figures).unwrap_or_default();
        assert_eq!(text(figures(0, 0, 0, 0)), "");
        assert_eq!(text(figures(1, 0, 0, 0)), "1 file");
        assert_eq!(text(figures(12_034, 500, 0, 34_000_000)), "12034 files, 500 B of 34 MB");
        assert_eq!(text(figures(0, 0, 1, 10)), "0 of 1 file, 0 B of 10 B");
        assert_eq!(text(figures(3, 0, 12, 0)), "3 of 12 files");
    }

    #[test]
    fn no_amount_is_a_negative_zero() {
        assert_eq!(amount(-0.0), "0.00");
        assert_eq!(amount(-0.004), "0.00");
        assert_eq!(amount(0.0467), "0.05");
        assert_eq!(amount(-1.5), "-1.50");
    }
}
