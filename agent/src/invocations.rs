//! The cargo calls of one run, and the messages of the client to them.
//!
//! Calls run one after the other. Each has a thread for each output and, if it reads input,
//! one for that. One more thread ([`handle_messages`])
//! receives the client's messages during all calls of the run.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use burst_protocol::ByteBuf;
use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{
    Call, Ending, FromAgent, FromShim, Invocation, JsonMessages, RunRequest, Stream,
};
use burst_sync::flow_control::{self, SendWindow};
use burst_sync::wire::{Incoming, Outgoing};

use crate::artifacts::{MessageReader, Named};
use crate::clean;
use crate::error::{AgentError, FileOperation};
use crate::host::Host;
use crate::layout::Layout;
use crate::lock::lock;
use crate::log;
use crate::run::control::RunInput;
use crate::run::control_group::RunGroups;
use crate::run::helper::Assignment;
use crate::run::listening::PortWatch;
use crate::run::output::{Output, Passage, SetModes};
use crate::run::reading::ReadWatch;
use crate::run::spec::{Receiver, RunSpec};
use crate::run::stdio::{Input, Streams};
use crate::run::{Ended, Running, typing};
use crate::subcommands;

/// Handles the client's messages during a run. Returns with the first message that is not
/// for the run, or with none if the stream ends, in which case the run is killed. `output`
/// receives the client's credit for output.
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
            Ok(FromShim::Keys(bytes)) => input.type_in(bytes.into_vec()),
            Ok(FromShim::Signal(signal)) => input.signal(signal, Receiver::Group),
            Ok(FromShim::SignalProcess(signal)) => input.signal(signal, Receiver::Cargo),
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

/// The calls of one run.
pub(crate) struct Invocations<'a> {
    host: &'a Host,
    /// The number of the run, for logs.
    run: u64,
    request: &'a RunRequest,
    layout: &'a Layout,
    outgoing: &'a Outgoing,
    input: Arc<Mutex<RunInput>>,
    output: Arc<SendWindow>,
    named: Named,
    first: bool,
}

/// A started call, with the threads that forward its output.
pub(crate) struct StartedCall {
    running: Running,
    ports: Option<PortWatch>,
    reads: Option<ReadWatch>,
    outputs: Vec<JoinHandle<Named>>,
    passages: Vec<Arc<Passage>>,
    /// Whether it may remove the target directory.
    cleans: bool,
}

impl<'a> Invocations<'a> {
    /// The calls of a request; none is started yet.
    pub(crate) fn new(
        host: &'a Host,
        run: u64,
        request: &'a RunRequest,
        layout: &'a Layout,
        outgoing: &'a Outgoing,
        input: Arc<Mutex<RunInput>>,
        output: Arc<SendWindow>,
    ) -> Self {
        Self {
            host,
            run,
            request,
            layout,
            outgoing,
            input,
            output,
            named: Named::default(),
            first: true,
        }
    }

