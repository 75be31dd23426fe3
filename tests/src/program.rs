//! The program under test: `cargo-burst` itself, under another file name.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_burst::main(std::env::args_os().collect())
}
