//! The sandbox, suites and benches of cargo-burst.
