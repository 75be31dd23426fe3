//! One request of one client, from its first message to its end.
//!
//! A session is blocking code on a thread of its own. A run is admitted to the project
//! ([`crate::queue`]), syncs the tree, calls cargo ([`crate::invocations`]) and offers its
//! return set. While cargo runs, one more thread receives the client's messages and hands
//! back the first that is not for the run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burst_protocol::limit::OUTPUT_WINDOW_BYTES;
use burst_protocol::message::{
    Ending, FromAgent, FromShim, Invocation, Returns, RunRequest, Timestamp, WholeTarget,
};
use burst_protocol::tree::Change;
use burst_sync::SyncError;
use burst_sync::apply::Applied;
use burst_sync::clock::Moment;
use burst_sync::flow_control::SendWindow;
use burst_sync::stat_cache::StatCache;
use burst_sync::wire::{Incoming, Outgoing};
use tokio::runtime::Handle;

use crate::agent::Agent;
use crate::artifacts::named_paths::{self, Places};
use crate::artifacts::whole;
use crate::artifacts::{self, Named};
use crate::clean;
use crate::client::Client;
use crate::error::AgentError;
use crate::heartbeat::Heartbeat;
use crate::invocations::{Invocations, handle_messages};
use crate::layout::{self, Layout};
use crate::log;
use crate::port_connection;
use crate::project::Project;
use crate::queue::{Admission, Needs, RunQueue};
use crate::return_set::{Recipient, ReturnSet};
use crate::run::control::RunInput;
use crate::shared_project::SharedProject;
use crate::toolchain;

/// Serves the request of one stream. A run ends early if `client` leaves. Blocks: must not
/// run on a thread of the `runtime`, which moves the stream.
pub(crate) fn serve(
    runtime: Handle,
    agent: &Arc<Agent>,
    mut incoming: Incoming,
    outgoing: &Outgoing,
    client: &Client,
) {
    let done = |result: Result<(), AgentError>| {
        result.and_then(|()| Ok(outgoing.message(&FromAgent::Done)?))
    };
    let request = incoming.message();
    let heartbeat = Heartbeat::start(runtime, outgoing.clone(), agent.report_interval());
    let served = match request {
        Ok(FromShim::Run(request)) => {
            if let (Some(process), true) = (request.client, agent.is_local()) {
                client.is_process(process);
            }
            let _busy = agent.busy(request.keep_alive_secs);
            let number = agent.next_run();
            let project = request.project.absolute();
            let _span = tracing::info_span!("run", run = number, ?project).entered();
            let served = Session { agent, number, request: &request, outgoing, client }
                .run(incoming, heartbeat);
            return report(served, outgoing);
        }
        Ok(FromShim::Status) => {
            done(outgoing.message(&FromAgent::Status(agent.status())).map_err(AgentError::from))
        }
        Ok(FromShim::End { with_volumes }) => done(agent.end(with_volumes)),
        Ok(FromShim::Release(device)) => done(agent.unmount(&device)),
        Ok(FromShim::Connect(port)) => port_connection::serve(port, &mut incoming, outgoing),
        Ok(FromShim::Lease(lease)) => done(agent.renew_lease(lease)),
        Ok(other) => Err(SyncError::out_of_turn(&other).into()),
        Err(error) => Err(error.into()),
    };
    drop(heartbeat);
    report(served, outgoing);
}

/// Reports an error to the log and to the client.
fn report(served: Result<(), AgentError>, outgoing: &Outgoing) {
    if let Err(error) = served {
        tracing::warn!("the request failed: {}", error.messages().join(": "));
        // An error says that the client is gone.
        drop(outgoing.message(&FromAgent::Failed(error.failure())));
    }
}

struct Session<'a> {
    agent: &'a Arc<Agent>,
    /// The number of the run.
    number: u64,
    request: &'a RunRequest,
    outgoing: &'a Outgoing,
    client: &'a Client,
}

