//! The suites, each in a file of its own:
//!
//! - `acceptance`: the acceptance script for the real API, as a dry run.
//! - `api`: the client of the Hetzner API against the simulator of it.
//! - `whole_target`: `--fetch all`, and a plain cargo after it.
//! - `verbs`: what comes out of each verb, and what comes back.
//! - `artifacts`: which files of the target directory are here after a run.
//! - `bad_input`: errors, their hints and exit codes.
//! - `books`: what was paid, by the record and by the simulator's bill.
//! - `breaks`: connections that break during a run.
//! - `build_layouts`: builds in both layouts of cargo's build directory.
//! - `colors`: colours and progress, held against cargo.
//! - `command_line`: cargo's rules for arguments, and wrong ones.
//! - `completions`: the completion scripts, in their shells.
//! - `dead_man`: servers whose keeper is gone delete themselves.
//! - `descriptors`: the files that an agent holds open, and the limits of a run.
//! - `detached`: runs in the background, and `attach`.
//! - `docs`: `doc --open`, held against cargo.
//! - `doctor`: what it finds, and its exit codes.
//! - `down`: what it asks, waits for and cannot delete.
//! - `edits`: files that the user edits while results come back.
//! - `environment`: which variables cargo sees there, and what is told of the others.
//! - `faults`: agents and shims that die, peers that lie, disks that are full.
//! - `fetched_paths`: `--fetch PATH`.
//! - `git_facts`: what git says of a workspace on a server.
//! - `help`: help and version, and what the README says of them.
//! - `hetzner`: the Hetzner provider against the simulator, with real hosts.
//! - `hetzner_refusals`: what Hetzner refuses: quotas, stock, space.
//! - `hetzner_stuck`: what is lost at Hetzner while it is used, and ports that are blocked.
//! - `hetzner_trouble`: what users and clouds do wrong.
//! - `histories`: random histories of a workspace, freshness, identity.
//! - `identities`: who a server belongs to, and that none in use is replaced.
//! - `init`: the dialogue, and its answers without a terminal.
//! - `inputs`: what cargo reads, whatever git ignores and wherever it is.
//! - `isolation`: what builds, servers and background processes are kept from.
//! - `keeper`: the keeper stays while something costs money, and says what it cannot do.
//! - `kills`: commands and agents that are killed in every stage.
//! - `leaks`: nothing is left behind at Hetzner, whatever is interrupted.
//! - `missing_inputs`: files that git ignores and without which a run fails.
//! - `money`: questions about costs, and their answers.
//! - `nextest`: `test` by way of nextest.
//! - `hostile`: agents that hang, send too much or send escape sequences.
//! - `paused`: agents that are paused in every stage of a command.
//! - `private_packages`: packages that only the client can download.
//! - `power_cuts`: what a power cut leaves of target directories, and its repair.
//! - `results`: what comes back, whatever happens, and where it may go.
//! - `rooms`: the structure of the code.
//! - `secrets`: tokens and what git ignores stay here, and other users see nothing.
//! - `server_breaks`: the network to a server that breaks during a run.
//! - `server_creation`: addresses and SSH keys of new servers.
//! - `simulated_hosts`: the addresses, firewalls and restarts of the simulator's hosts.
//! - `settings`: files, variables, the first run's question.
//! - `terminals`: streams, signals, input.
//! - `tcp`: servers in networks that block UDP.
//! - `together`: several projects and several runs at once.
//! - `toolchains`: toolchains of the command line, of variables and of files.
//! - `trust`: what a project file may set, and whom the user trusts.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "these are tests: a panic is how they fail"
)]

mod acceptance;
mod api;
mod artifacts;
mod bad_input;
mod books;
mod breaks;
mod build_layouts;
mod colors;
mod command_line;
mod completions;
mod dead_man;
mod descriptors;
mod detached;
mod docs;
mod doctor;
mod down;
mod edits;
mod environment;
mod faults;
mod fetched_paths;
mod file_server;
mod fingerprints;
mod git_facts;
mod help;
mod hetzner;
mod hetzner_refusals;
mod hetzner_stuck;
mod hetzner_trouble;
mod histories;
mod hostile;
mod identities;
mod init;
mod inputs;
mod isolation;
mod keeper;
mod kills;
mod leaks;
mod missing_inputs;
mod money;
mod nextest;
mod paused;
mod ports;
mod power_cuts;
mod private_packages;
mod progress;
mod results;
mod rooms;
mod scripted;
mod secrets;
mod server_breaks;
mod server_creation;
mod settings;
mod simulated_hosts;
mod tcp;
mod tcp_strangers;
mod terminals;
mod together;
mod toolchains;
mod trust;
mod unsent;
mod verbs;
mod whole_target;

use burst_tests::Sandbox;

fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_cargo-burst-under-test"))
}
