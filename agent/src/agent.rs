//! The state of an agent process: its disks, projects and runs, and when it ends.
//!
//! A local agent ends after it has been idle for its keep-alive time; every agent ends when
//! it is asked to. Connections belong to [`crate::server`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use burst_protocol::message::{AgentStatus, Lease, ProjectStatus};
use burst_protocol::{FileName, RelativePath};
use burst_sync::clock::Moment;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::client::Client;
use crate::clock_watch::ClockWatch;
use crate::collection;
use crate::copies::{self, project_copies};
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::last_will::LastWill;
use crate::lock::lock;
use crate::log;
use crate::project::{Project, project_key};
use crate::resumption::Resumptions;
use crate::run::control::RunInput;
use crate::shared_project::SharedProject;
use crate::volume::{self, Volumes};

/// How long killed runs may take to end when the agent is asked to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// How long an agent waits at least for its first client.
const FIRST_USE_WAIT: Duration = Duration::from_secs(10);

/// The longest wait of an idle agent between two looks at the clock.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// How long after the last run of a project its files are written to a shared disk. By then
/// the kernel has written them, so that the rest costs little, while commands that follow
/// each other never wait for the disk. A server can be deleted at any time, so volumes are
/// written at once.
const SHARED_FLUSH_AFTER: Duration = Duration::from_secs(60);

/// The number of projects that stay open while no run uses them. An open project takes about
/// a dozen descriptors and the memory of its tree; one that was closed is read again by its
/// next run.
const IDLE_PROJECTS_OPEN_MAX: usize = 8;

/// The version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    disks: Disks,
    host: Host,
    projects: Mutex<HashMap<RelativePath, Arc<SharedProject>>>,
    runs: Mutex<Vec<Weak<Mutex<RunInput>>>>,
    idle: Mutex<Idle>,
    /// Notified when the idle time has to be computed again.
    changed: Notify,
    /// Notified when `idle.busy` decreases.
    work_ended: Condvar,
    last_will: LastWill,
    resumptions: Arc<Resumptions>,
    /// How often a client is told that its request is worked on.
    report_interval: Duration,
    ending: AtomicBool,
    /// The number of the last run.
    last_run: AtomicU64,
    started: Instant,
}

/// Where projects are stored.
#[derive(Debug)]
pub(crate) enum Disks {
    /// All below one directory, each in `projects/KEY`.
    Shared(PathBuf),
    /// Each on a volume of its own, on a server.
    Volumes(Volumes),
}

#[derive(Debug)]
struct Idle {
    /// Runs, from request to end.
    busy: usize,
    since: Instant,
    /// The idle time after which the agent ends; none if it does not end by itself.
    keep_alive: Option<Duration>,
    /// Whether the agent has had a run.
    used: bool,
}

impl Idle {
    /// The time until the agent ends if it stays idle; none if it does not end by itself.
    fn time_left(&self) -> Option<Duration> {
        let least = if self.used { Duration::ZERO } else { FIRST_USE_WAIT };
        Some(self.keep_alive?.max(least).saturating_sub(self.since.elapsed()))
    }
}

impl Agent {
    /// An agent on this host, with these disks. It ends after it has been idle for
    /// `keep_alive`, or only when asked to if that is none.
    pub(crate) fn new(
        host: Host,
        disks: Disks,
        keep_alive: Option<Duration>,
        report_interval: Duration,
    ) -> Result<Self, AgentError> {
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
            resumptions: Arc::default(),
            report_interval,
            ending: AtomicBool::new(false),
            last_run: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    /// The machine on which the agent runs.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the agent runs on its clients' machine.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.disks, Disks::Shared(_))
    }

    /// The streams that go on when their connection breaks.
    pub(crate) const fn resumptions(&self) -> &Arc<Resumptions> {
        &self.resumptions
    }

    /// How often a client is told that its request is worked on.
    pub(crate) const fn report_interval(&self) -> Duration {
        self.report_interval
    }

    /// The project of this name. Mounts its volume first where the agent has volumes; if
    /// `client` leaves, the wait for the volume ends with an error.
    pub(crate) fn project(
        &self,
        name: &RelativePath,
        device: Option<&FileName>,
        client: &Client,
    ) -> Result<Arc<SharedProject>, AgentError> {
        let directory = match (&self.disks, device) {
            (Disks::Shared(disk), None) => disk.join("projects").join(project_key(name)),
            (Disks::Volumes(volumes), Some(device)) => {
                volumes.mount(device, client, |directory| self.forget_project_in(directory))?
            }
            (Disks::Shared(_), Some(_)) => return Err(AgentError::NoVolumes),
            (Disks::Volumes(_), None) => return Err(AgentError::VolumeRequired),
        };
        let flush_after = match &self.disks {
            Disks::Shared(_) => SHARED_FLUSH_AFTER,
            Disks::Volumes(_) => Duration::ZERO,
        };
        let known = lock(&self.projects).get(name).map(|known| known.directory().to_owned());
        if let (Disks::Volumes(volumes), Some(old)) = (&self.disks, known)
            && old != directory
        {
            // The project has got another volume: the old one was deleted.
            self.forget_project_in(&old);
            volumes.abandon(&old);
        }
        let mut projects = lock(&self.projects);
        let project = projects
            .entry(name.clone())
            .or_insert_with(|| Arc::new(SharedProject::new(name.clone(), directory, flush_after)));
        Ok(project.clone())
    }