/// What a client has done with the offered changes, by their indices.
#[derive(Default)]
struct Answer {
    adopted: BTreeSet<u32>,
    declined: BTreeSet<u32>,
}

/// The thread that receives the client's messages during a run.
type Listener = JoinHandle<(Incoming, Option<FromShim>)>;

impl Session<'_> {
    fn run(&self, mut incoming: Incoming, heartbeat: Heartbeat) -> Result<(), AgentError> {
        let shared =
            self.agent.project(&self.request.project, self.request.device.as_ref(), self.client)?;
        if let Some(user) = self.agent.host().build_user() {
            // From here on this thread and those that it starts have the file rights of the
            // build user, so a link that a build has placed gains it nothing.
            user.assume_file_access();
        }
        // A run that joins others finds the tree as it is.
        let frees = shared.with(|project| Ok(project.has_declined(&self.request.freed)))?;
        let cleans = clean::cleans(&self.request.invocations);
        let admission = self.enter(&shared.queue, self.request.fresh_target || frees || cleans)?;
        let applied = self.sync(&shared, admission.exclusive, &mut incoming).inspect_err(|_| {
            if admission.exclusive {
                shared.close();
            }
        })?;
        if self.request.fresh_target {
            // Before other runs may join.
            shared.with(|project| project.clear_built(self.request))?;
        }
        // Beside cargo clean no other cargo may use the target directory.
        if !cleans {
            admission.open_to_others(self.request.root);
        }
        let Applied { written, removed, .. } = applied;
        self.outgoing.message(&FromAgent::Synced { written, removed })?;
        if self.request.invocations.is_empty() {
            self.return_without_run(&shared, incoming, heartbeat)?;
            // The client's next command may come as soon as it knows.
            drop(admission);
            return Ok(self.outgoing.message(&FromAgent::Done)?);
        }
        let layout =
            shared.with(|project| Layout::new(self.agent.host(), self.request, project))?;
        let clock = Moment::coarse_now();
        let clock = Timestamp { seconds: clock.seconds, nanoseconds: clock.nanoseconds };
        self.outgoing.message(&FromAgent::Started { notice: layout.notice.clone(), clock })?;
        let writing = shared.begin_writing()?;
        // Written like what cargo downloads, so a power cut does the same to it.
        shared.with(|project| layout::fill_cargo_home(self.agent.host(), self.request, project))?;
        shared.with(Project::begin_run)?;
        tracing::info!(
            "the tree is in sync, {written} files written, {removed} removed; starting cargo"
        );
        let output = Arc::new(SendWindow::new(OUTPUT_WINDOW_BYTES));
        let (outcome, listener) = self.run_cargo(&shared, &layout, incoming, &output);
        drop(writing);
        shared.with(Project::end_run)?;
        let named = outcome.as_ref().ok().map(|(_, named)| named);
        let (_turn, return_set) =
            match self.take_turn(&shared, &output).and_then(|(turn, changes)| {
                Ok((turn, self.collect_return_set(&shared, &layout, named, changes)?))
            }) {
                Ok(found) => found,
                // The error of the run is the cause and comes first.
                Err(error) => return Err(outcome.err().unwrap_or(error)),
            };
        let ending = match outcome {
            _ if self.client.is_gone() => Err(SyncError::Gone.into()),
            Err(error) => Err(error),
            Ok((ending, _)) => Ok(ending),
        };
        let finished = ending.and_then(|ending| {
            drop(heartbeat);
            return_set.announce(self.outgoing, ending)?;
            let (incoming, message) = listener.join().map_err(|_| SyncError::Gone)?;
            self.finish(&shared, &return_set, incoming, message)
        });
        let root = shared.with(|project| Ok(project.root()))?;
        admission.open_to_others(root);
        drop(admission);
        let told = finished.and_then(|()| Ok(self.outgoing.message(&FromAgent::Done)?));
        shared.with(Project::save)?;
        told
    }

    /// Offers what the client requests after a sync alone.
    fn return_without_run(
        &self,
        shared: &SharedProject,
        incoming: Incoming,
        heartbeat: Heartbeat,
    ) -> Result<(), AgentError> {
        let return_set = match self.request.returns == Returns::default() {
            true => ReturnSet::default(),
            false => {
                let layout =
                    shared.with(|project| Layout::new(self.agent.host(), self.request, project))?;
                self.collect_return_set(shared, &layout, Some(&Named::default()), Vec::new())?
            }
        };
        drop(heartbeat);
        return_set.announce(self.outgoing, Ending::Exited(0))?;
        shared.with(Project::save)?;
        self.finish(shared, &return_set, incoming, None)
    }

    /// Waits until a queue admits the run. If it is to be `alone`, no other run is active there
    /// then.
    fn enter<'a>(&'a self, queue: &'a RunQueue, alone: bool) -> Result<Admission<'a>, AgentError> {
        let waiting = |holder: &str| {
            // If this fails, the client is gone, and its departure ends the wait.
            drop(self.outgoing.message(&FromAgent::Waiting { holder: holder.to_owned() }));
        };
        let needs = Needs { root: self.request.root, alone };
        let admission = queue.enter(needs, &self.request.title, waiting, self.client);
        Ok(admission.ok_or(SyncError::Gone)?)
    }

    fn sync(
        &self,
        shared: &SharedProject,
        exclusive: bool,
        incoming: &mut Incoming,
    ) -> Result<Applied, AgentError> {
        shared.with(|project| {
            if exclusive {
                let applied = project.sync(self.request, incoming, self.outgoing)?;
                wait_for_tick_after(applied.latest);
                return Ok(applied);
            }
            if self.request.offers_changes {
                project.skip_offer(incoming)?;
            }
            project.record_taken(&self.request.taken);
            Ok(Applied::default())
        })
    }

    /// Runs cargo, and receives the client's messages on another thread. That thread ends
    /// with the first message that is not for the run, which the client sends after it was
    /// told how the run ended, or with the end of the stream.
    fn run_cargo(
        &self,
        shared: &SharedProject,
        layout: &Layout,
        incoming: Incoming,
        output: &Arc<SendWindow>,
    ) -> (Result<(Ending, Named), AgentError>, Listener) {
        let input = RunInput::ignoring(self.request.ignored_signals.clone());
        let input = Arc::new(Mutex::new(input));
        self.agent.register_run(&input);
        let listener = log::spawn({
            let (input, output) = (input.clone(), output.clone());
            move || handle_messages(incoming, &input, &output)
        });
        let mut invocations = Invocations::new(
            self.agent.host(),
            self.number,
            self.request,
            layout,
            self.outgoing,
            input,
            output.clone(),
        );
        let mut run = || {
            toolchain::check(&layout.spec)?;
            let mut ending = Ending::Exited(0);
            for (index, invocation) in self.request.invocations.iter().enumerate() {
                if !runs_after(invocation, ending, invocations.is_asked_to_end()) {
                    continue;
                }
                let Some(running) = invocations.start(invocation)? else { continue };
                if index == 0 {
                    // While cargo runs already: save the state after the sync.
                    shared.with(Project::save)?;
                }
                let ended = invocations.wait(running)?;
                if ending == Ending::Exited(0) {
                    ending = ended;
                }
                match ended {
                    Ending::Exited(code) => tracing::info!("cargo exited with code {code}"),
                    Ending::Signaled(signal) => {
                        tracing::info!("cargo was ended by signal {signal}")
                    }
                }
            }
            // A run that had ended by itself has its own end.
            match ending {
                Ending::Signaled(_) if invocations.is_ended_with_agent() => {
                    Err(AgentError::EndedByDown)
                }
                ending => Ok(ending),
            }
        };
        let ending: Result<Ending, AgentError> = run();
        (ending.map(|ending| (ending, invocations.into_named())), listener)
    }

    /// The changes of sources that are offered, and the turn to offer them if there are any. Waits
    /// while another run has its turn: what the client takes from that run may be older than what
    /// this run has made of it since. The turn begins when the client has passed on all `output`,
    /// so that no run waits until a pager ends.
    fn take_turn<'a>(
        &'a self,
        shared: &'a SharedProject,
        output: &SendWindow,
    ) -> Result<(Option<Admission<'a>>, Vec<Change>), AgentError> {
        let offer = || shared.with(|project| Ok(project.offer()));
        // In this order: a turn that begins later offers the tree as it is after this run.
        if offer()?.is_empty() && !shared.offers.is_busy() {
            return Ok((None, Vec::new()));
        }
        if !output.is_empty() {
            self.outgoing.message(&FromAgent::OutputEnd)?;
            output.wait_until_empty();
        }
        let turn = self.enter(&shared.offers, true)?;
        // What the run before has offered may be taken, and other runs may have ended.
        let changes = offer()?;
        Ok(((!changes.is_empty()).then_some(turn), changes))
    }

    /// Finds which of the changes fit into what is returned, and the artifacts that the run has
    /// named.
    fn collect_return_set(
        &self,
        shared: &SharedProject,
        layout: &Layout,
        named: Option<&Named>,
        changes: Vec<Change>,
    ) -> Result<ReturnSet, AgentError> {
        let mut return_set = ReturnSet {
            target: layout.target.clone(),
            target_seen: layout.target_seen.clone(),
            unreadable: shared.with(|project| Ok(project.tell_unreadable()))?,
            ..ReturnSet::default()
        };
        return_set.add_changes(changes);
        if let Some(named) = named {
            let mut cache = shared.artifact_cache();
            let cache = cache.entry(layout.target.clone()).or_default();
            let offered = artifacts::collect(
                &layout.target,
                &layout.target_seen,
                named,
                &self.request.returns,
                cache,
            )?;
            return_set.artifacts = offered.files;
            return_set.large_tests = offered.large_tests;
            if !self.request.returns.paths.is_empty() {
                self.collect_named_paths(shared, &mut return_set, cache)?;
            }
            if let Some(WholeTarget { base }) = self.request.returns.whole {
                let (target, seen_at) = (&layout.target, &layout.target_seen);
                let whole = whole::list(target, seen_at, base, shared.directory(), cache)?;
                let links = named_paths::links_there(&whole.links, &self.request.target_directory);
                return_set.named_links.extend(links);
                return_set.whole = Some(whole);
            }
        }
        Ok(return_set)
    }

    /// Finds what the client has named.
    fn collect_named_paths(
        &self,
        shared: &SharedProject,
        return_set: &mut ReturnSet,
        cache: &mut StatCache,
    ) -> Result<(), AgentError> {
        let RunRequest { project, target_directory, returns, .. } = self.request;
        let tree = shared.with(|project| Ok(project.tree()))?;
        return_set.project = project.in_directory(&tree);
        let places = Places {
            target: &return_set.target,
            target_there: target_directory,
            project: &return_set.project,
            project_there: project,
        };
        let found = named_paths::find(&places, &returns.paths, cache)?;
        return_set.artifacts.extend(found.of_target);
        return_set.named_files = found.of_project;
        return_set.named_links = found.links;
        return_set.missing = found.missing;
        Ok(())
    }

    /// Sends what the client fetches, until the client is done, and records what it has said.
    fn finish(
        &self,
        shared: &SharedProject,
        return_set: &ReturnSet,
        incoming: Incoming,
        first: Option<FromShim>,
    ) -> Result<(), AgentError> {
        let answer = self.receive_answer(shared, return_set, incoming, first);
        shared.with(|project| {
            let Ok(Answer { adopted, declined }) = &answer else {
                project.note_unanswered(&return_set.changes);
                return Ok(());
            };
            let is_answered = !adopted.is_empty() || !declined.is_empty();
            let declined = return_set.select(declined).chain(return_set.too_large());
            project.record_answer(return_set.select(adopted), declined);
            // The client forgets what it has taken once it knows that this is known here.
            if is_answered { project.save() } else { Ok(()) }
        })?;
        answer.map(drop)
    }

    /// Sends what the client fetches until it has answered.
    fn receive_answer(
        &self,
        shared: &SharedProject,
        return_set: &ReturnSet,
        mut incoming: Incoming,
        first: Option<FromShim>,
    ) -> Result<Answer, AgentError> {
        let tree = shared.with(|project| Ok(project.tree()))?;
        let recipient = Recipient {
            outgoing: self.outgoing,
            tree: &tree,
            copies: &shared.directory().join("returned"),
            compress_large: self.request.compress_large,
        };
        let mut answer = Answer::default();
        let mut next = first;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => incoming.message()?,
            };
            match message {
                FromShim::Fetch(wanted) => return_set.send(&wanted, &recipient)?,
                FromShim::Adopted(indices) => answer.adopted.extend(indices),
                FromShim::Declined(indices) => answer.declined.extend(indices),
                // Sent before the client was told that the run has ended.
                FromShim::Input(_)
                | FromShim::InputEnd
                | FromShim::Signal(_)
                | FromShim::Resize(_)
                | FromShim::Keys(_)
                | FromShim::SignalProcess(_)
                | FromShim::OutputCredit(_) => {}
                // The client is about to end and takes nothing more.
                FromShim::Kill => return Err(SyncError::Gone.into()),
                FromShim::Done => return Ok(answer),
                other => return Err(SyncError::out_of_turn(&other).into()),
            }
        }
    }
}

