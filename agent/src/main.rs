//! `burst-agent`, the program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    burst_agent::main(std::env::args().collect())
}
