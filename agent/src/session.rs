//! One request of one client, from its first message to its end.
//!
//! A session is plain blocking code on a thread of its own. A run goes through a
//! place in the project ([`crate::queue`]), the sync, the cargo calls
//! ([`crate::steps`]), and what they left behind. While cargo runs, one more
//! thread takes the client's messages; it hands back the first that is not for
//! the run.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use burst_protocol::limit::{CHANGES_PER_MESSAGE_MAX, OUTPUT_WINDOW_BYTES};
use burst_protocol::message::{Artifact, Blob, Ending, Fetch, FromAgent, FromShim, RunRequest};
use burst_protocol::tree::{Change, Entry};
use burst_protocol::{Digest, RelativePath};
use burst_sync::SyncError;
use burst_sync::apply::Applied;
use burst_sync::blobs;
use burst_sync::clock::Moment;
use burst_sync::flow_control::SendWindow;
use burst_sync::root_directory::RootDirectory;
use burst_sync::wire::{Incoming, Outgoing};

use crate::agent::Agent;
use crate::artifacts;
use crate::client::Client;
use crate::error::{AgentError, out_of_turn};
use crate::invocations::{Invocations, handle_messages};
use crate::layout::Layout;
use crate::returned_copies::{COPIED_BYTES_MAX, ReturnedCopies};
use crate::run::control::RunInput;
use crate::shared_project::SharedProject;

/// A changed source file larger than this stays on the agent, and is named.
const CHANGED_FILE_BYTES_MAX: u64 = 64 << 20;

/// So does what goes beyond this in all.
const CHANGED_BYTES_MAX: u64 = 256 << 20;

