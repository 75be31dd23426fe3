//! cargo's three streams: pipes, or pseudo-terminals where the client has terminals.
//!
//! Standard output and standard error are never mixed unless they are one file at the client:
//! then they are one file here. A run whose client has a terminal gets a *controlling terminal*:
//! each of its streams that is a terminal there is this one, and its programs can open `/dev/tty`.
//! Who does the work of the terminal is told by the client:
//!
//! - The agent, where the run has the client's keyboard: the line discipline here echoes, edits
//!   lines, makes signals of Ctrl-C and translates line ends, with the modes that the client's
//!   terminal had. The client's own terminal then passes every byte unchanged.
//! - The client, where its terminal also serves other programs there, such as a pager. The terminal
//!   here (in the mode of `EXTPROC`) passes what is typed unchanged, and reports the modes that
//!   programs set, before what they write afterwards to any stream: so the client's terminal hides
//!   a password before the prompt is shown. It translates line ends, as the program can see, and
//!   that is undone: the client's terminal does it as well.
//!
//! Any other terminal here translates nothing, since the client's terminal does.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use burst_protocol::message::{
    ControllingTerminal, JsonMessages, LineDiscipline, Stream, Terminal, WindowSize,
};
use rustix::termios::{LocalModes, OutputModes, SpecialCodeIndex, Termios};

use super::output::{Output, SetModes};
use super::spec::Descriptors;
use super::typing;
use crate::pseudo_terminal::{self, DEFAULT_SIZE, PseudoTerminal};
use crate::terminal_modes;

/// The control character that ends the input of a terminal.
const END_OF_INPUT: u8 = 4;

/// Both ends of the streams of one call of cargo.
#[derive(Debug)]
pub(crate) struct Streams {
    /// cargo's ends.
    pub(crate) theirs: Descriptors,
    /// The agent's end of standard input; none if that is empty.
    pub(crate) input: Option<Input>,
    /// The agent's ends of the outputs.
    pub(crate) outputs: Vec<Output>,
    /// The agent's ends of all terminals.
    pub(crate) terminals: Vec<File>,
    /// The agent's end of the controlling terminal where that is not standard input.
    pub(crate) keys: Option<File>,
    /// The modes of the controlling terminal where the client does its work.
    pub(crate) modes: Option<Arc<SetModes>>,
}

impl Streams {
    /// Opens the streams of a call: the same as the client's, as far as the client says.
    /// `reads`: whether the client sends input.
    pub(crate) fn open(client: &Terminal, reads: bool, json: JsonMessages) -> io::Result<Self> {
        let size = client.size.unwrap_or(DEFAULT_SIZE);
        let mut opening = Opening::new(client, size, json);
        let shared_output = client.one_output && !opening.reads_output;
        let is_for_call =
            |control: &ControllingTerminal| reads || control.discipline == LineDiscipline::Client;
        let control = match client.control.filter(is_for_call) {
            Some(control) => Some(opening.control(&control)?),
            None => None,
        };
        let output = opening.output(Stream::Output, client.output, control.as_ref())?;
        let error = match shared_output {
            true => output.try_clone()?,
            false => opening.output(Stream::Error, client.error, control.as_ref())?,
        };
        let (input, their_input) = match (reads, &control) {
            (false, _) => (None, File::open("/dev/null")?.into()),
            (true, Some(control)) if client.input => {
                let end = match control.discipline {
                    LineDiscipline::Agent => InputEnd::Character,
                    LineDiscipline::Client => InputEnd::UnseenCharacter,
                };
                let stream = control.pair.ours.try_clone()?;
                (Some(Input { stream, end }), control.pair.theirs.try_clone()?)
            }
            (true, _) => opening.input(client.input)?,
        };
        let keys = match &control {
            Some(control) if !(reads && client.input) => Some(control.pair.ours.try_clone()?),
            _ => None,
        };
        let modes = match &control {
            Some(control) if control.discipline == LineDiscipline::Client => {
                let terminal = control.pair.ours.try_clone()?;
                Some(Arc::new(SetModes::of(terminal)?))
            }
            _ => None,
        };
        let control = control.map(|control| control.pair.theirs);
        Ok(Self {
            theirs: Descriptors { streams: [their_input, output, error], control },
            input,
            outputs: opening.outputs,
            terminals: opening.terminals,
            keys,
            modes,
        })
    }
}

/// Streams that are being opened.
struct Opening<'a> {
    client: &'a Terminal,
    size: WindowSize,
    /// Whether the agent reads messages on standard output. Of such a stream only whole lines are
    /// passed on, so it is never one with another.
    reads_output: bool,
    outputs: Vec<Output>,
    terminals: Vec<File>,
}

/// A controlling terminal.
struct Control {
    pair: StreamPair,
    discipline: LineDiscipline,
}

impl<'a> Opening<'a> {
    const fn new(client: &'a Terminal, size: WindowSize, json: JsonMessages) -> Self {
        let reads_output = !matches!(json, JsonMessages::Absent);
        Self { client, size, reads_output, outputs: Vec::new(), terminals: Vec::new() }
    }