    /// Closes the project in a directory whose volume has lost its device, for good.
    fn forget_project_in(&self, directory: &Path) {
        let mut stale = Vec::new();
        lock(&self.projects).retain(|_, project| {
            let is_there = project.directory() == directory;
            stale.extend(is_there.then(|| project.clone()));
            !is_there
        });
        // One that a run uses is closed when that run has failed.
        for project in stale.iter().filter(|project| !project.queue.is_busy()) {
            project.close();
        }
    }

    /// Closes the projects that were used longest ago, but for [`IDLE_PROJECTS_OPEN_MAX`].
    fn close_idle_projects(&self) {
        let projects: Vec<_> = lock(&self.projects).values().cloned().collect();
        let mut open: Vec<_> =
            projects.iter().filter_map(|project| Some((project.opened()?, project))).collect();
        open.sort_unstable_by_key(|(used, _)| std::cmp::Reverse(*used));
        for (_, project) in open.iter().skip(IDLE_PROJECTS_OPEN_MAX) {
            project.close_if_idle();
        }
    }

    /// Unmounts the volume of a project that no run uses.
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

    /// Renews the lease of this server. A local agent has no lease and ignores it.
    pub(crate) fn renew_lease(&self, lease: Lease) -> Result<(), AgentError> {
        if self.is_local() {
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
            // What runs have left in memory outlives the server on its volumes.
            let settle = {
                let agent = agent.clone();
                move || agent.settle_disks()
            };
            if let Err(error) = agent.last_will.send_when_due(&runtime, settle) {
                tracing::error!("the timer of the lease failed: {error}");
            }
        });
    }

    /// Starts the thread that tells projects when the clock was set.
    pub(crate) fn watch_clock(self: &Arc<Self>) {
        let agent = self.clone();
        std::thread::spawn(move || {
            let watched = ClockWatch::new().and_then(|watch| {
                loop {
                    watch.wait()?;
                    let now = Moment::coarse_now();
                    for project in lock(&agent.projects).values() {
                        project.clock_was_set(now);
                    }
                }
            });
            let Err::<std::convert::Infallible, _>(error) = watched;
            tracing::warn!("changes of the clock are not noticed: {error}");
        });
    }

    /// Writes what runs have left in memory to the disks.
    pub(crate) fn settle_disks(&self) {
        let projects: Vec<_> = lock(&self.projects).values().cloned().collect();
        for project in projects {
            project.settle();
        }
    }

    /// Keeps the agent from being idle until the result is dropped; a `keep_alive_secs`
    /// replaces its keep-alive time.
    pub(crate) fn busy(self: &Arc<Self>, keep_alive_secs: Option<u64>) -> Busy {
        let mut idle = lock(&self.idle);
        idle.busy += 1;
        idle.used = true;
        if let (Some(keep_alive), Some(secs)) = (&mut idle.keep_alive, keep_alive_secs) {
            *keep_alive = Duration::from_secs(secs);
        }
        Busy(self.clone())
    }

    /// A number for a new run, which counts the runs of this process from 1.
    pub(crate) fn next_run(&self) -> u64 {
        self.last_run.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Registers a run, to be killed when the agent ends, or at once where it is about to.
    pub(crate) fn register_run(&self, input: &Arc<Mutex<RunInput>>) {
        let mut runs = lock(&self.runs);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(input));
        if self.is_ending() {
            // It has waited for one that was killed.
            lock(input).end_with_agent();
        }
    }

    /// The status of the agent and its projects.
    pub(crate) fn status(&self) -> AgentStatus {
        let idle = lock(&self.idle);
        let rest = idle.time_left().filter(|_| idle.busy == 0);
        let ends_in_secs = rest.map(|rest| rest.as_secs());
        drop(idle);
        let mut projects = Vec::new();
        for directory in self.directories() {
            let Some(project) = Project::name_of(&directory) else { continue };
            let used = Project::last_used(&directory);
            let idle = used.and_then(|used| SystemTime::now().duration_since(used).ok());
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

    /// Measures the projects of a shared disk on a thread, and deletes those beyond the limit
    /// in bytes that no run uses and that have no results for their clients.
    pub(crate) fn limit_copies(self: &Arc<Self>, limit: u64) {
        let Disks::Shared(disk) = &self.disks else { return };
        let (agent, disk) = (self.clone(), disk.clone());
        log::spawn(move || {
            let mut copies = project_copies(&disk);
            copies.iter_mut().for_each(copies::measure);
            for copy in copies::excess(copies, limit, copies::has_results) {
                let workspace = copy.workspace.display();
                match agent.delete_idle(&disk, &copy.directory) {
                    Ok(true) => {
                        tracing::info!(bytes = copy.bytes, "deleted the copy of `{workspace}`")
                    }
                    Ok(false) => tracing::debug!("the copy of `{workspace}` is in use"),
                    Err(error) => {
                        tracing::warn!("cannot delete the copy of `{workspace}`: {error}")
                    }
                }
            }
        });
    }

    /// Deletes a project unless a session uses it. Returns whether it did.
    fn delete_idle(&self, disk: &Path, directory: &Path) -> std::io::Result<bool> {
        let aside = {
            // Sessions get projects under this lock, so none begins to use it meanwhile.
            let mut projects = lock(&self.projects);
            let is_used = |project: &Arc<SharedProject>| {
                project.directory() == directory && Arc::strong_count(project) > 1
            };
            if projects.values().any(is_used) {
                return Ok(false);
            }
            projects.retain(|_, project| project.directory() != directory);
            collection::move_aside(disk, directory)?
        };
        std::fs::remove_dir_all(&aside)?;
        Ok(true)
    }

    /// The directories of all projects, of mounted ones where the agent has volumes.
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

    /// Kills every run. A local agent ends then; its shared directory is deleted if
    /// `with_volumes`. The agent of a server unmounts all volumes and stays: the shim deletes the
    /// server, and until then this process keeps its last will.
    pub(crate) fn end(&self, with_volumes: bool) -> Result<(), AgentError> {
        self.refuse_work();
        self.end_runs(RunInput::end_with_agent);
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
                let unmounted = self.unmount_all(volumes);
                self.resumptions.begin();
                self.ending.store(false, Ordering::Relaxed);
                return unmounted;
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    fn unmount_all(&self, volumes: &Volumes) -> Result<(), AgentError> {
        let mut projects = lock(&self.projects);
        close_all(&mut projects, |directory| volumes.unmount(directory))
    }

    /// Refuses new requests from now on.
    pub(crate) fn refuse_work(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether new requests are refused.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Kills every run at once. No client whose connection has broken is waited for any more.
    pub(crate) fn kill_runs(&self) {
        self.end_runs(RunInput::kill);
    }

    fn end_runs(&self, end: impl Fn(&mut RunInput)) {
        self.resumptions.end();
        for run in lock(&self.runs).iter().filter_map(Weak::upgrade) {
            end(&mut lock(&run));
        }
    }

    /// Returns when the agent has been idle for its keep-alive time, or was asked to end. That of
    /// a server does neither.
    pub(crate) async fn until_idle(&self) {
        loop {
            if self.is_ending() && self.is_local() {
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
            // After a notification or the timeout, the time left is computed again.
            let wait = wait.min(IDLE_CHECK_INTERVAL);
            drop(tokio::time::timeout(wait, self.changed.notified()).await);
        }
    }
}

/// Closes all projects, unmounts the volume of each and forgets them: one that cannot be unmounted
/// holds up no other one, and its next use opens it anew. Returns the first error; the others
/// are logged.
fn close_all(
    projects: &mut HashMap<RelativePath, Arc<SharedProject>>,
    unmount: impl Fn(&Path) -> Result<(), AgentError>,
) -> Result<(), AgentError> {
    let mut unmounted = Ok(());
    for (_, project) in projects.drain() {
        project.close();
        if let Err(error) = unmount(project.directory()) {
            tracing::warn!("cannot unmount a volume: {error}");
            unmounted = unmounted.and(Err(error));
        }
    }
    unmounted
}

/// One run, for which the agent stays alive.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Agent>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut idle = lock(&self.0.idle);
        idle.busy -= 1;
        idle.since = Instant::now();
        drop(idle);
        self.0.close_idle_projects();
        self.0.work_ended.notify_all();
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_in_use_holds_up_no_other_one() {
        let project = |name: &str| {
            let path = RelativePath::new(name.as_bytes()).unwrap();
            let directory = Path::new("/mnt/burst").join(name).join("project");
            let shared = SharedProject::new(path.clone(), directory, Duration::ZERO);
            (path, Arc::new(shared))
        };
        let mut projects: HashMap<_, _> = ["a", "b", "c"].map(project).into();
        let asked = Mutex::new(Vec::new());
        let in_use = |directory: &Path| Err(AgentError::VolumeInUse(directory.to_owned()));
        let ended = close_all(&mut projects, |directory| {
            lock(&asked).push(directory.to_owned());
            in_use(directory)
        });
        assert!(matches!(ended, Err(AgentError::VolumeInUse(_))), "{ended:?}");
        let mut asked = asked.into_inner().unwrap();
        asked.sort();
        let expected =
            ["a", "b", "c"].map(|name| PathBuf::from(format!("/mnt/burst/{name}/project")));
        assert_eq!(asked, expected);
        assert!(projects.is_empty());
    }
}
