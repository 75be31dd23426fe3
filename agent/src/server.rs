//! The agent as a server: its port, its projects, its end.
//!
//! It ends by itself when it has been idle for as long as it was told to stay,
//! and when it is asked to. Its end, however it comes, ends every run: each run's
//! init holds a socket to this process.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use burst_protocol::hello::{Preface, Reason};
use burst_protocol::message::{AgentStatus, Lease, ProjectStatus};
use burst_protocol::{ByteBuf, FileName, RelativePath};
use burst_sync::stat_cache::StatCache;
use burst_sync::wire::{self, Opening};
use rustix::fs::FlockOperation;
use tokio::sync::Notify;

use crate::boot::{Boot, BuildUser};
use crate::error::AgentError;
use crate::identity::{self, Identity};
use crate::last_will::LastWill;
use crate::layout;
use crate::power_cut;
use crate::project::Project;
use crate::queue::RunQueue;
use crate::run::containment::Containment;
use crate::run::spec::from_os;
use crate::session;
use crate::steps::Input;
use crate::transport::{self, Patience};
use crate::volume::{self, Volumes};

/// How long a client may take for its first bytes.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long runs may take to end when the agent is asked to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// How long an agent waits at least for whoever has started it.
const FIRST_STAY: Duration = Duration::from_secs(10);

/// How long clients may take to hear that the agent is ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// zstd's level towards the client.
const COMPRESSION_LEVEL: i32 = 1;

/// What a client is told when its connection is closed because the agent ends.
pub const ENDING: &[u8] = b"ending";

/// The program version, for people.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How an agent is started.
#[derive(Debug)]
pub struct Options {
    /// Where it is.
    pub place: Place,
    /// The UDP address.
    pub listen: SocketAddr,
}

/// Where an agent is.
#[derive(Debug)]
pub enum Place {
    /// Beside its user, for a while.
    Local {
        /// Where projects are kept.
        disk: PathBuf,
        /// Where `agent.cert`, `agent.key` and `shim.cert` are, and where the agent
        /// writes its address.
        keys: PathBuf,
        /// How long to stay when idle.
        keep_alive: Duration,
        /// Silence after which a client counts as gone.
        patience: Patience,
    },
    /// On a server that is there for nothing else, until that is deleted.
    Server(Boot),
}

/// What only an agent beside its user has.
struct Local {
    _lock: OwnedFd,
    address_file: PathBuf,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    disks: Disks,
    containment: Containment,
    environment: Vec<(ByteBuf, ByteBuf)>,
    slots: Mutex<HashMap<RelativePath, Arc<Slot>>>,
    runs: Mutex<Vec<Weak<Mutex<Input>>>>,
    idle: Mutex<Idle>,
    moved: Notify,
    last_will: LastWill,
    /// The thread that executes it is started with the first lease.
    executes: Once,
    ending: AtomicBool,
    started: Instant,
}

/// Where projects are kept.
#[derive(Debug)]
enum Disks {
    /// All below one directory.
    Shared(PathBuf),
    /// Each on a volume of its own.
    Volumes(Volumes),
}

#[derive(Debug)]
struct Idle {
    busy: usize,
    since: Instant,
    /// None: it does not end by itself.
    keep_alive: Option<Duration>,
    /// Whether anybody has used the agent yet.
    used: bool,
}

impl Idle {
    /// How long the agent still stays if nothing happens; none: for ever.
    fn rest(&self) -> Option<Duration> {
        let least = if self.used { Duration::ZERO } else { FIRST_STAY };
        Some(self.keep_alive?.max(least).saturating_sub(self.since.elapsed()))
    }
}

/// One project among the agent's.
#[derive(Debug)]
pub struct Slot {
    /// Who uses it.
    pub queue: RunQueue,
    name: RelativePath,
    directory: PathBuf,
    project: Mutex<Option<Project>>,
    /// Runs that write to the disk; their mark is on it (see [`power_cut`]).
    writing: Mutex<usize>,
    artifacts: Mutex<HashMap<PathBuf, StatCache>>,
}

