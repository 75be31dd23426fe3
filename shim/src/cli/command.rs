//! What a command line asks for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::Shell;

use crate::commands::{Choice, LogsArguments};
use crate::hetzner::reap::DownOptions;
use crate::run::request::RunArguments;

/// A command, parsed.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Run cargo on an agent.
    Run(RunArguments),
    /// Run cargo on this machine, with these arguments.
    Local(Vec<OsString>),
    /// `attach`, with the number of the run.
    Attach(Option<u32>),
    /// `status`
    Status {
        /// `--all`
        all: bool,
        /// `--json`
        json: bool,
    },
    /// `down`
    Down {
        /// What to delete.
        options: DownOptions,
        /// `--json`
        json: bool,
    },
    /// `init`
    Init {
        /// What the command line chooses.
        choice: Choice,
        /// `--json`
        json: bool,
    },
    /// `reap`
    Reap {
        /// `--install-timer`
        install_timer: bool,
        /// `--json`
        json: bool,
    },
    /// `audit`
    Audit {
        /// `--rate`, in EUR per started hour.
        rate: Option<f64>,
        /// `--json`
        json: bool,
    },
    /// `doctor`
    Doctor {
        /// `--apparmor-profile`
        apparmor_profile: bool,
        /// `--json`
        json: bool,
    },
    /// `config`
    Config {
        /// `--defaults`
        defaults: bool,
        /// `--json`
        json: bool,
    },
    /// `trust`
    Trust {
        /// `--revoke`
        revoke: bool,
        /// `--json`
        json: bool,
    },
    /// `logs`
    Logs(LogsArguments),
    /// `completions`
    Completions(Shell),
    /// `man`, with the directory to write to.
    Man(Option<PathBuf>),
    /// `help`, with the verb.
    Help(Option<String>),
    /// `version`
    Version,
}

impl Command {
    /// Whether its result, or its failure, is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Status { json, .. }
            | Self::Down { json, .. }
            | Self::Init { json, .. }
            | Self::Reap { json, .. }
            | Self::Audit { json, .. }
            | Self::Doctor { json, .. }
            | Self::Config { json, .. }
            | Self::Trust { json, .. } => *json,
            Self::Logs(arguments) => arguments.json,
            _ => false,
        }
    }
}
