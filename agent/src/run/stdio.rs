//! cargo's three streams: pipes, or pseudo-terminals where the client has terminals.
//!
//! Standard output and standard error are never mixed unless they are one file at the client:
//! then they are one file here. A run that has the client's keyboard gets one *controlling
//! terminal*, whose line discipline does all the work: it echoes, edits lines, makes signals of
//! Ctrl-C and translates line ends, with the modes that the client's terminal had. The
//! client's own terminal then passes every byte unchanged. Any other terminal here translates
//! nothing, since the client's terminal does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use burst_protocol::limit::OUTPUT_BYTES_MAX;
use burst_protocol::message::{JsonMessages, Stream, Terminal, TerminalModes, WindowSize};
use rustix::termios::{LocalModes, OutputModes, SpecialCodeIndex, Termios};

use crate::pseudo_terminal::{DEFAULT_SIZE, PseudoTerminal};
use crate::terminal_modes;

/// The control character that ends the input of a terminal.
const END_OF_INPUT: u8 = 4;

/// Both ends of the streams of one call of cargo.
#[derive(Debug)]
pub(crate) struct Streams {
    /// cargo's standard input, output and error.
    pub(crate) theirs: [OwnedFd; 3],
    /// The agent's end of standard input; none if that is empty.
    pub(crate) input: Option<Input>,
    /// The agent's ends of the outputs.
    pub(crate) outputs: Vec<(Stream, File)>,
    /// The agent's ends of all terminals.
    pub(crate) terminals: Vec<File>,
    /// Whether standard input is the controlling terminal of the call.
    pub(crate) has_control: bool,
}

impl Streams {
    /// Opens the streams of a call: the same as the client's, as far as the client says.
    /// `reads`: whether the client sends input.
    pub(crate) fn open(client: &Terminal, reads: bool, json: JsonMessages) -> io::Result<Self> {
        let size = client.size.unwrap_or(DEFAULT_SIZE);
        match client.control {
            Some(modes) if reads => Self::with_control(client, size, &modes),
            _ => Self::without_control(client, size, reads, json),
        }
    }

    fn with_control(
        client: &Terminal,
        size: WindowSize,
        modes: &TerminalModes,
    ) -> io::Result<Self> {
        let control = StreamPair::terminal(size, |its| terminal_modes::apply(modes, its))?;
        let shown_on = if client.output { Stream::Output } else { Stream::Error };
        let mut outputs = vec![(shown_on, control.ours.try_clone()?)];
        let mut theirs = |is_terminal: bool, stream: Stream| {
            if is_terminal {
                return control.theirs.try_clone();
            }
            let StreamPair { ours, theirs, .. } = StreamPair::pipe(Direction::Output)?;
            outputs.push((stream, ours));
            Ok(theirs)
        };
        let output = theirs(client.output, Stream::Output)?;
        let error = theirs(client.error, Stream::Error)?;
        Ok(Self {
            theirs: [control.theirs, output, error],
            terminals: vec![control.ours.try_clone()?],
            input: Some(Input { stream: control.ours, is_terminal: true }),
            outputs,
            has_control: true,
        })
    }

    fn without_control(
        client: &Terminal,
        size: WindowSize,
        reads: bool,
        json: JsonMessages,
    ) -> io::Result<Self> {
        let open = |direction, is_terminal| match is_terminal {
            true => StreamPair::terminal(size, pass_unchanged),
            false => StreamPair::pipe(direction),
        };
        // Of a stream with messages that the agent reads, only whole lines are passed on.
        let is_read_here = json != JsonMessages::Absent;
        let output = open(Direction::Output, client.output)?;
        let mut pairs = Vec::new();
        let their_error = if client.one_output && !is_read_here {
            output.theirs.try_clone()?
        } else {
            let error = open(Direction::Output, client.error)?;
            let theirs = error.theirs.try_clone()?;
            pairs.push((Stream::Error, error));
            theirs
        };
        let their_output = output.theirs.try_clone()?;
        pairs.push((Stream::Output, output));
        let mut terminals = Vec::new();
        for (_, pair) in &pairs {
            if pair.is_terminal {
                terminals.push(pair.ours.try_clone()?);
            }
        }
        let (their_input, input) = if reads {
            let pair = open(Direction::Input, client.input)?;
            if pair.is_terminal {
                // Open until the end of the call: without it the terminal would hang up.
                terminals.push(pair.ours.try_clone()?);
            }
            (pair.theirs, Some(Input { stream: pair.ours, is_terminal: pair.is_terminal }))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let outputs = pairs.into_iter().map(|(stream, pair)| (stream, pair.ours)).collect();
        let theirs = [their_input, their_output, their_error];
        Ok(Self { theirs, input, outputs, terminals, has_control: false })
    }
}

/// The agent's end of cargo's standard input.
#[derive(Debug)]
pub(crate) struct Input {
    stream: File,
    is_terminal: bool,
}

impl Input {
    /// Writes input. Blocks while cargo does not read it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the input: by its control character on a terminal, by closing a pipe. `in_line`:
    /// whether the last line is not complete; the first control character then only ends that
    /// line.
    pub(crate) fn end(mut self, in_line: bool) {
        if self.is_terminal {
            let characters: &[u8] = if in_line { &[END_OF_INPUT; 2] } else { &[END_OF_INPUT] };
            // An error says that the run has ended.
            drop(self.stream.write_all(characters));
        }
    }
}

/// Both ends of one stream.
#[derive(Debug)]
struct StreamPair {
    /// The agent's end.
    ours: File,
    /// cargo's end.
    theirs: OwnedFd,
    is_terminal: bool,
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
        Ok(Self { ours: ours.into(), theirs, is_terminal: false })
    }

    fn terminal(size: WindowSize, set: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let PseudoTerminal { ours, theirs } = PseudoTerminal::open(size, set)?;
        Ok(Self { ours, theirs, is_terminal: true })
    }
}

/// Sets the modes of a terminal whose work the client's terminal does: line ends are not
/// translated and input is not echoed twice.
fn pass_unchanged(modes: &mut Termios) {
    modes.output_modes.remove(OutputModes::OPOST);
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    modes.special_codes[SpecialCodeIndex::VEOF] = END_OF_INPUT;
}

/// Reads the output that is available, at most `OUTPUT_BYTES_MAX`, and waits if there is
/// none yet; none at the end of the stream.
pub(crate) fn read_some(stream: &mut File) -> Option<Vec<u8>> {
    let mut buffer = vec![0; OUTPUT_BYTES_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => {
                buffer.truncate(read);
                return Some(buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Reading a terminal whose other end is closed fails.
            Err(_) => return None,
        }
    }
}