/// Runs an agent until it ends. `ready` is told the address once it listens.
pub async fn serve(options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), AgentError> {
    let (config, local) = prepare(&options.place)?;
    let listening = |source| AgentError::Listen { address: options.listen, source };
    let endpoint = transport::endpoint(options.listen, Some(config)).map_err(listening)?;
    let address = endpoint.local_addr().map_err(listening)?;
    let agent = Arc::new(Agent::new(options.place));
    if let Some(local) = &local {
        write_address(&local.address_file, address)?;
    }
    ready(address);
    tokio::select! {
        () = accept(&agent, &endpoint) => {}
        () = agent.until_idle() => tracing::info!("idle: ending"),
        () = terminated() => tracing::info!("asked by a signal: ending"),
    }
    agent.ending.store(true, Ordering::Relaxed);
    if let Some(local) = &local {
        // Gone already, or a later start replaces it.
        drop(std::fs::remove_file(&local.address_file));
    }
    agent.kill_runs();
    // Those who are served get a moment to hear how it ends.
    drop(tokio::time::timeout(LAST_WORDS, endpoint.wait_idle()).await);
    endpoint.close(0_u32.into(), ENDING);
    drop(tokio::time::timeout(LAST_WORDS, endpoint.wait_idle()).await);
    Ok(())
}

/// The keys of the connection, and what is taken where the agent is.
fn prepare(place: &Place) -> Result<(quinn::ServerConfig, Option<Local>), AgentError> {
    match place {
        Place::Local { keys, patience, .. } => {
            let _lock = take_directory(keys)?;
            let address_file = keys.join("address");
            // One that crashed may have left its own.
            drop(std::fs::remove_file(&address_file));
            let own = Identity::load(keys, "agent")?;
            let client = identity::load_certificate(keys, "shim")?;
            let config = identity::server_config(&own, client, *patience)?;
            Ok((config, Some(Local { _lock, address_file })))
        }
        Place::Server(boot) => {
            let (own, client) = boot.user_data.keys()?;
            let gone_after = Duration::from_secs(boot.user_data.gone_after_secs.max(1));
            Ok((identity::server_config(&own, client, Patience { gone_after })?, None))
        }
    }
}

/// Tells whoever looks where we listen; whole from the first moment on.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), AgentError> {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{address} {} {VERSION}\n", std::process::id()))
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| AgentError::State { path: path.to_owned(), source })
}

/// Takes the directory for this process alone.
fn take_directory(directory: &Path) -> Result<OwnedFd, AgentError> {
    let path = directory.join("lock");
    let file = std::fs::File::create(&path)
        .map_err(|source| AgentError::State { path: path.clone(), source })?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| AgentError::Taken(directory.to_owned()))?;
    Ok(file.into())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

async fn accept(agent: &Arc<Agent>, endpoint: &quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            match incoming.await {
                Ok(connection) => serve_connection(&agent, connection).await,
                Err(error) => tracing::warn!("a connection was not made: {error}"),
            }
        });
    }
}

async fn serve_connection(agent: &Arc<Agent>, connection: quinn::Connection) {
    let gone = Arc::new(AtomicBool::new(false));
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (agent, gone) = (agent.clone(), gone.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_stream(&agent, send, receive, gone).await {
                tracing::warn!("a stream was not served: {error}");
            }
        });
    }
    gone.store(true, Ordering::Relaxed);
}

