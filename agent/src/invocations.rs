//! The cargo calls of one run, and the client's words to them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use burst_protocol::ByteBuf;
use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{
    Call, Ending, FromAgent, FromShim, Invocation, JsonMessages, RunRequest, Stream, WindowSize,
};
use burst_sync::flow_control::{self, SendWindow};
use burst_sync::wire::{Incoming, Outgoing};

use crate::artifacts::JsonLines;
use crate::error::AgentError;
use crate::host::Host;
use crate::layout::Layout;
use crate::lock::lock;
use crate::run::Running;
use crate::run::control::RunInput;
use crate::run::spec::RunSpec;
use crate::run::stdio::{self, Direction, StreamPair};

/// The size of a terminal that did not tell its size.
const USUAL_SIZE: WindowSize = WindowSize { columns: 80, rows: 24 };

/// Takes the client's messages until one comes that is not for the run, or the
/// client is gone; then the run is ended. `output` is what the client takes of it.
pub(crate) fn handle_messages(
    mut incoming: Incoming,
    input: &Mutex<RunInput>,
    output: &SendWindow,
) -> (Incoming, Option<FromShim>) {
    loop {
        let message = incoming.message();
        let mut input = lock(input);
        match message {
            Ok(FromShim::Input(bytes)) => {
                if input.push(bytes.into_vec()).is_err() {
                    input.kill();
                }
            }
            Ok(FromShim::InputEnd) => input.end(),
            Ok(FromShim::Signal(signal)) => input.signal(signal),
            Ok(FromShim::Resize(size)) => input.resize(size),
            Ok(FromShim::Kill) => input.kill(),
            Ok(FromShim::OutputCredit(cost)) => output.credit(cost),
            Ok(other) => {
                output.close();
                return (incoming, Some(other));
            }
            Err(_) => {
                output.close();
                input.kill();
                return (incoming, None);
            }
        }
    }
}

/// The calls of a run.
pub(crate) struct Invocations<'a> {
    host: &'a Host,
    request: &'a RunRequest,
    layout: &'a Layout,
    outgoing: &'a Outgoing,
    input: Arc<Mutex<RunInput>>,
    output: Arc<SendWindow>,
    named: BTreeSet<PathBuf>,
    first: bool,
}

/// A call under way, with the threads that carry its output.
pub(crate) struct StartedCall {
    running: Running,
    output: JoinHandle<JsonLines>,
    error: JoinHandle<JsonLines>,
}

impl<'a> Invocations<'a> {
    /// For a request.
    pub(crate) fn new(
        host: &'a Host,
        request: &'a RunRequest,
        layout: &'a Layout,
        outgoing: &'a Outgoing,
        input: Arc<Mutex<RunInput>>,
        output: Arc<SendWindow>,
    ) -> Self {
        Self { host, request, layout, outgoing, input, output, named: BTreeSet::new(), first: true }
    }