/// Whether an invocation runs after those before have ended so. `asked`: whether they were asked to
/// end; one that has succeeded all the same has not done that.
fn runs_after(invocation: &Invocation, ending: Ending, asked: bool) -> bool {
    match ending {
        Ending::Exited(0) => true,
        Ending::Exited(code) => invocation.runs_after == Some(code) && !asked,
        Ending::Signaled(_) => false,
    }
}

/// Waits until the kernel's coarse clock, which stamps files, is later than `stamp`: 10 ms
/// at most, one tick. Files that the run writes are then newer than those of the sync, so
/// that neither cargo nor the scan after the run takes one for the other. The kernel reports
/// ticks of this clock by no event, so it is read once a millisecond.
fn wait_for_tick_after(stamp: Option<Moment>) {
    const TICK_DEADLINE: Duration = Duration::from_millis(50);
    const CLOCK_READ_INTERVAL: Duration = Duration::from_millis(1);
    let Some(stamp) = stamp else { return };
    let began = Instant::now();
    while Moment::coarse_now() <= stamp && began.elapsed() < TICK_DEADLINE {
        #[expect(clippy::disallowed_methods, reason = "the clock's tick is no event")]
        std::thread::sleep(CLOCK_READ_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_begins_in_a_later_tick_than_the_sync() {
        let stamp = Moment::coarse_now();
        wait_for_tick_after(Some(stamp));
        assert!(Moment::coarse_now() > stamp);
        // The clock was set back far: the wait has a deadline.
        wait_for_tick_after(Some(stamp.plus_seconds(3600)));
    }

    #[test]
    fn an_invocation_runs_after_success_and_after_the_code_that_it_names() {
        let invocation =
            |runs_after| Invocation { alternatives: Vec::new(), optional: false, runs_after };
        for (named, ending, expected, expected_if_asked) in [
            (None, Ending::Exited(0), true, true),
            (None, Ending::Exited(100), false, false),
            (Some(100), Ending::Exited(0), true, true),
            (Some(100), Ending::Exited(100), true, false),
            (Some(100), Ending::Exited(101), false, false),
            (Some(2), Ending::Signaled(2), false, false),
        ] {
            for (asked, expected) in [(false, expected), (true, expected_if_asked)] {
                let runs = runs_after(&invocation(named), ending, asked);
                assert_eq!(runs, expected, "{named:?} {ending:?} {asked}");
            }
        }
    }
}