async fn serve_stream(
    agent: &Arc<Agent>,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    gone: Arc<AtomicBool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let read = tokio::time::timeout(HELLO_DEADLINE, wire::read_preface(&mut receive));
    let Preface::Hello { lowest, highest, .. } = read.await?? else {
        return Err("the client did not begin with a hello".into());
    };
    let mut answer = Preface::answer(lowest, highest, VERSION);
    if agent.ending.load(Ordering::Relaxed) {
        answer = Preface::refuse(Reason::Ending, VERSION);
    }
    if matches!(answer, Preface::Refuse { .. }) {
        send.write_all(&answer.to_bytes()).await?;
        send.finish()?;
        // Until the client has it or has gone.
        drop(send.stopped().await);
        return Ok(());
    }
    let (incoming, outgoing, writing) =
        wire::connect(receive, send, COMPRESSION_LEVEL, Opening::Read)?;
    let agent = agent.clone();
    std::thread::Builder::new().name("session".into()).stack_size(8 << 20).spawn(move || {
        if outgoing.preface(&answer).is_ok() {
            session::serve(&agent, incoming, &outgoing, &gone);
        }
    })?;
    Ok(writing.await??)
}

impl Agent {
    fn new(place: Place) -> Self {
        let (disks, keep_alive) = match place {
            Place::Local { disk, keep_alive, .. } => (Disks::Shared(disk), Some(keep_alive)),
            Place::Server(boot) => (Disks::Volumes(Volumes::new(boot.build_user)), None),
        };
        Self {
            disks,
            containment: Containment::probe(),
            environment: layout::passed_on()
                .map(|(name, value)| (from_os(&name), from_os(&value)))
                .collect(),
            slots: Mutex::default(),
            runs: Mutex::default(),
            idle: Mutex::new(Idle { busy: 0, since: Instant::now(), keep_alive, used: false }),
            moved: Notify::new(),
            last_will: LastWill::default(),
            executes: Once::new(),
            ending: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// How runs are contained here.
    pub const fn containment(&self) -> Containment {
        self.containment
    }

    /// The environment that every run begins with.
    pub fn environment(&self) -> &[(ByteBuf, ByteBuf)] {
        &self.environment
    }

    /// Whether `cargo NAME` is there as an external subcommand.
    pub fn has_subcommand(&self, name: &str) -> bool {
        let program = format!("cargo-{name}");
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo_home =
            std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain([cargo_home.join("bin")])
            .any(|directory| directory.join(&program).is_file())
    }

    /// Whom builds run as, where that is somebody else.
    pub const fn build_user(&self) -> Option<&BuildUser> {
        match &self.disks {
            Disks::Shared(_) => None,
            Disks::Volumes(volumes) => Some(volumes.owner()),
        }
    }

    /// The project of this name, on its disk. `gone` ends the wait for the disk.
    pub fn slot(
        &self,
        name: &RelativePath,
        device: Option<&FileName>,
        gone: impl Fn() -> bool,
    ) -> Result<Arc<Slot>, AgentError> {
        let directory = match (&self.disks, device) {
            (Disks::Shared(disk), None) => disk.join("projects").join(Project::key(name)),
            (Disks::Volumes(volumes), Some(device)) => volumes.mounted(device, gone)?,
            (Disks::Shared(_), Some(_)) => return Err(AgentError::Disk("has no volumes")),
            (Disks::Volumes(_), None) => return Err(AgentError::Disk("needs a volume")),
        };
        let mut slots = lock(&self.slots);
        let slot = slots.entry(name.clone()).or_insert_with(|| {
            Arc::new(Slot {
                queue: RunQueue::default(),
                name: name.clone(),
                directory,
                project: Mutex::default(),
                writing: Mutex::default(),
                artifacts: Mutex::default(),
            })
        });
        Ok(slot.clone())
    }

    /// Lets go of a disk, if nobody uses it.
    pub fn release(&self, device: &FileName) -> Result<(), AgentError> {
        let Disks::Volumes(volumes) = &self.disks else {
            return Err(AgentError::Disk("has no volumes"));
        };
        let directory = volume::project_on(device);
        let mut slots = lock(&self.slots);
        let on_it = slots.values().find(|slot| slot.directory == directory).cloned();
        if let Some(slot) = &on_it {
            if slot.queue.is_busy() {
                return Err(AgentError::Disk("is in use"));
            }
            slot.close();
        }
        volumes.release(&directory)?;
        slots.retain(|_, slot| slot.directory != directory);
        Ok(())
    }

    /// Somebody looks after this server. An agent beside its user needs nobody.
    pub fn renew(self: &Arc<Self>, lease: Lease) {
        if matches!(self.disks, Disks::Shared(_)) {
            return;
        }
        self.last_will.renew(lease);
        self.executes.call_once(|| {
            let agent = self.clone();
            std::thread::spawn(move || agent.last_will.execute());
        });
    }

    /// Counts as work until dropped.
    pub fn busy(self: &Arc<Self>, keep_alive_secs: Option<u64>) -> Busy {
        let mut idle = lock(&self.idle);
        idle.busy += 1;
        idle.used = true;
        if let (Some(keep_alive), Some(secs)) = (&mut idle.keep_alive, keep_alive_secs) {
            *keep_alive = Duration::from_secs(secs);
        }
        Busy(self.clone())
    }

    /// Lets the agent end this run when it ends itself.
    pub fn watch(&self, input: &Arc<Mutex<Input>>) {
        let mut runs = lock(&self.runs);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(input));
    }

    /// What `status` shows.
    pub fn status(&self) -> AgentStatus {
        let idle = lock(&self.idle);
        let rest = idle.rest().filter(|_| idle.busy == 0);
        let ends_in_secs = rest.map(|rest| rest.as_secs());
        drop(idle);
        let mut projects = Vec::new();
        for directory in self.directories() {
            let Some(project) = Project::name_of(&directory) else { continue };
            let used = std::fs::metadata(directory.join("index")).and_then(|file| file.modified());
            let idle = used.ok().and_then(|used| SystemTime::now().duration_since(used).ok());
            let runs = lock(&self.slots).get(&project).map(|slot| slot.queue.titles());
            projects.push(ProjectStatus {
                project,
                idle_secs: idle.unwrap_or_default().as_secs(),
                runs: runs.unwrap_or_default(),
            });
        }
        projects.sort_by(|a, b| a.project.cmp(&b.project));
        AgentStatus {
            version: VERSION.into(),
            pid: std::process::id(),
            up_secs: self.started.elapsed().as_secs(),
            ends_in_secs,
            projects,
        }
    }

    /// Where projects are.
    fn directories(&self) -> Vec<PathBuf> {
        match &self.disks {
            Disks::Shared(disk) => {
                let entries = std::fs::read_dir(disk.join("projects")).into_iter().flatten();
                entries.flatten().map(|entry| entry.path()).collect()
            }
            Disks::Volumes(_) => {
                lock(&self.slots).values().map(|slot| slot.directory.clone()).collect()
            }
        }
    }

    /// Ends every run, and the agent when the asking session is over. Volumes are
    /// let go; they are not ours to delete.
    pub fn end(&self, with_volumes: bool) -> Result<(), AgentError> {
        self.ending.store(true, Ordering::Relaxed);
        self.kill_runs();
        let asked = Instant::now();
        let waits = with_volumes || matches!(self.disks, Disks::Volumes(_));
        while waits && self.is_busy() && asked.elapsed() < END_DEADLINE {
            std::thread::sleep(Duration::from_millis(20));
        }
        match &self.disks {
            Disks::Shared(disk) if with_volumes => {
                let path = disk.join("projects");
                match std::fs::remove_dir_all(&path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(AgentError::State { path, source });
                    }
                    _ => {}
                }
            }
            Disks::Shared(_) => {}
            Disks::Volumes(volumes) => {
                for slot in lock(&self.slots).values() {
                    slot.close();
                    volumes.release(&slot.directory)?;
                }
            }
        }
        self.moved.notify_one();
        Ok(())
    }

