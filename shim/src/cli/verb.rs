//! The one definition of the verbs. Parsing, routing, help, completions and man pages come
//! from the table [`VERBS`].
//!
//! A cargo verb is given to cargo on the agent; its arguments are split by hand, since they
//! are cargo's. A verb of our own is parsed by `clap`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand, value_parser};
use clap_complete::Shell;

use super::command::Command;
use super::flag::amount;
use crate::commands::{Choice, Log, LogsArguments};
use crate::hetzner::reap::DownOptions;
use crate::run::request::CargoVerb;

/// A verb.
pub(super) struct Verb {
    /// Its name.
    pub(super) name: &'static str,
    /// One line about it.
    pub(super) about: &'static str,
    /// Examples: command lines without `cargo burst`, and what they do.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// How it is parsed and carried out.
    pub(super) kind: VerbKind,
}

/// How a verb is parsed and carried out.
pub(super) enum VerbKind {
    /// By cargo on the agent.
    Cargo(CargoVerb),
    /// By this program.
    Own {
        /// Adds its arguments.
        arguments: fn(ClapCommand) -> ClapCommand,
        /// Reads them.
        read: fn(&ArgMatches) -> Command,
    },
}

/// All verbs, in the order of the help.
pub(super) static VERBS: [Verb; 24] = [
    Verb {
        name: "build",
        about: "Compile; fetch the final artifacts",
        examples: &[
            ("build --release", "the programs are in target/release"),
            ("build --no-fetch -p app", "leave the artifacts on the agent"),
        ],
        kind: VerbKind::Cargo(CargoVerb::Build),
    },
    Verb {
        name: "check",
        about: "Check for errors without producing artifacts",
        examples: &[("check --all-targets", "check tests and benchmarks, too")],
        kind: VerbKind::Cargo(CargoVerb::Check),
    },
    Verb {
        name: "clippy",
        about: "Run clippy",
        examples: &[("clippy --all-targets -- -D warnings", "warnings are errors")],
        kind: VerbKind::Cargo(CargoVerb::Clippy),
    },
    Verb {
        name: "test",
        about: "Run the tests: cargo nextest run, then cargo test --doc",
        examples: &[
            ("test -p app", "the tests of one package"),
            ("test parses -- --ignored", "ignored tests whose names contain `parses`"),
            ("test --cargo-test", "run cargo test even where nextest is installed"),
        ],
        kind: VerbKind::Cargo(CargoVerb::Test),
    },
    Verb {
        name: "bench",
        about: "Run the benchmarks; fetch target/criterion",
        examples: &[("bench -- --save-baseline main", "criterion's own arguments follow `--`")],
        kind: VerbKind::Cargo(CargoVerb::Bench),
    },
    Verb {
        name: "run",
        about: "Run a program on the agent",
        examples: &[
            ("run --release serve --port 80", "`serve --port 80` are the program's arguments"),
            ("run -- --help", "the program's own help"),
        ],
        kind: VerbKind::Cargo(CargoVerb::Run),
    },
    Verb {
        name: "doc",
        about: "Build the documentation; fetch target/doc",
        examples: &[("doc --no-deps --open", "open it in the browser of this machine")],
        kind: VerbKind::Cargo(CargoVerb::Doc),
    },
    Verb {
        name: "nextest",
        about: "Run cargo nextest",
        examples: &[("nextest run -E 'test(parses)'", "tests that a filter expression selects")],
        kind: VerbKind::Cargo(CargoVerb::Nextest),
    },
    Verb {
        name: "rustc",
        about: "Compile with extra arguments of rustc; fetch the final artifacts",
        examples: &[("rustc --release -- -C target-cpu=native", "rustc's arguments follow `--`")],
        kind: VerbKind::Cargo(CargoVerb::Rustc),
    },
    Verb {
        name: "sync",
        about: "Bring the agent's copy of the workspace up to date; run nothing",
        examples: &[("sync", "send what has changed")],
        kind: VerbKind::Cargo(CargoVerb::Sync),
    },
    Verb {
        name: "attach",
        about: "Show a detached run from the beginning of its output, and give it the keyboard",
        examples: &[
            ("attach", "the one that runs in this workspace, else the last one there"),
            ("attach 3", "also when it has ended; the exit code is the run's"),
        ],
        kind: VerbKind::Own {
            arguments: |command| {
                command.arg(
                    Arg::new("number")
                        .value_name("NUMBER")
                        .value_parser(run_number)
                        .help("The number of the run, as `status` shows it"),
                )
            },
            read: |matches| Command::Attach(matches.get_one("number").copied()),
        },
    },
    Verb {
        name: "status",
        about: "Show servers, volumes, images, their cost, the agent here, and detached runs",
        examples: &[("status --json", "the same as JSON")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(switch(
                        "all",
                        "Include resources created by other machines that use this token",
                    ))
                    .arg(json())
            },
            read: |matches| Command::Status {
                all: matches.get_flag("all"),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "down",
        about: "Delete the server and end the agent on this machine, running commands included",
        examples: &[("down --with-volumes --yes", "delete all caches, too, without a question")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(switch("with-volumes", "Also delete volumes and all copies of projects"))
                    .arg(switch(
                        "all",
                        "Include resources created by other machines that use this token",
                    ))
                    .arg(switch("yes", "End runs and delete caches without asking"))
                    .arg(json())
            },
            read: |matches| Command::Down {
                options: DownOptions {
                    with_volumes: matches.get_flag("with-volumes"),
                    all: matches.get_flag("all"),
                    consent: matches.get_flag("yes"),
                },
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "init",
        about: "Ask for the Hetzner token and the server, show offers with prices, write the settings",
        examples: &[("init --server-type cpx62 --region hel1", "without questions")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(
                        value("server-type", "TYPE", "Set this server type instead of asking")
                            .action(ArgAction::Set),
                    )
                    .arg(
                        value("region", "LOCATION", "Set this location; repeatable")
                            .action(ArgAction::Append),
                    )
                    .arg(json())
            },
            read: |matches| Command::Init {
                choice: Choice {
                    server_type: matches.get_one::<String>("server-type").cloned(),
                    region: matches
                        .get_many::<String>("region")
                        .map(|all| all.cloned().collect())
                        .unwrap_or_default(),
                },
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "reap",
        about: "Delete expired servers and volumes now",
        examples: &[("reap --install-timer", "have systemd do it every ten minutes")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(switch(
                        "install-timer",
                        "Install a systemd timer that runs it every ten minutes",
                    ))
                    .arg(json())
            },
            read: |matches| Command::Reap {
                install_timer: matches.get_flag("install-timer"),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "audit",
        about: "Show what ran on servers, what was paid, and what other settings would have cost",
        examples: &[("audit --rate 0.21", "at this price per started hour")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(
                        value("rate", "EUR", "Price of a started hour [default: the prices paid]")
                            .value_parser(|text: &str| amount(text))
                            .allow_negative_numbers(true)
                            .action(ArgAction::Set),
                    )
                    .arg(json())
            },
            read: |matches| Command::Audit {
                rate: matches.get_one("rate").copied(),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "doctor",
        about: "Check this machine, the token, the network and the background processes",
        examples: &[("doctor --json", "the same as JSON")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(
                        switch(
                            "apparmor-profile",
                            "Print the AppArmor profile that allows user namespaces on Ubuntu",
                        )
                        .conflicts_with("json"),
                    )
                    .arg(json())
            },
            read: |matches| Command::Doctor {
                apparmor_profile: matches.get_flag("apparmor-profile"),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "config",
        about: "Show the effective settings and their origins",
        examples: &[("config --defaults", "every setting with its documentation")],
        kind: VerbKind::Own {
            arguments: |command| {
                command.arg(switch("defaults", "Show the documented defaults")).arg(json())
            },
            read: |matches| Command::Config {
                defaults: matches.get_flag("defaults"),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "trust",
        about: "Allow what the project file asks for beyond your own settings",
        examples: &[("trust --revoke", "ask again before its settings hold")],
        kind: VerbKind::Own {
            arguments: |command| {
                command.arg(switch("revoke", "End the trust in the project file")).arg(json())
            },
            read: |matches| Command::Trust {
                revoke: matches.get_flag("revoke"),
                json: is_json(matches),
            },
        },
    },
    Verb {
        name: "logs",
        about: "Show the logs of agent, keeper and commands",
        examples: &[("logs -f --agent", "follow the log of the agent on this machine")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(switch("follow", "Show new lines as they are written").short('f'))
                    .arg(switch("agent", "Only the log of the agent on this machine"))
                    .arg(switch("keeper", "Only the log of the keeper"))
                    .arg(switch(
                        "shim",
                        "Only the log of commands (CARGO_BURST_LOG=debug writes it)",
                    ))
                    .arg(
                        value("lines", "COUNT", "Show the last COUNT lines of each log")
                            .short('n')
                            .default_value("100")
                            .value_parser(|text: &str| {
                                text.parse::<usize>()
                                    .map_err(|_| "expected a number of lines such as 100")
                            }),
                    )
                    .arg(json())
            },
            read: |matches| {
                let chosen = [(Log::Agent, "agent"), (Log::Keeper, "keeper"), (Log::Shim, "shim")]
                    .into_iter()
                    .filter(|(_, flag)| matches.get_flag(flag))
                    .map(|(log, _)| log);
                Command::Logs(LogsArguments {
                    follow: matches.get_flag("follow"),
                    chosen: chosen.collect(),
                    lines: matches.get_one("lines").copied().unwrap_or(100),
                    json: is_json(matches),
                })
            },
        },
    },
    Verb {
        name: "completions",
        about: "Print a completion script for a shell",
        examples: &[(
            "completions bash > ~/.local/share/bash-completion/completions/cargo-burst",
            "complete `cargo-burst` in bash",
        )],
        kind: VerbKind::Own {
            arguments: |command| {
                command.arg(
                    Arg::new("shell")
                        .value_name("SHELL")
                        .required(true)
                        .value_parser(value_parser!(Shell))
                        .help("The shell"),
                )
            },
            read: |matches| {
                Command::Completions(matches.get_one("shell").copied().unwrap_or(Shell::Bash))
            },
        },
    },
    Verb {
        name: "man",
        about: "Print the manual page, or write all pages to a directory",
        examples: &[("man ~/.local/share/man/man1", "one page for each verb")],
        kind: VerbKind::Own {
            arguments: |command| {
                command.arg(
                    Arg::new("directory")
                        .value_name("DIRECTORY")
                        .value_parser(value_parser!(PathBuf))
                        .help("Write the pages there; it is created if it does not exist"),
                )
            },
            read: |matches| Command::Man(matches.get_one("directory").cloned()),
        },
    },
    Verb {
        name: "help",
        about: "Show this help, or the help of a verb",
        examples: &[("help build", "the same as `build --help`")],
        kind: VerbKind::Own {
            arguments: |command| {
                command
                    .arg(Arg::new("verb").value_name("VERB").help("A verb, or an alias of cargo's"))
            },
            read: |matches| Command::Help(matches.get_one("verb").cloned()),
        },
    },
    Verb {
        name: "version",
        about: "Show the version",
        examples: &[("version", "the same as `--version`")],
        kind: VerbKind::Own { arguments: |command| command, read: |_| Command::Version },
    },
];

/// The verb of a name.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn value(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn json() -> Arg {
    switch("json", "Print machine-readable JSON")
}

fn is_json(matches: &ArgMatches) -> bool {
    matches.get_flag("json")
}

/// The number of a detached run.
fn run_number(text: &str) -> Result<u32, String> {
    let hint = "it is no number of a run; `cargo burst status --json` lists them";
    text.parse().map_err(|_| hint.to_owned())
}
