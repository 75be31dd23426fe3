//! `cargo-burst`, the program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_burst::main(std::env::args_os().collect())
}
