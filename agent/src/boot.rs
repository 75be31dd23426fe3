//! The start of the agent of a server: protection from builds, then its keys.
//!
//! The agent runs as root, builds run as the user `build` of the image. Before it reads its
//! keys, the agent closes its memory to other processes and bars the build user from the
//! metadata service. If one of these fails, it does not start. When memory is short, the
//! kernel spares the agent.

use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use burst_protocol::limit::USER_DATA_BYTES_MAX;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::User;
use reqwest::Client;
use rustix::mm::{MlockAllFlags, mlockall};

use crate::error::AgentError;
use crate::host::BuildUser;
use crate::user_data::UserData;

/// The address of Hetzner Cloud's metadata service.
const METADATA: &str = "169.254.169.254";

/// How long the metadata service may take to answer after the boot.
const METADATA_DEADLINE: Duration = Duration::from_secs(120);

/// The pause between two requests to it, while the network is being configured.
const METADATA_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How long one request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// The name of the user of the image that runs builds.
const BUILD_USER: &str = "build";

/// The result of a server's boot.
#[derive(Debug)]
pub(crate) struct Boot {
    /// The keys, from the metadata service.
    pub(crate) user_data: UserData,
    /// The user that runs builds.
    pub(crate) build_user: BuildUser,
}

/// Protects the agent from builds, then asks for the keys. Blocks the thread while `nft`
/// runs.
pub(crate) async fn boot() -> Result<Boot, AgentError> {
    let build_user = build_user()?;
    protect_memory()?;
    spare_when_memory_is_short();
    block_metadata(&build_user)?;
    let user_data = UserData::parse(&fetch_user_data().await?)?;
    Ok(Boot { user_data, build_user })
}

fn build_user() -> Result<BuildUser, AgentError> {
    let found = User::from_name(BUILD_USER)
        .map_err(|errno| protect("the look-up of the user `build`")(errno.into()))?;
    match found {
        Some(user) if !user.uid.is_root() => {
            Ok(BuildUser { uid: user.uid, gid: user.gid, home: user.dir })
        }
        _ => Err(protect("the look-up of the user `build`")(io::ErrorKind::NotFound.into())),
    }
}

/// Closes the agent's memory to other processes: no ptrace, no core dumps, no swap.
fn protect_memory() -> Result<(), AgentError> {
    set_dumpable(false).map_err(|errno| protect("PR_SET_DUMPABLE")(errno.into()))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|errno| protect("RLIMIT_CORE")(errno.into()))?;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|errno| protect("mlockall")(errno.into()))
}

/// Has the kernel kill other processes when memory is short. A run's init takes this back
/// for the run.
fn spare_when_memory_is_short() {
    const NEVER: &[u8] = b"-1000";
    let adjustment = File::options().write(true).open("/proc/self/oom_score_adj");
    if let Err(error) = adjustment.and_then(|mut file| file.write_all(NEVER)) {
        tracing::warn!("the kernel may end the agent when memory is short: {error}");
    }
}

/// Rejects packets of the build user to the metadata service, which holds the keys.
fn block_metadata(user: &BuildUser) -> Result<(), AgentError> {
    let rules = format!(
        "table ip cargo_burst {{}}\n\
         delete table ip cargo_burst\n\
         table ip cargo_burst {{\n\
         chain output {{\n\
         type filter hook output priority filter\n\
         ip daddr {METADATA} meta skuid {} reject\n\
         }}\n\
         }}\n",
        user.uid
    );
    let failed = protect("`nft`");
    let mut nft =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(rules.as_bytes()).map_err(failed)?;
    }
    match nft.wait().map_err(failed)? {
        status if status.success() => Ok(()),
        status => Err(failed(io::Error::other(status.to_string()))),
    }
}

async fn fetch_user_data() -> Result<String, AgentError> {
    let url = format!("http://{METADATA}/hetzner/v1/userdata");
    // The service is on this link and without TLS: neither proxies nor certificates.
    let failed = |error: reqwest::Error| AgentError::Metadata {
        url: url.clone(),
        source: error.without_url(),
    };
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWER_DEADLINE)
        .build()
        .map_err(failed)?;
    let began = Instant::now();
    let bytes = loop {
        match request(&client, &url).await {
            Ok(bytes) => break bytes,
            Err(error) if began.elapsed() > METADATA_DEADLINE => return Err(failed(error)),
            // The network is still being configured.
            Err(_) => tokio::time::sleep(METADATA_RETRY_INTERVAL).await,
        }
    };
    String::from_utf8(bytes).map_err(|_| AgentError::UserData("it is not UTF-8".into()))
}

/// Requests a resource; reads slightly more than the largest user data at most.
async fn request(client: &Client, url: &str) -> reqwest::Result<Vec<u8>> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > USER_DATA_BYTES_MAX {
            break;
        }
    }
    Ok(bytes)
}

fn protect(operation: &'static str) -> impl Fn(io::Error) -> AgentError + Copy {
    move |source| AgentError::Protect { operation, source }
}
