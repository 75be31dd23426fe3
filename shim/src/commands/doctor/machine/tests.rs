use super::*;
use crate::commands::doctor::check::State;
use crate::hetzner::examination::Examination;

const GB: u64 = 1_000_000_000;

fn version(text: &str) -> Tool {
    Tool::Version(text.into())
}

fn complete() -> Toolchain {
    Toolchain {
        cargo: version("cargo 1.95.0"),
        rustc: version("rustc 1.95.0"),
        rustup: version("rustup 1.29.0"),
        nextest: version("cargo-nextest 0.9.100"),
    }
}

#[test]
fn cargo_and_rustc_are_needed_the_others_are_not() {
    let check = toolchain(&complete());
    assert_eq!(check.state, State::Ok);
    assert_eq!(check.finding, "cargo 1.95.0, rustc 1.95.0, rustup 1.29.0, cargo-nextest 0.9.100");
    let missing = || Tool::Missing("not found".into());
    let less = Toolchain { rustup: missing(), nextest: missing(), ..complete() };
    assert_eq!(toolchain(&less).state, State::Ok);
    for broken in
        [Toolchain { cargo: missing(), ..complete() }, Toolchain { rustc: missing(), ..complete() }]
    {
        let check = toolchain(&broken);
        assert_eq!(check.state, State::Error(ErrorKind::Workspace));
        assert!(check.finding.ends_with("does not work: not found"), "{}", check.finding);
    }
}

fn clock_with(offset_secs: i64) -> Check {
    let found = Examination { clock_offset_secs: offset_secs, ..Examination::empty() };
    let now = Clock { now: 1_800_000_000, moved: Duration::ZERO };
    clock(now, &Account::Examined(Box::new(found)))
}

#[test]
fn the_clock_is_held_against_hetzners() {
    assert_eq!(clock_with(-60).finding, "60 s from Hetzner's");
    for (offset, direction) in [(61, "1 min 1 s behind"), (-7200, "2 h ahead of")] {
        let check = clock_with(offset);
        assert_eq!(check.state, State::Warning);
        assert!(check.finding.contains(direction), "{}", check.finding);
    }
    assert_eq!(clock_with(i64::MIN).state, State::Warning);
}

#[test]
fn a_clock_that_jumps_or_was_never_set_is_found_without_a_network() {
    let check = |now, moved| clock(Clock { now, moved }, &Account::NoToken);
    let second = Duration::from_secs(1);
    assert_eq!(check(1_800_000_000, second).state, State::Ok);
    assert_eq!(check(1_800_000_000, second * 2).state, State::Warning);
    assert_eq!(check(0, Duration::ZERO).state, State::Error(ErrorKind::State));
}

fn space(free: u64, copies: Option<u64>) -> Disk {
    let place = |what| Place { what, path: format!("/{what}"), free };
    Disk {
        places: vec![place("cache"), place("state")],
        copies,
        limit_gb: Some(100),
        is_used: true,
    }
}

#[test]
fn the_limit_of_copies_fits_on_the_disk() {
    assert_eq!(disk(&space(100 * GB, None)).state, State::Ok);
    // What copies take already is not taken again.
    assert_eq!(disk(&space(60 * GB, Some(40 * GB))).state, State::Ok);
    let check = disk(&space(60 * GB, Some(39 * GB)));
    assert_eq!(check.state, State::Warning);
    assert_eq!(
        check.next_step.as_deref(),
        Some("set `local_disk_gb` to 99 or less, or free disk space")
    );
    let with_servers = Disk { is_used: false, ..space(60 * GB, None) };
    assert_eq!(disk(&with_servers).state, State::Ok);
    assert_eq!(disk(&Disk { limit_gb: None, ..space(60 * GB, None) }).state, State::Ok);
}

#[test]
fn a_full_disk_is_an_error() {
    let check = disk(&space(GB / 4 - 1, None));
    assert_eq!(check.state, State::Error(ErrorKind::State));
    assert_eq!(check.finding, "only 250 MB free in cache (`/cache`)");
}

#[test]
fn buffers_are_told_where_the_kernel_tells_them() {
    let check = buffers(Buffers { receive: Some(212_992), send: None });
    assert_eq!(check.state, State::Skipped);
    let check = buffers(Buffers { receive: Some(212_992), send: Some(4 << 20) });
    assert_eq!(check.finding, "a socket may receive into 213 kB and send from 4.2 MB");
}
