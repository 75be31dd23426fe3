//! What an agent has: its disks, its projects, its runs, and how long it stays.
//!
//! It ends by itself when it has been idle for as long as it was told to stay, and when
//! it is asked to. How it is reached is [`crate::server`]'s.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use burst_protocol::message::{AgentStatus, Lease, ProjectStatus};
use burst_protocol::{FileName, RelativePath};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::client::Client;
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::last_will::LastWill;
use crate::lock::lock;
use crate::project::{Project, project_key};
use crate::run::control::RunInput;
use crate::shared_project::SharedProject;
use crate::volume::{self, Volumes};

/// How long runs may take to end when the agent is asked to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// How long an agent waits at least for whoever has started it.
const FIRST_USE_WAIT: Duration = Duration::from_secs(10);

/// The program version, for people.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    disks: Disks,
    host: Host,
    projects: Mutex<HashMap<RelativePath, Arc<SharedProject>>>,
    runs: Mutex<Vec<Weak<Mutex<RunInput>>>>,
    idle: Mutex<Idle>,
    /// Notified when the agent may end by itself.
    changed: Notify,
    /// Notified when `idle.busy` goes down.
    work_ended: Condvar,
    last_will: LastWill,
    ending: AtomicBool,
    started: Instant,
}

/// Where projects are kept.
#[derive(Debug)]
pub(crate) enum Disks {
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
    fn time_left(&self) -> Option<Duration> {
        let least = if self.used { Duration::ZERO } else { FIRST_USE_WAIT };
        Some(self.keep_alive?.max(least).saturating_sub(self.since.elapsed()))
    }
}