/// Serves a stream. The request ends early if `client` leaves.
pub(crate) fn serve(
    agent: &Arc<Agent>,
    mut incoming: Incoming,
    outgoing: &Outgoing,
    client: &Client,
) {
    let served = match incoming.message() {
        Ok(FromShim::Run(request)) => {
            let _busy = agent.busy(request.keep_alive_secs);
            Session { agent, request: &request, outgoing, client }.run(incoming)
        }
        Ok(FromShim::Status) => outgoing
            .message(&FromAgent::Status(agent.status()))
            .and_then(|()| outgoing.message(&FromAgent::Done))
            .map_err(AgentError::from),
        Ok(FromShim::End { with_volumes }) => {
            let ended = agent.end(with_volumes);
            ended.and_then(|()| Ok(outgoing.message(&FromAgent::Done)?))
        }
        Ok(FromShim::Release(device)) => {
            let released = agent.unmount(&device);
            released.and_then(|()| Ok(outgoing.message(&FromAgent::Done)?))
        }
        Ok(FromShim::Lease(lease)) => {
            let renewed = agent.renew_lease(lease);
            renewed.and_then(|()| Ok(outgoing.message(&FromAgent::Done)?))
        }
        Ok(other) => Err(out_of_turn(&other).into()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = served {
        tracing::warn!("a session failed: {error}");
        // A client that is gone needs no explanation.
        drop(outgoing.message(&FromAgent::Failed(error.failure())));
    }
}

struct Session<'a> {
    agent: &'a Arc<Agent>,
    request: &'a RunRequest,
    outgoing: &'a Outgoing,
    client: &'a Client,
}

/// What a run offers to its client.
#[derive(Default)]
struct ReturnSet {
    changes: Vec<Change>,
    artifacts: Vec<Artifact>,
    withheld: Vec<(RelativePath, u64)>,
    /// Where the artifacts are.
    target: PathBuf,
}

impl Session<'_> {
    fn run(&self, mut incoming: Incoming) -> Result<(), AgentError> {
        let shared =
            self.agent.project(&self.request.project, self.request.device.as_ref(), self.client)?;
        if let Some(user) = self.agent.host().build_user() {
            // From here on this thread and those it starts touch files as the user
            // who runs builds: what a build has put in our way leads nowhere.
            user.assume_file_access();
        }
        let waiting = |holder: &str| {
            // If this fails, the client is gone, and its departure ends the wait.
            drop(self.outgoing.message(&FromAgent::Waiting { holder: holder.to_owned() }));
        };
        let admission = shared
            .queue
            .enter(self.request.root, &self.request.title, waiting, self.client)
            .ok_or(SyncError::Gone)?;
        let applied = self
            .sync(&shared, admission.exclusive, &mut incoming)
            .inspect_err(|_| shared.close())?;
        admission.set_state(self.request.root);
        let Applied { written, removed, .. } = applied;
        self.outgoing.message(&FromAgent::Synced { written, removed })?;
        if self.request.invocations.is_empty() {
            self.outgoing.message(&FromAgent::Finished(Ending::Exited(0)))?;
            shared.project()?.save()?;
            return self.finish(&shared, &ReturnSet::default(), incoming, None);
        }
        let layout = Layout::new(self.agent.host(), self.request, &mut *shared.project()?)?;
        self.outgoing.message(&FromAgent::Started { notice: layout.notice.clone() })?;
        let is_volume = self.agent.host().build_user().is_some();
        if is_volume {
            shared.begin_writing()?;
        }
        let (outcome, listener) = self.run_cargo(&shared, &layout, incoming);
        if is_volume {
            shared.end_writing();
        }
        let return_set = self.collect_return_set(
            &shared,
            &layout,
            outcome.as_ref().ok().map(|(_, named)| named),
        )?;
        let root = shared.project()?.root();
        let ending = match outcome {
            _ if self.client.is_gone() => Err(SyncError::Gone.into()),
            Err(error) => Err(error),
            Ok((ending, _)) => Ok(ending),
        };
        let finished = ending.and_then(|ending| {
            self.announce(&return_set, ending)?;
            let (incoming, message) = listener.join().map_err(|_| SyncError::Gone)?;
            self.finish(&shared, &return_set, incoming, message)
        });
        if finished.is_err() {
            // The client has taken nothing that we know of.
            shared.project()?.record_return(&return_set.changes, &BTreeSet::new());
        }
        let mut project = shared.project()?;
        if project.root() != root {
            admission.set_state(project.root());
        }
        project.save()?;
        finished
    }

    fn sync(
        &self,
        shared: &SharedProject,
        exclusive: bool,
        incoming: &mut Incoming,
    ) -> Result<Applied, AgentError> {
        let mut project = shared.project()?;
        if exclusive {
            let applied = project.sync(self.request, incoming, self.outgoing)?;
            wait_for_tick_after(applied.latest);
            return Ok(applied);
        }
        if self.request.offers_changes {
            project.skip_offer(incoming)?;
        }
        Ok(Applied::default())
    }

    /// Runs cargo, with the client's messages on another thread. That thread
    /// ends with the first message that is not for the run, which comes when the
    /// client knows how the run ended, or when the client is gone.
    #[expect(clippy::type_complexity, reason = "the parts of one outcome")]
    fn run_cargo(
        &self,
        shared: &SharedProject,
        layout: &Layout,
        incoming: Incoming,
    ) -> (Result<(Ending, BTreeSet<PathBuf>), AgentError>, JoinHandle<(Incoming, Option<FromShim>)>)
    {
        let input = Arc::new(Mutex::new(RunInput::default()));
        self.agent.register_run(&input);
        let output = Arc::new(SendWindow::new(OUTPUT_WINDOW_BYTES));
        let listener = std::thread::spawn({
            let (input, output) = (input.clone(), output.clone());
            move || handle_messages(incoming, &input, &output)
        });
        let mut invocations =
            Invocations::new(self.agent.host(), self.request, layout, self.outgoing, input, output);
        let mut run = || {
            let mut ending = Ending::Exited(0);
            for (index, invocation) in self.request.invocations.iter().enumerate() {
                if ending != Ending::Exited(0) || invocations.is_interrupted() {
                    break;
                }
                let Some(running) = invocations.start(invocation)? else { continue };
                if index == 0 {
                    // Off the way of the run: remember what the sync changed.
                    shared.project()?.save()?;
                }
                ending = invocations.wait(running)?;
            }
            Ok(ending)
        };
        let ending: Result<Ending, AgentError> = run();
        (ending.map(|ending| (ending, invocations.into_named())), listener)
    }

    /// Looks at what the run has left: changed sources, then artifacts.
    fn collect_return_set(
        &self,
        shared: &SharedProject,
        layout: &Layout,
        named: Option<&BTreeSet<PathBuf>>,
    ) -> Result<ReturnSet, AgentError> {
        let mut return_set = ReturnSet { target: layout.target.clone(), ..ReturnSet::default() };
        let changes = {
            let mut project = shared.project()?;
            let changes = project.changes_of_run()?;
            // What was there before and is not the client's stays as it is.
            let untracked_removals = |change: &Change| matches!(change, Change::Remove { path } if project.manifest().get(path).is_none());
            changes.into_iter().filter(|change| !untracked_removals(change)).collect::<Vec<_>>()
        };
        let mut bytes = 0;
        for change in changes {
            if let Change::Put { path, entry: Entry::File(file) } = &change {
                let fits = bytes + file.size <= CHANGED_BYTES_MAX;
                if file.size > CHANGED_FILE_BYTES_MAX || !fits {
                    return_set.withheld.push((path.clone(), file.size));
                    continue;
                }
                bytes += file.size;
            }
            return_set.changes.push(change);
        }
        if let Some(named) = named {
            let mut cache = shared.artifact_cache();
            let cache = cache.entry(layout.target.clone()).or_default();
            return_set.artifacts = artifacts::collect(
                &layout.target,
                &layout.target_seen,
                named,
                self.request.returns,
                cache,
            )?;
        }
        Ok(return_set)
    }

    fn announce(&self, return_set: &ReturnSet, ending: Ending) -> Result<(), AgentError> {
        for piece in return_set.changes.chunks(CHANGES_PER_MESSAGE_MAX) {
            self.outgoing.message(&FromAgent::Changed(piece.to_vec()))?;
        }
        for piece in return_set.artifacts.chunks(CHANGES_PER_MESSAGE_MAX) {
            self.outgoing.message(&FromAgent::Artifacts(piece.to_vec()))?;
        }
        for (path, size) in &return_set.withheld {
            let (path, size) = (path.clone(), *size);
            self.outgoing.message(&FromAgent::Withheld { path, size })?;
        }
        Ok(self.outgoing.message(&FromAgent::Finished(ending))?)
    }

    /// Serves what the client fetches until it is done.
    fn finish(
        &self,
        shared: &SharedProject,
        return_set: &ReturnSet,
        mut incoming: Incoming,
        first: Option<FromShim>,
    ) -> Result<(), AgentError> {
        let mut adopted = BTreeSet::new();
        let mut next = first;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => incoming.message()?,
            };
            match message {
                FromShim::Fetch(wanted) => self.send_fetched(shared, return_set, &wanted)?,
                FromShim::Adopted(indices) => {
                    adopted.extend(indices.into_iter().map(|index| index as usize));
                }
                // Sent before the client knew that the run was over.
                FromShim::Input(_)
                | FromShim::InputEnd
                | FromShim::Signal(_)
                | FromShim::Resize(_) => {}
                FromShim::Done => break,
                other => return Err(out_of_turn(&other).into()),
            }
        }
        shared.project()?.record_return(&return_set.changes, &adopted);
        Ok(self.outgoing.message(&FromAgent::Done)?)
    }

    fn send_fetched(
        &self,
        shared: &SharedProject,
        return_set: &ReturnSet,
        wanted: &[Fetch],
    ) -> Result<(), AgentError> {
        let tree = shared.project()?.tree();
        let mut sources: HashMap<Digest, (PathBuf, RelativePath, u64)> = HashMap::new();
        for change in &return_set.changes {
            if let Change::Put { path, entry: Entry::File(file) } = change {
                sources.insert(file.digest, (tree.clone(), path.clone(), file.size));
            }
        }
        for artifact in &return_set.artifacts {
            let place = (return_set.target.clone(), artifact.path.clone(), artifact.file.size);
            sources.insert(artifact.file.digest, place);
        }
        let copies = ReturnedCopies::open(&shared.directory().join("returned"))?;
        for fetch in wanted {
            let (root, path, size) =
                sources.get(&fetch.digest).ok_or(SyncError::MissingBlob(fetch.digest))?;
            self.send_one(fetch, root, path, *size, &copies)?;
        }
        copies.trim()?;
        Ok(self.outgoing.message(&FromAgent::BlobsEnd)?)
    }

    fn send_one(
        &self,
        fetch: &Fetch,
        root: &std::path::Path,
        path: &RelativePath,
        size: u64,
        copies: &ReturnedCopies,
    ) -> Result<(), AgentError> {
        let announce = |content: Blob| self.outgoing.message(&FromAgent::Blob(content));
        let unreadable = |source| AgentError::from(SyncError::Read { path: path.clone(), source });
        let handle = RootDirectory::open(root)?;
        if self.request.compress_large && size <= COPIED_BYTES_MAX {
            let content = handle.read(path, size).map_err(unreadable)?;
            let base = fetch.base.and_then(|base| Some((base, copies.get(&base)?)));
            copies.keep(fetch.digest, &content)?;
            if let Some((base, held)) = base {
                let cap = usize::MAX;
                let base = (base, held.as_slice());
                if blobs::send_patch(self.outgoing, &announce, fetch.digest, &content, base, cap)? {
                    return Ok(());
                }
            }
        }
        let mut file = handle.open_file(path).map_err(unreadable)?;
        blobs::send_whole(
            self.outgoing,
            &announce,
            fetch.digest,
            size,
            &mut file,
            self.request.compress_large,
        )?;
        Ok(())
    }
}

/// Waits, a few milliseconds at most, until the kernel's clock has gone past a
/// stamp. Whatever the run writes then bears a later time than what the sync
/// wrote, so neither cargo nor the scan after the run can confuse the two.
fn wait_for_tick_after(stamp: Option<Moment>) {
    const TICKS_MAX: u32 = 50;
    let Some(stamp) = stamp else { return };
    for _ in 0..TICKS_MAX {
        if Moment::coarse_now() > stamp {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
