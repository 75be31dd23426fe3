//! The program `hetzner-sim`; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hetzner_sim::main(std::env::args().collect())
}
