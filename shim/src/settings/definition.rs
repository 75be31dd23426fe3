//! The one definition of every setting.
//!
//! The macro `settings!` makes of it the struct [`Settings`] with typed fields, their resolution,
//! and the table of [`keys`], from which come the checks of names, the documentation
//! (`cargo burst config --defaults`) and the suggestions. The comment of a setting is its
//! documentation for users; `project` says what a project file may set. To add a setting is
//! to add it here and to use its field.

use std::sync::LazyLock;

use burst_hcloud::Token;
use burst_hcloud::volume::{GB_MAX, GB_MIN};
use burst_protocol::limit::GRACE_SECS_MAX;

use super::key::Key;
use super::kind::{Amount, Choice, Flag, List, Named, Optional, Ports, Secret, Url, Whole};
use super::layer::Layer;
use super::port_forward::PortForward;
use super::project_file::ProjectFile;
use super::project_rule::ProjectRule;
use super::request::Request;
use super::resolve::{Effective, Resolution};
use crate::error::Error;

/// The longest time for which a server or volume can be kept idle: a year.
const KEEP_ALIVE_SECS_MAX: u64 = 365 * 24 * 60 * 60;

/// The longest time to which a run can be limited: a month.
const TIME_LIMIT_SECS_MAX: u64 = 31 * 24 * 60 * 60;

/// All settings, in the order of their definition.
pub(super) fn keys() -> &'static [Key] {
    &KEYS
}

/// The built-in default of every setting.
pub(crate) fn defaults() -> Vec<Effective> {
    keys().iter().map(|key| Effective::default(key.name, key.default.clone())).collect()
}