    fn is_busy(&self) -> bool {
        lock(&self.slots).values().any(|slot| slot.queue.is_busy())
    }

    fn kill_runs(&self) {
        for run in lock(&self.runs).iter().filter_map(Weak::upgrade) {
            lock(&run).kill();
        }
    }

    /// Returns when the agent has been idle for long enough or is to end.
    async fn until_idle(&self) {
        loop {
            if self.ending.load(Ordering::Relaxed) {
                return;
            }
            let wait = {
                let idle = lock(&self.idle);
                match idle.busy {
                    0 => idle.rest().unwrap_or(Duration::MAX),
                    _ => Duration::MAX,
                }
            };
            if wait.is_zero() {
                return;
            }
            // Woken early or not, look again.
            drop(
                tokio::time::timeout(wait.min(Duration::from_secs(3600)), self.moved.notified())
                    .await,
            );
        }
    }
}

/// Work under way.
#[derive(Debug)]
pub struct Busy(Arc<Agent>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut idle = lock(&self.0.idle);
        idle.busy -= 1;
        idle.since = Instant::now();
        drop(idle);
        self.0.moved.notify_one();
    }
}

impl Slot {
    /// The project, opened if it is not. Nobody else has it meanwhile.
    pub fn project(&self) -> Result<OpenProject<'_>, AgentError> {
        let mut guard = lock(&self.project);
        if !guard.as_ref().is_some_and(Project::is_there) {
            *guard = Some(Project::open(&self.directory, &self.name)?);
        }
        Ok(OpenProject(guard))
    }

    /// Forgets what is known of the project: the next use looks at its disk.
    pub fn close(&self) {
        *lock(&self.project) = None;
    }

    /// Before a run on a disk that can go at any time.
    pub fn mark_writing(&self) -> Result<(), AgentError> {
        let mut writing = lock(&self.writing);
        power_cut::mark(&self.directory)
            .map_err(|source| AgentError::State { path: self.directory.clone(), source })?;
        *writing += 1;
        Ok(())
    }

    /// After it: when no run writes any more, all is forced to the disk. That takes a
    /// while, and nobody has to wait for it.
    pub fn settle_writing(self: &Arc<Self>) {
        let slot = self.clone();
        *lock(&slot.writing) -= 1;
        std::thread::spawn(move || {
            let flushed = volume::flush(&slot.directory);
            let writing = lock(&slot.writing);
            if *writing > 0 {
                return;
            }
            if let Err(error) = flushed.and_then(|()| power_cut::settle(&slot.directory)) {
                tracing::warn!("a run's mark stays: {error}");
            }
        });
    }

    /// Where its disk is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is known of the files in target directories.
    pub fn artifact_cache(&self) -> MutexGuard<'_, HashMap<PathBuf, StatCache>> {
        lock(&self.artifacts)
    }
}

/// A project that is open.
#[derive(Debug)]
pub struct OpenProject<'a>(MutexGuard<'a, Option<Project>>);

impl Deref for OpenProject<'_> {
    type Target = Project;

    #[expect(clippy::expect_used, reason = "Slot::project is the only maker and has filled it")]
    fn deref(&self) -> &Project {
        self.0.as_ref().expect("filled by Slot::project")
    }
}

impl DerefMut for OpenProject<'_> {
    #[expect(clippy::expect_used, reason = "Slot::project is the only maker and has filled it")]
    fn deref_mut(&mut self) -> &mut Project {
        self.0.as_mut().expect("filled by Slot::project")
    }
}

/// A lock whose holder panicked still guards data that is whole: nothing here is
/// left half-way between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells whoever started us, on standard output, where we listen.
pub fn announce(address: SocketAddr) {
    let mut stdout = std::io::stdout();
    // Nobody may be reading any more; the address file says it too.
    drop(writeln!(stdout, "ready {address}").and_then(|()| stdout.flush()));
}