    /// Whether the user has asked it to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        let input = lock(&self.input);
        input.interrupted || input.killed
    }

    /// The files that cargo named.
    pub(crate) fn into_named(self) -> BTreeSet<PathBuf> {
        self.named
    }

    /// Starts a invocation; none if it is left out.
    pub(crate) fn start(
        &mut self,
        invocation: &Invocation,
    ) -> Result<Option<StartedCall>, AgentError> {
        match self.choose(invocation)? {
            Some(call) => self.start_call(call).map(Some),
            None => Ok(None),
        }
    }

    fn start_call(&mut self, call: &Call) -> Result<StartedCall, AgentError> {
        let terminal = &self.request.terminal;
        let size = terminal.size.unwrap_or(USUAL_SIZE);
        let hides = call.json == JsonMessages::Hidden;
        let failed = |source| AgentError::Start { what: "cargo".into(), source };
        let output_size = (terminal.output && !hides).then_some(size);
        let output = StreamPair::open(Direction::Output, output_size).map_err(failed)?;
        let error =
            StreamPair::open(Direction::Output, terminal.error.then_some(size)).map_err(failed)?;
        let reads = self.request.sends_input && std::mem::take(&mut self.first);
        let (their_input, our_input) = if reads {
            let pair = StreamPair::open(Direction::Input, terminal.input.then_some(size));
            let pair = pair.map_err(failed)?;
            (pair.theirs, Some((pair.ours, pair.terminal)))
        } else {
            (StreamPair::null().map_err(failed)?, None)
        };
        let mut terminals = Vec::new();
        for pair in [&output, &error] {
            if pair.terminal {
                terminals.push(pair.ours.try_clone().map_err(failed)?);
            }
        }
        let streams = [their_input, output.theirs, error.theirs];
        let running = Running::start(self.host.containment(), &self.spec(call), streams)?;
        self.connect_input(&running, our_input, terminals)?;
        let output = self.forward_output(Stream::Output, output.ours, call.json);
        let error = self.forward_output(Stream::Error, error.ours, JsonMessages::Absent);
        Ok(StartedCall { running, output, error })
    }

    /// Waits for the end of a call and all its output.
    pub(crate) fn wait(&mut self, started: StartedCall) -> Result<Ending, AgentError> {
        let ending = started.running.wait();
        let mut input = lock(&self.input);
        input.control = None;
        input.queue = None;
        input.terminals.clear();
        drop(input);
        if let Ok(lines) = started.output.join() {
            self.named.extend(lines.named);
        }
        // The other stream names nothing.
        drop(started.error.join());
        ending
    }

    fn choose<'s>(&self, invocation: &'s Invocation) -> Result<Option<&'s Call>, AgentError> {
        let usable = |call: &&Call| match &call.needs {
            Some(subcommand) => self.host.has_subcommand(subcommand),
            None => true,
        };
        match invocation.alternatives.iter().find(usable) {
            None if !invocation.optional => {
                let needs = invocation.alternatives.iter().find_map(|call| call.needs.clone());
                Err(AgentError::Start {
                    what: format!("`cargo {}`", needs.unwrap_or_default()),
                    source: std::io::ErrorKind::NotFound.into(),
                })
            }
            found => Ok(found),
        }
    }

    fn spec(&self, call: &Call) -> RunSpec {
        let mut command = vec![ByteBuf::from(b"cargo")];
        let mut arguments = call.arguments.iter().cloned();
        while let Some(argument) = arguments.next() {
            if self.layout.drops_target_argument {
                if argument.as_slice() == b"--" {
                    command.push(argument);
                    command.extend(arguments);
                    break;
                }
                if argument.as_slice() == b"--target-dir" {
                    arguments.next();
                    continue;
                }
                if argument.starts_with(b"--target-dir=") {
                    continue;
                }
            }
            command.push(argument);
        }
        RunSpec {
            mounts: self.layout.mounts.clone(),
            preserve: self.layout.preserve.clone(),
            hide: self.layout.hide.clone(),
            user: self.layout.user,
            working_directory: ByteBuf::from(self.layout.working_directory.as_os_str().as_bytes()),
            command,
            environment: self.layout.environment.clone(),
        }
    }

    fn connect_input(
        &self,
        running: &Running,
        stream: Option<(File, bool)>,
        terminals: Vec<File>,
    ) -> Result<(), AgentError> {
        let mut control = running.control()?;
        let mut input = lock(&self.input);
        if input.killed {
            control.kill();
        }
        input.control = Some(control);
        input.terminals = terminals;
        let Some((mut stream, terminal)) = stream else { return Ok(()) };
        let (queue, written) = mpsc::channel::<Vec<u8>>();
        for bytes in input.early.drain(..) {
            // The receiver is right here.
            drop(queue.send(bytes));
        }
        input.queue = (!input.early_end).then_some(queue);
        let (outgoing, waiting) = (self.outgoing.clone(), input.waiting.clone());
        std::thread::spawn(move || {
            for bytes in written {
                let taken = bytes.len();
                let result = stream.write_all(&bytes);
                waiting.fetch_sub(taken, std::sync::atomic::Ordering::Relaxed);
                let cost = flow_control::cost(taken);
                if result.is_err() || outgoing.message(&FromAgent::InputCredit(cost)).is_err() {
                    return;
                }
            }
            stdio::end_input(stream, terminal);
        });
        Ok(())
    }

    /// Carries a stream of the run to the client, on a thread.
    fn forward_output(
        &self,
        stream: Stream,
        mut from: File,
        json: JsonMessages,
    ) -> JoinHandle<JsonLines> {
        let outgoing = self.outgoing.clone();
        let window = self.output.clone();
        std::thread::spawn(move || {
            let mut lines = JsonLines::new(json);
            let send = |bytes: Vec<u8>| {
                if !bytes.is_empty() {
                    window.sent(bytes.len());
                    // If the client is gone, the listener ends the run.
                    drop(outgoing.message(&FromAgent::Output { stream, bytes: bytes.into() }));
                }
            };
            loop {
                window.wait_for_room(OUTPUT_BYTES_MAX);
                let Some(bytes) = stdio::read_some(&mut from) else { break };
                send(lines.push(bytes));
            }
            send(lines.finish());
            lines
        })
    }
}