macro_rules! settings {
    ($(
        $(#[doc = $text:literal])+
        $name:ident: $type:ty {
            default: $default:expr,
            kind: $kind:expr,
            project: $project:expr,
            variable: $variable:literal,
        }
    )+) => {
        /// The settings of one command, resolved and checked.
        #[derive(Clone, Debug)]
        pub(crate) struct Settings {
            $(
                $(#[doc = $text])+
                pub $name: $type,
            )+
            pub(super) effective: Vec<Effective>,
            pub(super) requests: Vec<Request>,
            pub(super) project: Option<ProjectFile>,
        }

        impl Settings {
            /// Puts layers, the lowest first, over the built-in defaults. `is_trusted` is
            /// whether the user trusts the project file among them.
            pub(super) fn resolve(layers: &[Layer<'_>], is_trusted: bool) -> Result<Self, Error> {
                let (effective, requests) = (Vec::new(), Vec::new());
                let mut resolution = Resolution { layers, is_trusted, effective, requests };
                Ok(Self {
                    $($name: resolution.value(stringify!($name), &$kind, &$default, &$project)?,)+
                    effective: resolution.effective,
                    requests: resolution.requests,
                    project: None,
                })
            }
        }

        static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| vec![$(Key::new(
            (stringify!($name), $variable),
            &[$($text),+],
            &$kind,
            &$default,
            &$project,
        )),+]);
    };
}

settings! {
    /// Hetzner Cloud API token. Without one, builds run through an agent on this machine.
    hetzner_token: Option<Token> {
        default: None,
        kind: Optional { kind: Secret, example: "\"…\"" },
        project: ProjectRule::Refused,
        variable: "HCLOUD_TOKEN",
    }

    /// URL of the Hetzner Cloud API. The token is sent there.
    hetzner_endpoint: String {
        default: "https://api.hetzner.cloud/v1".to_owned(),
        kind: Url,
        project: ProjectRule::Refused,
        variable: "HCLOUD_ENDPOINT",
    }

    /// Hetzner locations, in the order of preference. The next one is tried if no server
    /// can be had in the first.
    region: Vec<String> {
        default: texts(["hel1", "fsn1", "nbg1"]),
        kind: List::preference(),
        project: ProjectRule::NO_ADDITION,
        variable: "CARGO_BURST_REGION",
    }

    /// Hetzner server types, in the order of preference. The next one is tried if the
    /// first is sold out in every region. A new account can have those of the default list:
    /// types with dedicated cores (`ccx…`) need a limit that Hetzner raises on request.
    server_type: Vec<String> {
        default: texts(["cx53", "cpx62", "cpx52", "cpx42"]),
        kind: List::preference(),
        project: ProjectRule::BEGINNING,
        variable: "CARGO_BURST_SERVER_TYPE",
    }

    /// Whether a new server gets an IPv4 address, which costs extra. Without one it is
    /// reached over IPv6, and itself reaches only what has an IPv6 address.
    public_ipv4: bool {
        default: true,
        kind: Flag,
        project: ProjectRule::NOT_OTHER,
        variable: "CARGO_BURST_PUBLIC_IPV4",
    }

    /// Seconds for which an idle server, or the agent on this machine, is kept. With
    /// `keep_paid_hour` a server begins a further hour only for more than 600.
    keep_alive_secs: u64 {
        default: 300,
        kind: Whole::between(0, KEEP_ALIVE_SECS_MAX),
        project: ProjectRule::NOT_LARGER,
        variable: "CARGO_BURST_KEEP_ALIVE_SECS",
    }

    /// Seconds for which a run goes on after its connection has broken, while its command
    /// connects again. 0: it ends at once.
    reconnect_secs: u64 {
        default: 120,
        kind: Whole::between(0, GRACE_SECS_MAX.into()),
        project: ProjectRule::NOT_LARGER,
        variable: "CARGO_BURST_RECONNECT_SECS",
    }

    /// Whether an idle server is kept until shortly before its paid hour ends. Hetzner bills
    /// every started hour: deleting it earlier saves nothing, keeping it longer costs one.
    keep_paid_hour: bool {
        default: true,
        kind: Flag,
        project: ProjectRule::NOT_OTHER,
        variable: "CARGO_BURST_KEEP_PAID_HOUR",
    }

    /// Seconds for which the volume of an idle project is kept.
    volume_keep_alive_secs: u64 {
        default: 3600,
        kind: Whole::between(0, KEEP_ALIVE_SECS_MAX),
        project: ProjectRule::NOT_LARGER,
        variable: "CARGO_BURST_VOLUME_KEEP_ALIVE_SECS",
    }

    /// Size of a new volume in GB. Each project has a volume of its own.
    volume_gb: u64 {
        default: 200,
        kind: Whole::between(GB_MIN, GB_MAX),
        project: ProjectRule::NOT_LARGER,
        variable: "CARGO_BURST_VOLUME_GB",
    }

    /// Whether a server whose keeper is gone deletes itself before its paid hour ends. For
    /// this its agent keeps the delete request, which contains your token, in memory.
    /// Without it the token never leaves this machine.
    dead_man_switch: bool {
        default: true,
        kind: Flag,
        project: ProjectRule::Refused,
        variable: "CARGO_BURST_DEAD_MAN_SWITCH",
    }

    /// The most that servers, volumes and images may cost in a calendar month, in EUR without
    /// tax, on all machines with this token. A server that would exceed it is asked about;
    /// without a terminal to ask on, the command is refused.
    monthly_budget: Option<f64> {
        default: None,
        kind: Optional { kind: Amount, example: "40" },
        project: ProjectRule::LOWERS,
        variable: "CARGO_BURST_MONTHLY_BUDGET",
    }

    /// The longest time of one run on a server, in seconds. It is interrupted then, as by
    /// Ctrl-C.
    max_run_secs: Option<u64> {
        default: None,
        kind: Optional { kind: Whole::between(1, TIME_LIMIT_SECS_MAX), example: "7200" },
        project: ProjectRule::LOWERS,
        variable: "CARGO_BURST_MAX_RUN_SECS",
    }

    /// The longest time that commands of this machine may run on servers in a day (UTC),
    /// in seconds. What overlaps counts once. The run that reaches it is interrupted.
    max_day_secs: Option<u64> {
        default: None,
        kind: Optional { kind: Whole::between(1, TIME_LIMIT_SECS_MAX), example: "28800" },
        project: ProjectRule::LOWERS,
        variable: "CARGO_BURST_MAX_DAY_SECS",
    }

    /// Names and patterns, such as `CARGO_PROFILE_*`, of environment variables to pass to
    /// cargo on the server. What is not set here is skipped. `--env` adds to them.
    forward_env: Vec<String> {
        default: Vec::new(),
        kind: List::variables(),
        project: ProjectRule::VARIABLES,
        variable: "CARGO_BURST_FORWARD_ENV",
    }

    /// Names and patterns of environment variables of which you are told if they are set here
    /// and not passed on, beside the usual ones such as RUSTFLAGS. One that begins with `!`
    /// takes variables from these.
    report_env: Vec<String> {
        default: Vec::new(),
        kind: List::variables(),
        project: ProjectRule::Free,
        variable: "CARGO_BURST_REPORT_ENV",
    }

    /// TCP ports of this machine that lead to ports of the server while cargo runs there. One
    /// number stands for both. `--forward` adds to them.
    forward_ports: Vec<PortForward> {
        default: Vec::new(),
        kind: Ports,
        project: ProjectRule::NO_PORT,
        variable: "CARGO_BURST_FORWARD_PORTS",
    }

    /// Patterns of files that are not sent, as in a .gitignore at the workspace root. A
    /// pattern that begins with `!` sends files that an ignore file leaves out.
    extra_excludes: Vec<String> {
        default: Vec::new(),
        kind: List::additive(),
        project: ProjectRule::EXCLUDES,
        variable: "CARGO_BURST_EXTRA_EXCLUDES",
    }

    /// Default excludes to drop, out of: target/ .git/ node_modules/ .direnv/ .vscode/
    /// .idea/ *.swp .DS_Store
    unexclude: Vec<String> {
        default: Vec::new(),
        kind: List::additive(),
        project: ProjectRule::NO_ADDITION,
        variable: "CARGO_BURST_UNEXCLUDE",
    }

    /// Files and directories that are sent whatever git says, and wherever they are:
    /// relative to the workspace root, absolute or below `~/`. What is not there is skipped.
    include_paths: Vec<String> {
        default: Vec::new(),
        kind: List::additive(),
        project: ProjectRule::NO_ADDITION,
        variable: "CARGO_BURST_INCLUDE_PATHS",
    }

    /// GB that the copies of projects may take on this machine, where the agent here works
    /// with them. Beyond, those that were not used for the longest time are deleted.
    local_disk_gb: u64 {
        default: 100,
        kind: Whole::between(1, 1_000_000),
        project: ProjectRule::Refused,
        variable: "CARGO_BURST_LOCAL_DISK_GB",
    }

    /// What a run brings of its target directory: "all", with cargo's own files and their
    /// times, so that a plain cargo goes on from there; "artifacts", what cargo puts in
    /// place; "none".
    fetch: Fetch {
        default: Fetch::Artifacts,
        kind: Choice::<Fetch>::any(),
        project: ProjectRule::NOT_OTHER,
        variable: "CARGO_BURST_FETCH",
    }

    /// Whether large files are compressed on their way. "auto" compresses unless the agent
    /// is on this machine.
    compression: Compression {
        default: Compression::Auto,
        kind: Choice::<Compression>::any(),
        project: ProjectRule::Free,
        variable: "CARGO_BURST_COMPRESSION",
    }

    /// Directories in which every project file is trusted, whatever it asks for. `~` is
    /// your home. Elsewhere `cargo burst trust` allows one content of one file.
    trusted_directories: Vec<String> {
        default: Vec::new(),
        kind: List::of_directories(),
        project: ProjectRule::Refused,
        variable: "CARGO_BURST_TRUSTED_DIRECTORIES",
    }
}

/// Whether large files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Unless the agent is on this machine.
    Auto,
    /// On every connection.
    Always,
    /// On no connection.
    Never,
}

impl Named for Compression {
    const ALL: &'static [Self] = &[Self::Auto, Self::Always, Self::Never];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What a run brings of its target directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// All of it, with its times.
    All,
    /// What cargo puts in place for its user.
    Artifacts,
    /// Nothing.
    None,
}

impl Fetch {
    /// The one with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fetch| fetch.name() == name)
    }
}

impl Named for Fetch {
    const ALL: &'static [Self] = &[Self::All, Self::Artifacts, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Artifacts => "artifacts",
            Self::None => "none",
        }
    }
}

fn texts<const N: usize>(items: [&str; N]) -> Vec<String> {
    items.map(str::to_owned).into()
}
