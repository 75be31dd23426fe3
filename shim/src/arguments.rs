//! The command line.
//!
//! `cargo-burst burst VERB` (which is how cargo calls it) and `cargo-burst VERB`
//! are the same. Behind a cargo verb everything is cargo's, but the few flags of
//! ours that stand before the first `--`; a leading `--` ends ours at once.

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::Choice;
use crate::terminal::Verbosity;

/// Run cargo on a big server that exists only while it is needed.
///
/// Everything behind a cargo verb goes to cargo as it is; a leading `--` is
/// optional. Without a Hetzner token cargo runs through an agent on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "cargo-burst",
    bin_name = "cargo burst",
    version,
    max_term_width = 100,
    after_help = "Any other cargo command: cargo burst -- VERB [ARGUMENTS]\n\
                  Exit codes: cargo's own pass through; 111 settings, 112 workspace, 113 agent, \
                  114 run lost, 115 results not written."
)]
struct CommandLine {
    /// Say less: only errors, warnings and cargo's own words.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more: what each part took.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// cargo build; brings the final artifacts back
    Build(CargoVerb),
    /// cargo check
    Check(CargoVerb),
    /// cargo clippy
    Clippy(CargoVerb),
    /// cargo nextest run, then cargo test --doc
    Test(TestVerb),
    /// cargo bench; brings target/criterion back
    Bench(CargoVerb),
    /// cargo run, with your terminal
    Run(CargoVerb),
    /// cargo doc; brings target/doc back
    Doc(CargoVerb),
    /// cargo nextest
    Nextest(CargoVerb),
    /// cargo rustc; brings the final artifacts back
    Rustc(CargoVerb),
    /// Bring the agent's copy up to date, and run nothing
    Sync(CargoVerb),
    /// Show what is there, what it costs, and what will be deleted when
    Status {
        /// Also what others have made with the same token
        #[arg(long)]
        all: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Delete the server, or end the agent; runs that are under way end too
    Down {
        /// Also delete what is kept of every project: sources, caches, targets
        #[arg(long)]
        with_volumes: bool,
        /// Also what others have made with the same token
        #[arg(long)]
        all: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Ask for the Hetzner token, check it, show what can be ordered, write the settings
    Init {
        /// The server type to write down, instead of asking
        #[arg(long, value_name = "TYPE")]
        server_type: Option<String>,
        /// A location to write down; repeatable
        #[arg(long, value_name = "LOCATION")]
        region: Vec<String>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Delete servers and volumes that have had their time, once
    Reap {
        /// Have systemd do it every ten minutes
        #[arg(long)]
        install_timer: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show what was run and paid, and what other settings would have cost
    Audit {
        /// Price of a started hour, in place of those that were paid
        #[arg(long, value_name = "EUR")]
        rate: Option<f64>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Show the effective settings and where each comes from
    Config {
        /// Show the documented defaults instead
        #[arg(long)]
        defaults: bool,
    },
}

#[derive(Debug, Args)]
struct CargoVerb {
    /// Leave artifacts on the other end
    #[arg(long)]
    no_fetch: bool,
    /// Forward an environment variable, or set it. Repeatable
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Keep the idle server, or the agent on this machine, for so long
    #[arg(long, value_name = "SECONDS")]
    keep_alive: Option<u64>,
    /// Leave server and volume until `cargo burst down`
    #[arg(long)]
    no_reap: bool,
    /// Create no server whose first hour costs more
    #[arg(long, value_name = "EUR")]
    max_cost: Option<f64>,
    /// Answer yes to what would be asked
    #[arg(long)]
    yes: bool,
    /// For cargo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
struct TestVerb {
    /// Skip the documentation tests
    #[arg(long)]
    no_doctests: bool,
    /// Use cargo test even where nextest is there
    #[arg(long)]
    cargo_test: bool,
    #[command(flatten)]
    common: CargoVerb,
}

/// What the user wants.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// A run of cargo.
    Run(RunArguments),
    /// `status`
    Status {
        /// Also others'.
        all: bool,
        /// As JSON.
        json: bool,
    },
    /// `down`
    Down {
        /// Also delete what it keeps.
        with_volumes: bool,
        /// Also others'.
        all: bool,
        /// As JSON.
        json: bool,
    },
    /// `init`
    Init {
        /// What was chosen.
        choice: Choice,
        /// As JSON.
        json: bool,
    },
    /// `reap`
    Reap {
        /// Install a timer instead.
        install_timer: bool,
        /// As JSON.
        json: bool,
    },
    /// `audit`
    Audit {
        /// Price of a started hour.
        rate: Option<f64>,
        /// As JSON.
        json: bool,
    },
    /// `config`
    Config {
        /// The defaults instead of what holds.
        defaults: bool,
    },
    /// Help, version, or an error in the command line: what to print, whether to
    /// standard error, and the exit code.
    Text {
        /// What to print.
        text: String,
        /// How to exit.
        code: u8,
    },
}

/// The cargo verbs that we know something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CargoCommand {
    /// `cargo build`
    Build,
    /// `cargo check`
    Check,
    /// `cargo clippy`
    Clippy,
    /// `cargo nextest run` and `cargo test`
    Test,
    /// `cargo bench`
    Bench,
    /// `cargo run`
    Run,
    /// `cargo doc`
    Doc,
    /// `cargo nextest`
    Nextest,
    /// `cargo rustc`
    Rustc,
    /// No cargo call: only the sync.
    Sync,
    /// Any other; the verb is the first argument.
    Other,
}

impl CargoCommand {
    const KNOWN: [(&'static str, Self); 10] = [
        ("build", Self::Build),
        ("check", Self::Check),
        ("clippy", Self::Clippy),
        ("test", Self::Test),
        ("bench", Self::Bench),
        ("run", Self::Run),
        ("doc", Self::Doc),
        ("nextest", Self::Nextest),
        ("rustc", Self::Rustc),
        ("sync", Self::Sync),
    ];

    fn parse(text: &str) -> Option<Self> {
        let short = match text {
            "b" => "build",
            "c" => "check",
            "t" => "test",
            "r" => "run",
            "d" => "doc",
            long => long,
        };
        Self::KNOWN.iter().find(|(name, _)| *name == short).map(|(_, verb)| *verb)
    }

    /// As cargo knows it; nothing for [`CargoCommand::Other`].
    pub fn name(self) -> Option<&'static str> {
        Self::KNOWN.iter().find(|(_, verb)| *verb == self).map(|(name, _)| *name)
    }
}

/// A run of cargo.
#[derive(Debug, PartialEq)]
pub struct RunArguments {
    /// Which verb.
    pub verb: CargoCommand,
    /// What is cargo's.
    pub arguments: Vec<OsString>,
    /// What is ours.
    pub flags: Flags,
}

/// Our flags behind a cargo verb.
#[derive(Debug, Default, PartialEq)]
pub struct Flags {
    /// `--no-fetch`
    pub no_fetch: bool,
    /// `--keep-alive`
    pub keep_alive: Option<u64>,
    /// `--no-reap`
    pub no_reap: bool,
    /// `--max-cost`
    pub max_cost: Option<f64>,
    /// `--yes`
    pub yes: bool,
    /// `--no-doctests`
    pub no_doctests: bool,
    /// `--cargo-test`
    pub cargo_test: bool,
    /// `--env`, in order.
    pub env: Vec<String>,
}

/// Reads a command line, the program's name left out.
pub fn parse(mut arguments: Vec<OsString>) -> (Wanted, Verbosity) {
    if arguments.first().is_some_and(|first| first == "burst") {
        arguments.remove(0);
    }
    let mut verbosity = Verbosity::Normal;
    let mut rest = arguments.as_slice();
    while let Some((first, more)) = rest.split_first() {
        match first.to_str() {
            Some("-q" | "--quiet") => verbosity = Verbosity::Quiet,
            Some("-v" | "--verbose") => verbosity = Verbosity::Verbose,
            Some("--") if !more.is_empty() => {
                let flags = Flags::default();
                let run = RunArguments { verb: CargoCommand::Other, arguments: more.into(), flags };
                return (Wanted::Run(run), verbosity);
            }
            _ => break,
        }
        rest = more;
    }
    let verb = rest.first().and_then(|verb| CargoCommand::parse(verb.to_str()?));
    match (verb, rest.split_first()) {
        (Some(verb), Some((_, rest))) if !asks_for_help(rest) => match split(verb, rest) {
            Ok(run) => {
                let before_dashes = || rest.iter().take_while(|argument| *argument != "--");
                if verbosity == Verbosity::Normal
                    && before_dashes().any(|word| word == "-q" || word == "--quiet")
                {
                    verbosity = Verbosity::Quiet;
                }
                (Wanted::Run(run), verbosity)
            }
            Err(text) => (Wanted::Text { text, code: 2 }, verbosity),
        },
        _ => (ours(arguments), verbosity),
    }
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    let mut ours = arguments.iter().take_while(|argument| *argument != "--");
    ours.any(|argument| argument == "--help" || argument == "-h")
}

/// What clippy takes behind a `--`, and cargo never.
const LINT_LEVELS: [&str; 7] = ["-D", "-W", "-A", "--deny", "--warn", "--allow", "--forbid"];

/// Takes our flags out of what stands behind a cargo verb.
fn split(verb: CargoCommand, arguments: &[OsString]) -> Result<RunArguments, String> {
    let mut flags = Flags::default();
    let mut cargos = Vec::new();
    let mut rest = arguments.iter();
    if arguments.first().is_some_and(|first| first == "--") {
        // `clippy -- -D warnings` can only mean clippy's own lint levels.
        let lints = verb == CargoCommand::Clippy
            && arguments
                .get(1)
                .is_some_and(|second| LINT_LEVELS.iter().any(|level| second == level));
        // `rustc --` exists for what follows it.
        let stays = lints || verb == CargoCommand::Rustc;
        cargos = arguments[usize::from(!stays)..].to_vec();
        rest = [].iter();
    }
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--") => {
                cargos.push(argument.clone());
                cargos.extend(rest.by_ref().cloned());
            }
            Some("--no-fetch") => flags.no_fetch = true,
            Some("--yes") => flags.yes = true,
            Some("--no-reap") => flags.no_reap = true,
            Some("--max-cost") => {
                let value = rest.next().and_then(|value| value.to_str());
                flags.max_cost = Some(checked_cost(value)?);
            }
            Some(text) if text.starts_with("--max-cost=") => {
                flags.max_cost = Some(checked_cost(text.strip_prefix("--max-cost="))?);
            }
            Some("--keep-alive") => {
                let value = rest.next().and_then(|value| value.to_str());
                flags.keep_alive = Some(checked_secs(value)?);
            }
            Some(text) if text.starts_with("--keep-alive=") => {
                flags.keep_alive = Some(checked_secs(text.strip_prefix("--keep-alive="))?);
            }
            Some("--no-doctests") if verb == CargoCommand::Test => flags.no_doctests = true,
            Some("--cargo-test") if verb == CargoCommand::Test => flags.cargo_test = true,
            Some("--env") => {
                let value = rest.next().and_then(|value| value.to_str());
                flags.env.push(checked_env(value)?);
            }
            Some(text) if text.starts_with("--env=") => {
                flags.env.push(checked_env(text.strip_prefix("--env="))?);
            }
            _ => cargos.push(argument.clone()),
        }
    }
    Ok(RunArguments { verb, arguments: cargos, flags })
}

fn checked_env(value: Option<&str>) -> Result<String, String> {
    match value {
        Some(value) if !value.is_empty() && !value.starts_with('=') => Ok(value.to_owned()),
        _ => Err("error: --env wants NAME or NAME=VALUE\n\
                  hint: `cargo burst build --env RUST_LOG` forwards your RUST_LOG\n"
            .into()),
    }
}

fn checked_secs(value: Option<&str>) -> Result<u64, String> {
    value.and_then(|value| value.parse().ok()).ok_or_else(|| {
        "error: --keep-alive wants a number of seconds\n\
         hint: `cargo burst build --keep-alive 1800` keeps the idle server for half an hour\n"
            .into()
    })
}

fn checked_cost(value: Option<&str>) -> Result<f64, String> {
    let cost = value.and_then(|value| value.parse().ok());
    cost.filter(|cost: &f64| cost.is_finite() && *cost >= 0.0).ok_or_else(|| {
        "error: --max-cost wants an amount in euros\n\
         hint: `cargo burst build --max-cost 0.50` creates no server that costs more an hour\n"
            .into()
    })
}

/// Everything that is not cargo's, by clap.
fn ours(arguments: Vec<OsString>) -> Wanted {
    let program = std::iter::once(OsString::from("cargo burst"));
    let parsed = CommandLine::command()
        .try_get_matches_from(program.chain(arguments))
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    match parsed.map(|line| line.verb) {
        Ok(Verb::Status { all, json }) => Wanted::Status { all, json },
        Ok(Verb::Down { with_volumes, all, json }) => Wanted::Down { with_volumes, all, json },
        Ok(Verb::Init { server_type, region, json }) => {
            Wanted::Init { choice: Choice { server_type, region }, json }
        }
        Ok(Verb::Reap { install_timer, json }) => Wanted::Reap { install_timer, json },
        Ok(Verb::Audit { rate, json }) => Wanted::Audit { rate, json },
        Ok(Verb::Config { defaults }) => Wanted::Config { defaults },
        Ok(_) => Wanted::Text { text: CommandLine::command().render_help().to_string(), code: 2 },
        Err(error) => {
            let mut text = error.render().to_string();
            if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
                text.push_str("\nhint: any cargo command runs as `cargo burst -- VERB`\n");
            }
            Wanted::Text { text, code: u8::try_from(error.exit_code()).unwrap_or(2) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (Wanted, Verbosity) {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn run(line: &str) -> (CargoCommand, String, Flags) {
        match parsed(line).0 {
            Wanted::Run(run) => {
                let words: Vec<_> =
                    run.arguments.iter().map(|word| word.to_string_lossy()).collect();
                (run.verb, words.join(" "), run.flags)
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn cargos_arguments_stay_as_they_are() {
        let (verb, words, flags) = run("burst build --release --no-fetch -p a --env A=1 -- --yes");
        assert_eq!((verb, words.as_str()), (CargoCommand::Build, "--release -p a -- --yes"));
        assert_eq!(flags, Flags { no_fetch: true, env: vec!["A=1".into()], ..Flags::default() });
        assert_eq!(run("build --release"), run("burst build -- --release"));
        assert_eq!(run("build -- --no-fetch x").1, "--no-fetch x");
        assert_eq!(run("clippy --all-targets -- -D warnings").1, "--all-targets -- -D warnings");
        assert_eq!(run("clippy -- -D warnings").1, "-- -D warnings");
        assert_eq!(run("clippy -- -p a").1, "-p a");
        assert_eq!(run("run -- -- --flag").1, "-- --flag");
        assert!(run("test --no-doctests").2.no_doctests);
        assert_eq!(run("build --no-doctests").1, "--no-doctests");
        assert_eq!(run("b -q").0, CargoCommand::Build);
        assert_eq!(run("-- expand --lib").1, "expand --lib");
        assert_eq!(run("-q burst".replace("burst", "-- fmt").as_str()).1, "fmt");
    }

    #[test]
    fn quiet_and_verbose() {
        assert_eq!(parsed("-q build").1, Verbosity::Quiet);
        assert_eq!(parsed("build -q").1, Verbosity::Quiet);
        assert_eq!(parsed("-v build -q").1, Verbosity::Verbose);
        assert_eq!(parsed("burst -v check").1, Verbosity::Verbose);
        assert_eq!(parsed("run -- -q").1, Verbosity::Normal);
    }

    #[test]
    fn our_own_commands() {
        assert_eq!(parsed("status --json").0, Wanted::Status { all: false, json: true });
        let down = Wanted::Down { with_volumes: true, all: false, json: false };
        assert_eq!(parsed("burst down --with-volumes").0, down);
        assert_eq!(parsed("config --defaults").0, Wanted::Config { defaults: true });
        for line in ["", "frobnicate", "build --env", "build --env ="] {
            assert!(matches!(parsed(line).0, Wanted::Text { code: 2, .. }), "{line}");
        }
        for line in ["--help", "build --help", "--version"] {
            assert!(matches!(parsed(line).0, Wanted::Text { code: 0, .. }), "{line}");
        }
    }
}
