//! The simulator of the Hetzner API as a program, under another file name.

use std::process::ExitCode;

fn main() -> ExitCode {
    hetzner_sim::main(std::env::args().collect())
}
