//! The machine on which the agent runs: how it contains runs, which environment they
//! inherit, and which user runs builds.
//!
//! Only this module reads environment variables, apart from the filter of the log. What it
//! finds is determined once, when the agent starts, and does not change afterwards.

use std::ffi::OsString;
use std::path::PathBuf;

use burst_protocol::ByteBuf;
use nix::unistd::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::run;
use crate::run::Supervision;
use crate::run::containment::Containment;
use crate::run::control_group::RunGroups;
use crate::run::spec::os_bytes;

/// The environment variable that marks a process of a run, so that a nested
/// `cargo burst` does not start another run.
pub const INSIDE: &str = "CARGO_BURST_INSIDE";

/// The most descriptors that the agent asks for; the usual soft limit is 1,024.
const OPEN_FILES_MAX: u64 = 1 << 16;

/// Variables of the agent's own environment that runs inherit.
const PASSED_ON: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_AUTO_INSTALL",
    "RUSTUP_DIST_SERVER",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// The variables that a shim passes to its local agent, and an agent to its runs. Those
/// that are not set are left out.
pub fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    PASSED_ON.iter().filter_map(|name| Some(((*name).into(), variable(name)?)))
}

/// Whether runs of an agent on this machine see projects at their own paths: it allows the
/// namespaces that this takes. Starts helper processes of this program. Blocks.
pub fn keeps_paths() -> bool {
    run::probe().keeps_paths()
}

/// The unprivileged user that runs builds on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildUser {
    /// The user id.
    pub(crate) uid: Uid,
    /// The primary group id.
    pub(crate) gid: Gid,
    /// The home directory.
    pub(crate) home: PathBuf,
}

impl BuildUser {
    /// From now on the calling thread, and each thread that it starts, accesses files with
    /// the rights of this user, while the process stays root.
    pub(crate) fn assume_file_access(&self) {
        // Both calls return the previous id and never fail for root.
        nix::unistd::setfsgid(self.gid);
        nix::unistd::setfsuid(self.uid);
    }
}

/// Raises the soft limit of open files as far as is allowed and useful. Returns the limit
/// before; none if it stays.
fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (before, raised) = (current?, maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX));
    if before >= raised {
        return None;
    }
    let limit = Rlimit { current: Some(raised), maximum };
    setrlimit(Resource::Nofile, limit).ok().map(|()| before)
}

/// What the agent knows of its machine.
#[derive(Debug)]
pub(crate) struct Host {
    containment: Containment,
    environment: Vec<(ByteBuf, ByteBuf)>,
    build_user: Option<BuildUser>,
    /// On a server, the control groups of runs, or why there are none.
    run_groups: Option<Result<RunGroups, String>>,
    open_files: Option<u64>,
    supervision: Supervision,
}

impl Host {
    /// Determines how runs can be contained, which starts a process for each candidate, and
    /// raises this process's limit of open files; on a server it makes the control groups of
    /// runs.
    pub(crate) fn probe(build_user: Option<BuildUser>) -> Self {
        let run_groups =
            build_user.is_some().then(|| RunGroups::prepare().map_err(|error| error.to_string()));
        if let Some(Err(error)) = &run_groups {
            tracing::warn!("memory and processes of runs are not limited: {error}");
        }
        Self {
            run_groups,
            containment: run::probe(),
            environment: passed_on()
                .map(|(name, value)| (os_bytes(&name), os_bytes(&value)))
                .collect(),
            build_user,
            open_files: raise_open_files(),
            supervision: Supervision::Process,
        }
    }

    /// A host on which programs of a test take the place of cargo, without containment.
    #[cfg(feature = "simulation")]
    pub(crate) const fn simulated(program: run::simulated::Simulated) -> Self {
        Self {
            run_groups: None,
            containment: Containment::Plain,
            environment: Vec::new(),
            build_user: None,
            open_files: None,
            supervision: Supervision::Simulated(program),
        }
    }

    /// What carries out the calls of cargo.
    pub(crate) const fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    /// The soft limit of open files that this process was started with, for its runs; none
    /// if it is still in force.
    pub(crate) const fn open_files(&self) -> Option<u64> {
        self.open_files
    }

    /// How runs are contained.
    pub(crate) const fn containment(&self) -> Containment {
        self.containment
    }

    /// The variables that every run inherits.
    pub(crate) fn environment(&self) -> &[(ByteBuf, ByteBuf)] {
        &self.environment
    }

    /// The user that runs builds; none if that is the agent's own user.
    pub(crate) const fn build_user(&self) -> Option<&BuildUser> {
        self.build_user.as_ref()
    }

    /// The control groups of runs, where they have some.
    pub(crate) fn run_groups(&self) -> Option<&RunGroups> {
        self.run_groups.as_ref()?.as_ref().ok()
    }

    /// What a user of this server has to know about its runs.
    pub(crate) fn notice(&self) -> Option<String> {
        let error = self.run_groups.as_ref()?.as_ref().err()?;
        Some(format!("memory and processes of runs are not limited on this server: {error}"))
    }
}

/// The agent's own CARGO_HOME.
pub(crate) fn cargo_home() -> PathBuf {
    home_of("CARGO_HOME", ".cargo")
}

/// The agent's own RUSTUP_HOME.
pub(crate) fn rustup_home() -> PathBuf {
    home_of("RUSTUP_HOME", ".rustup")
}

fn home_of(name: &str, default: &str) -> PathBuf {
    let below_home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(default);
    variable(name).map_or_else(below_home, PathBuf::from)
}

/// The only place of the agent that reads the environment.
#[expect(clippy::disallowed_methods, reason = "the variables that matter are in this module")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