    /// Whether the client has asked the last call to end.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        lock(&self.input).is_asked_to_end()
    }

    /// Whether the agent was asked to end, and the run with it.
    pub(crate) fn is_ended_with_agent(&self) -> bool {
        lock(&self.input).is_ended_with_agent()
    }

    /// The artifacts that cargo has named in its messages.
    pub(crate) fn into_named(self) -> Named {
        self.named
    }

    /// Starts the first usable call of an invocation; none if an optional invocation has
    /// no usable call.
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
        let reads = self.request.sends_input && std::mem::take(&mut self.first);
        let Streams { theirs, input, outputs, terminals, keys, modes } =
            Streams::open(&self.request.terminal, reads, call.json)
                .map_err(|source| AgentError::Start { what: "cargo".into(), source })?;
        let assignment = Assignment { containment: self.host.containment(), run: Some(self.run) };
        let group = self.host.run_groups().map(RunGroups::add).transpose();
        let group = group.map_err(|source| AgentError::Start {
            what: "the control group of the run".into(),
            source,
        })?;
        let cleans = clean::is_clean(&call.arguments);
        if cleans {
            for (directory, _, _) in self.layout.built() {
                clean::remove_empty(directory);
            }
        }
        let spec = self.spec(call, cleans);
        let running = Running::start(self.host.supervision(), assignment, spec, group, &theirs)?;
        let has_control = theirs.control.is_some();
        // Only the call holds them from now on: a terminal ends once no process has it open.
        drop(theirs);
        lock(&self.input).attach(running.control()?, terminals, has_control);
        if let Some(input) = input {
            self.forward_input(input);
        }
        let reads = keys.is_some().then(|| running.watch_terminal(self.outgoing)).flatten();
        if let Some(keys) = keys {
            self.forward_keys(keys);
        }
        let passages = outputs.iter().map(Output::passage).collect();
        let outputs = outputs.into_iter().map(|output| {
            let json = match output.stream {
                Stream::Output => call.json,
                Stream::Error | Stream::Terminal => JsonMessages::Absent,
            };
            self.forward_output(output, json, modes.clone())
        });
        let ports =
            self.request.reports_ports.then(|| running.watch_ports(self.outgoing)).flatten();
        Ok(StartedCall { running, ports, reads, outputs: outputs.collect(), passages, cleans })
    }

    /// Waits until a call has ended and all of its output has been sent.
    pub(crate) fn wait(&mut self, started: StartedCall) -> Result<Ending, AgentError> {
        let ended = started.running.wait(|| {
            started.passages.iter().for_each(|passage| passage.wait_until_passed());
            // If the client is gone, `handle_messages` ends the run.
            drop(self.outgoing.message(&FromAgent::Stopped));
        });
        drop((started.ports, started.reads));
        lock(&self.input).detach();
        for output in started.outputs {
            // Waits for the last output.
            if let Ok(named) = output.join() {
                self.named.extend(named);
            }
        }
        if started.cleans {
            for (directory, _, _) in self.layout.built() {
                clean::restore(directory)
                    .map_err(AgentError::file(FileOperation::CreateDirectory, directory))?;
            }
        }
        let Ended { ending, used_millis, out_of_memory } = ended?;
        if let Some(cpu_millis) = used_millis {
            // An error says that the client is gone.
            drop(self.outgoing.message(&FromAgent::Used { cpu_millis }));
        }
        if let Some(out_of_memory) = out_of_memory {
            let bytes = out_of_memory.notice().into_bytes();
            self.output.sent(bytes.len());
            let message = FromAgent::Output { stream: Stream::Error, bytes: bytes.into() };
            // An error says that the client is gone.
            drop(self.outgoing.message(&message));
        }
        Ok(ending)
    }

    fn choose<'s>(&self, invocation: &'s Invocation) -> Result<Option<&'s Call>, AgentError> {
        let usable = |call: &&Call| match &call.needs {
            Some(subcommand) => subcommands::is_installed(&self.layout.spec, subcommand),
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

    fn spec(&self, call: &Call, cleans: bool) -> RunSpec {
        let mut command = vec![ByteBuf::from(b"cargo")];
        let mut arguments = call.arguments.iter().cloned();
        while let Some(argument) = arguments.next() {
            if self.layout.drops_target_argument || cleans {
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
        let mut spec = RunSpec { command, ..self.layout.spec.clone() };
        if cleans {
            for (_, seen_at, variable) in self.layout.built() {
                clean::make_removable(&mut spec, seen_at, variable);
            }
        }
        spec
    }

    /// Forwards the client's input to the attached call, on a thread of its own.
    fn forward_input(&self, mut input: Input) {
        let (received, waiting) = lock(&self.input).open_queue();
        let outgoing = self.outgoing.clone();
        log::spawn(move || {
            let mut in_line = false;
            for bytes in received {
                let size = bytes.len();
                let result = input.write(&bytes);
                in_line = bytes.last().is_some_and(|last| *last != b'\n');
                waiting.fetch_sub(size, Ordering::Relaxed);
                let cost = flow_control::cost(size);
                if result.is_err() || outgoing.message(&FromAgent::InputCredit(cost)).is_err() {
                    return;
                }
            }
            input.end(in_line);
        });
    }

    /// Types the client's keys into the controlling terminal of the attached call, on a thread of
    /// its own.
    fn forward_keys(&self, terminal: File) {
        let received = lock(&self.input).open_keys();
        log::spawn(move || {
            for bytes in received {
                // An error says that the run has ended.
                if typing::write(&terminal, &bytes).is_err() {
                    return;
                }
            }
        });
    }

    /// Forwards an output stream of the run to the client, on a thread of its own.
    fn forward_output(
        &self,
        mut output: Output,
        json: JsonMessages,
        modes: Option<Arc<SetModes>>,
    ) -> JoinHandle<Named> {
        let outgoing = self.outgoing.clone();
        let window = self.output.clone();
        log::spawn(move || {
            let mut messages = MessageReader::new(json);
            let (stream, reports_modes) = (output.stream, output.reports_modes());
            let send = |bytes: Vec<u8>| {
                if !bytes.is_empty() {
                    window.sent(bytes.len());
                    // If the client is gone, `handle_messages` ends the run.
                    drop(outgoing.message(&FromAgent::Output { stream, bytes: bytes.into() }));
                }
            };
            loop {
                window.wait_for_room(OUTPUT_BYTES_MAX);
                let goes_on = output.pass_on(|mut bytes| {
                    if let Some(modes) = &modes {
                        // As with output, an error says that the client is gone.
                        let tell = |modes| drop(outgoing.message(&FromAgent::TerminalModes(modes)));
                        modes.tell(tell);
                    }
                    if let Some(modes) = modes.as_ref().filter(|_| reports_modes) {
                        bytes = modes.untranslated(bytes);
                    }
                    messages.push(&bytes);
                    send(bytes);
                });
                if !goes_on {
                    break;
                }
            }
            messages.finish()
        })
    }
}