impl Agent {
    /// One with these disks, that stays for so long when it is idle; none: for ever.
    pub(crate) fn new(disks: Disks, keep_alive: Option<Duration>) -> Result<Self, AgentError> {
        let host = Host::probe(match &disks {
            Disks::Shared(_) => None,
            Disks::Volumes(volumes) => Some(volumes.owner().clone()),
        });
        Ok(Self {
            host,
            disks,
            projects: Mutex::default(),
            runs: Mutex::default(),
            idle: Mutex::new(Idle { busy: 0, since: Instant::now(), keep_alive, used: false }),
            changed: Notify::new(),
            work_ended: Condvar::new(),
            last_will: LastWill::new().map_err(|source| AgentError::Start {
                what: "the timer of the lease".into(),
                source,
            })?,
            ending: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    /// The machine of the agent.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The project of this name, on its disk. If `client` leaves, the wait for the disk ends.
    pub(crate) fn project(
        &self,
        name: &RelativePath,
        device: Option<&FileName>,
        client: &Client,
    ) -> Result<Arc<SharedProject>, AgentError> {
        let directory = match (&self.disks, device) {
            (Disks::Shared(disk), None) => disk.join("projects").join(project_key(name)),
            (Disks::Volumes(volumes), Some(device)) => volumes.mount(device, client)?,
            (Disks::Shared(_), Some(_)) => return Err(AgentError::NoVolumes),
            (Disks::Volumes(_), None) => return Err(AgentError::VolumeRequired),
        };
        let mut projects = lock(&self.projects);
        let project = projects
            .entry(name.clone())
            .or_insert_with(|| Arc::new(SharedProject::new(name.clone(), directory)));
        Ok(project.clone())
    }

    /// Lets go of a disk, if nobody uses it.
    pub(crate) fn unmount(&self, device: &FileName) -> Result<(), AgentError> {
        let Disks::Volumes(volumes) = &self.disks else {
            return Err(AgentError::NoVolumes);
        };
        let directory = volume::project_directory(device);
        let mut projects = lock(&self.projects);
        let on_it = projects.values().find(|project| project.directory() == directory).cloned();
        if let Some(project) = &on_it {
            if project.queue.is_busy() {
                return Err(AgentError::VolumeInUse(volume::device_path(device)));
            }
            project.close();
        }
        volumes.unmount(&directory)?;
        projects.retain(|_, project| project.directory() != directory);
        Ok(())
    }

    /// Somebody looks after this server. An agent beside its user needs nobody.
    pub(crate) fn renew_lease(&self, lease: Lease) -> Result<(), AgentError> {
        if matches!(self.disks, Disks::Shared(_)) {
            return Ok(());
        }
        self.last_will
            .renew(lease)
            .map_err(|source| AgentError::Start { what: "the timer of the lease".into(), source })
    }

    /// Starts the thread that sends the last will each time it is due. Has to be called
    /// within a tokio runtime.
    pub(crate) fn watch_lease(self: &Arc<Self>) {
        let (agent, runtime) = (self.clone(), Handle::current());
        std::thread::spawn(move || {
            if let Err(error) = agent.last_will.send_when_due(&runtime) {
                tracing::error!("the timer of the lease failed: {error}");
            }
        });
    }

    /// Counts as work until dropped.
    pub(crate) fn busy(self: &Arc<Self>, keep_alive_secs: Option<u64>) -> Busy {
        let mut idle = lock(&self.idle);
        idle.busy += 1;
        idle.used = true;
        if let (Some(keep_alive), Some(secs)) = (&mut idle.keep_alive, keep_alive_secs) {
            *keep_alive = Duration::from_secs(secs);
        }
        Busy(self.clone())
    }

    /// Lets the agent end this run when it ends itself.
    pub(crate) fn register_run(&self, input: &Arc<Mutex<RunInput>>) {
        let mut runs = lock(&self.runs);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(input));
    }

    /// What `status` shows.
    pub(crate) fn status(&self) -> AgentStatus {
        let idle = lock(&self.idle);
        let rest = idle.time_left().filter(|_| idle.busy == 0);
        let ends_in_secs = rest.map(|rest| rest.as_secs());
        drop(idle);
        let mut projects = Vec::new();
        for directory in self.directories() {
            let Some(project) = Project::name_of(&directory) else { continue };
            let used = std::fs::metadata(directory.join("index")).and_then(|file| file.modified());
            let idle = used.ok().and_then(|used| SystemTime::now().duration_since(used).ok());
            let runs = lock(&self.projects).get(&project).map(|project| project.queue.titles());
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
            Disks::Volumes(_) => lock(&self.projects)
                .values()
                .map(|project| project.directory().to_owned())
                .collect(),
        }
    }

    /// Ends every run, and the agent when the asking session is over. Volumes are
    /// let go; they are not ours to delete.
    pub(crate) fn end(&self, with_volumes: bool) -> Result<(), AgentError> {
        self.refuse_work();
        self.kill_runs();
        if with_volumes || matches!(self.disks, Disks::Volumes(_)) {
            let busy = |idle: &mut Idle| idle.busy > 0;
            // After the deadline, a disk that is still in use is reported as such.
            drop(self.work_ended.wait_timeout_while(lock(&self.idle), END_DEADLINE, busy));
        }
        match &self.disks {
            Disks::Shared(disk) if with_volumes => {
                let path = disk.join("projects");
                match std::fs::remove_dir_all(&path) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(AgentError::file(FileOperation::Remove, path)(source));
                    }
                    _ => {}
                }
            }
            Disks::Shared(_) => {}
            Disks::Volumes(volumes) => {
                for project in lock(&self.projects).values() {
                    project.close();
                    volumes.unmount(project.directory())?;
                }
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more work from now on.
    pub(crate) fn refuse_work(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether it takes no more work.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends every run, now.
    pub(crate) fn kill_runs(&self) {
        for run in lock(&self.runs).iter().filter_map(Weak::upgrade) {
            lock(&run).kill();
        }
    }

    /// Returns when the agent has been idle for long enough or is to end.
    pub(crate) async fn until_idle(&self) {
        loop {
            if self.is_ending() {
                return;
            }
            let wait = {
                let idle = lock(&self.idle);
                match idle.busy {
                    0 => idle.time_left().unwrap_or(Duration::MAX),
                    _ => Duration::MAX,
                }
            };
            if wait.is_zero() {
                return;
            }
            // Woken early or not, look again.
            drop(
                tokio::time::timeout(wait.min(Duration::from_secs(3600)), self.changed.notified())
                    .await,
            );
        }
    }
}

/// Work under way.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Agent>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut idle = lock(&self.0.idle);
        idle.busy -= 1;
        idle.since = Instant::now();
        drop(idle);
        self.0.work_ended.notify_all();
        self.0.changed.notify_one();
    }
}
