//! What the user asks of a run: a cargo verb, its arguments, and our flags.

use std::ffi::OsString;

use crate::settings::{Fetch, PortForward};

/// A cargo verb whose results or input are treated specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CargoVerb {
    /// `cargo build`
    Build,
    /// `cargo check`
    Check,
    /// `cargo clippy`
    Clippy,
    /// `cargo test`, by way of nextest where it is installed
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
    /// No cargo call: only the sync
    Sync,
    /// Any other verb; it is the first of the arguments
    Other,
}

impl CargoVerb {
    /// The verb as cargo knows it; `None` for [`CargoVerb::Other`].
    pub(crate) const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Build => "build",
            Self::Check => "check",
            Self::Clippy => "clippy",
            Self::Test => "test",
            Self::Bench => "bench",
            Self::Run => "run",
            Self::Doc => "doc",
            Self::Nextest => "nextest",
            Self::Rustc => "rustc",
            Self::Sync => "sync",
            Self::Other => return None,
        })
    }
}

/// A run of cargo on an agent.
#[derive(Debug, PartialEq)]
pub(crate) struct RunArguments {
    /// The verb.
    pub(crate) verb: CargoVerb,
    /// cargo's built-in alias of the verb, where an alias led to it.
    pub(crate) alias: Option<&'static str>,
    /// The arguments behind the verb, ours taken out.
    pub(crate) arguments: Vec<OsString>,
    /// How many of the arguments are options of cargo or their values. What follows is a
    /// program's, or begins with `--`.
    pub(crate) options: usize,
    /// Our flags.
    pub(crate) flags: Flags,
}

impl RunArguments {
    /// The verb in cargo's command line; `None` for [`CargoVerb::Other`]. Behind an alias it
    /// is an alias, too: cargo's usage texts name a verb differently there.
    pub(crate) const fn name(&self) -> Option<&'static str> {
        match self.alias {
            Some(alias) => Some(alias),
            None => self.verb.name(),
        }
    }

    /// The command line of cargo, for people; ours where cargo has no such verb.
    pub(crate) fn title(&self) -> String {
        let words = self.arguments.iter().map(|word| word.to_string_lossy());
        let program = if self.verb == CargoVerb::Sync { "cargo burst" } else { "cargo" };
        [program.into()]
            .into_iter()
            .chain(self.name().map(Into::into))
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The options of cargo, with their values.
    pub(crate) fn options(&self) -> &[OsString] {
        &self.arguments[..self.options.min(self.arguments.len())]
    }
}

/// Our flags of cargo verbs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flags {
    /// `--fetch`; `--no-fetch` is `--fetch none`.
    pub(crate) fetch: Option<Fetch>,
    /// `--fetch PATH`, in order.
    pub(crate) fetched_paths: Vec<String>,
    /// `--keep-alive`, in seconds.
    pub(crate) keep_alive: Option<u64>,
    /// `--no-reap`
    pub(crate) no_reap: bool,
    /// `--max-cost`, in EUR.
    pub(crate) max_cost: Option<f64>,
    /// `--yes`
    pub(crate) yes: bool,
    /// `--detach`
    pub(crate) detach: bool,
    /// `--no-doctests`
    pub(crate) no_doctests: bool,
    /// `--cargo-test`
    pub(crate) cargo_test: bool,
    /// `--env`, in order: `NAME` or `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// `--forward`, in order.
    pub(crate) forward: Vec<PortForward>,
}