    /// Opens the controlling terminal. What is written to it is output of one stream.
    fn control(&mut self, control: &ControllingTerminal) -> io::Result<Control> {
        let ControllingTerminal { modes, discipline } = *control;
        let pair = StreamPair::terminal(self.size, |its| {
            terminal_modes::apply(&modes, its);
            if discipline == LineDiscipline::Client {
                its.local_modes.insert(LocalModes::EXTPROC);
            }
        })?;
        let reports_modes = discipline == LineDiscipline::Client;
        if reports_modes {
            pseudo_terminal::report_modes(&pair.ours)?;
        }
        let stream = match (self.is_control(Stream::Output), self.client.error) {
            (true, _) => Stream::Output,
            (false, true) => Stream::Error,
            (false, false) => Stream::Terminal,
        };
        self.outputs.push(Output::new(stream, pair.ours.try_clone()?, reports_modes));
        self.terminals.push(pair.ours.try_clone()?);
        Ok(Control { pair, discipline })
    }

    /// Whether an output stream is the controlling terminal, if there is one.
    fn is_control(&self, stream: Stream) -> bool {
        match stream {
            Stream::Output => self.client.output && !self.reads_output,
            Stream::Error => self.client.error,
            Stream::Terminal => true,
        }
    }

    /// Opens an output stream; returns cargo's end.
    fn output(
        &mut self,
        stream: Stream,
        is_terminal: bool,
        control: Option<&Control>,
    ) -> io::Result<OwnedFd> {
        if let Some(control) = control.filter(|_| self.is_control(stream)) {
            return control.pair.theirs.try_clone();
        }
        let StreamPair { ours, theirs } = match is_terminal {
            true => StreamPair::terminal(self.size, pass_unchanged)?,
            false => StreamPair::pipe(Direction::Output)?,
        };
        if is_terminal {
            self.terminals.push(ours.try_clone()?);
        }
        self.outputs.push(Output::new(stream, ours, false));
        Ok(theirs)
    }

    /// Opens a standard input that is not the controlling terminal; returns both ends.
    fn input(&mut self, is_terminal: bool) -> io::Result<(Option<Input>, OwnedFd)> {
        let StreamPair { ours, theirs } = match is_terminal {
            true => StreamPair::terminal(self.size, pass_unchanged)?,
            false => StreamPair::pipe(Direction::Input)?,
        };
        let mut end = InputEnd::Closed;
        if is_terminal {
            // Open until the end of the call: without it the terminal would hang up.
            self.terminals.push(ours.try_clone()?);
            end = InputEnd::Character;
        }
        Ok((Some(Input { stream: ours, end }), theirs))
    }
}

/// How the end of the input reaches a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputEnd {
    /// The stream is closed.
    Closed,
    /// The control character of a terminal.
    Character,
    /// That character, of a terminal that has not looked at what it passes on: it has to begin.
    UnseenCharacter,
}

/// The agent's end of cargo's standard input.
#[derive(Debug)]
pub(crate) struct Input {
    stream: File,
    end: InputEnd,
}

impl Input {
    /// Writes input. Blocks while cargo does not read it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.end {
            InputEnd::UnseenCharacter => typing::write(&self.stream, bytes),
            InputEnd::Closed | InputEnd::Character => self.stream.write_all(bytes),
        }
    }

    /// Ends the input. `in_line`: whether the last line is not complete; the first control
    /// character of a terminal then only ends that line.
    pub(crate) fn end(mut self, in_line: bool) {
        match self.end {
            InputEnd::Closed => return,
            InputEnd::Character => {}
            InputEnd::UnseenCharacter => drop(pseudo_terminal::begin_discipline(&self.stream)),
        }
        let characters: &[u8] = if in_line { &[END_OF_INPUT; 2] } else { &[END_OF_INPUT] };
        // An error says that the run has ended.
        drop(self.stream.write_all(characters));
    }
}

/// Both ends of one stream.
#[derive(Debug)]
struct StreamPair {
    /// The agent's end.
    ours: File,
    /// cargo's end.
    theirs: OwnedFd,
}

/// The direction of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// From the agent to cargo.
    Input,
    /// From cargo to the agent.
    Output,
}

impl StreamPair {
    fn pipe(direction: Direction) -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours, theirs) = match direction {
            Direction::Input => (writer, reader),
            Direction::Output => (reader, writer),
        };
        Ok(Self { ours: ours.into(), theirs })
    }

    fn terminal(size: WindowSize, set: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let PseudoTerminal { ours, theirs } = PseudoTerminal::open(size, set)?;
        Ok(Self { ours, theirs })
    }
}

/// Sets the modes of a terminal whose work the client's terminal does: line ends are not
/// translated and input is not echoed twice.
fn pass_unchanged(modes: &mut Termios) {
    modes.output_modes.remove(OutputModes::OPOST);
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    modes.special_codes[SpecialCodeIndex::VEOF] = END_OF_INPUT;
}
