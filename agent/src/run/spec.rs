//! The messages between agent and init, over their socket.
//!
//! ```text
//! agent to init:  length (4 bytes, little endian), RunSpec (bincode), 3 descriptors, and one
//!                 more for a controlling terminal; then one byte a command: a signal number,
//!                 to which 128 is added for cargo's process alone, or 0 to end the run
//! init to agent:  any number of FromInit, each as length (4 bytes, little endian) and bincode
//! ```

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use burst_protocol::ByteBuf;
use burst_protocol::codec;
use burst_protocol::limit::MESSAGE_BYTES_MAX;
use nix::sys::signal::Signal;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// One run, as the init carries it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunSpec {
    /// Bind mounts, in the order in which they are made.
    pub(crate) mounts: Vec<Mount>,
    /// Directories that stay visible where a mount would cover them.
    pub(crate) preserve: Vec<ByteBuf>,
    /// Directories that the run sees empty.
    pub(crate) hide: Vec<ByteBuf>,
    /// On a server, ids of the user and group that run cargo, apart from other projects; none
    /// if cargo runs as the agent and sees the memory of the machine.
    pub(crate) user: Option<(u32, u32)>,
    /// The files of the control group that cargo's process enters.
    pub(crate) groups: Vec<ByteBuf>,
    /// The soft limit of open files, which the agent has raised for itself; none if it has
    /// not.
    pub(crate) open_files: Option<u64>,
    /// The working directory of cargo, created if it does not exist.
    pub(crate) working_directory: ByteBuf,
    /// The program and its arguments.
    pub(crate) command: Vec<ByteBuf>,
    /// All environment variables of cargo.
    pub(crate) environment: Vec<(ByteBuf, ByteBuf)>,
    /// The umask of cargo.
    pub(crate) umask: u32,
    /// The signals that cargo is started to ignore.
    pub(crate) ignored_signals: Vec<i32>,
}

/// What cargo is connected to.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Its standard input, output and error.
    pub(crate) streams: [OwnedFd; 3],
    /// Its controlling terminal, if it leads a session with one.
    pub(crate) control: Option<OwnedFd>,
}

/// The most descriptors that a message carries.
const DESCRIPTORS_MAX: usize = 4;

impl RunSpec {
    /// Sets an environment variable of cargo.
    pub(crate) fn set_variable(&mut self, name: &str, value: &OsStr) {
        self.environment.retain(|(other, _)| other.as_slice() != name.as_bytes());
        self.environment.push((ByteBuf::from(name.as_bytes()), os_bytes(value)));
    }

    /// The value of an environment variable of cargo; none if it is empty.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        let found = self.environment.iter().rev().find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| os_string(value)).filter(|value| !value.is_empty())
    }

    /// The place on the agent's disk of a path that the run sees.
    pub(crate) fn on_disk(&self, seen: &Path) -> PathBuf {
        self.mounted(seen).map_or_else(|| seen.to_owned(), |(root, place)| root.join(place))
    }

    /// The directory of the agent that has what the run sees at a path, and the place below it;
    /// none if that is the machine's own. The last mount over the path counts, unless a
    /// directory that stays visible there contains it.
    pub(crate) fn mounted(&self, seen: &Path) -> Option<(PathBuf, PathBuf)> {
        let mut place = None;
        for mount in &self.mounts {
            let target = path(&mount.target);
            let Ok(below) = seen.strip_prefix(&target) else { continue };
            let is_preserved = self.preserve.iter().map(path).any(|directory| {
                let is_there = directory != target && directory.starts_with(&target);
                is_there && seen.starts_with(&directory)
            });
            place = (!is_preserved).then(|| (path(&mount.root), path(&mount.source).join(below)));
        }
        place
    }
}

#[cfg(test)]
impl RunSpec {
    /// A spec of a run in `/work` with these variables, mounts (root, source and target) and
    /// preserved directories.
    pub(crate) fn example(
        environment: &[(&str, &str)],
        mounts: &[[&str; 3]],
        preserve: &[&str],
    ) -> Self {
        let bytes = |text: &&str| ByteBuf::from(text.as_bytes());
        let mount = |[root, source, target]: &[&str; 3]| Mount {
            root: bytes(root),
            source: bytes(source),
            target: bytes(target),
        };
        let variable = |(name, value): &(&str, &str)| (bytes(name), bytes(value));
        Self {
            mounts: mounts.iter().map(mount).collect(),
            preserve: preserve.iter().map(bytes).collect(),
            hide: Vec::new(),
            user: None,
            groups: Vec::new(),
            open_files: None,
            working_directory: bytes(&"/work"),
            command: Vec::new(),
            environment: environment.iter().map(variable).collect(),
            umask: 0o022,
            ignored_signals: Vec::new(),
        }
    }
}

/// One bind mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// The directory of the agent that has it.
    pub(crate) root: ByteBuf,
    /// The path below `root` of the file or directory that is mounted, on which no link is
    /// followed; empty for `root` itself.
    pub(crate) source: ByteBuf,
    /// The mount point, created if it does not exist.
    pub(crate) target: ByteBuf,
}

/// What the init tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// A signal has stopped cargo's process, or the program that it has become.
    Stopped,
    /// The processor time of cargo and of all its programs that have ended, in milliseconds.
    Used(u64),
    /// The run ended. Nothing follows.
    Ended(Report),
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// cargo exited with this code.
    Exited(i32),
    /// cargo was ended by this signal.
    Signaled(i32),
    /// There is no program `cargo` on the PATH.
    NoProgram,
    /// The init failed before it could start cargo; the text is the error.
    Failed(String),
}

/// The bytes of a path.
pub(crate) fn path_bytes(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

/// The path with these bytes.
pub(crate) fn path(bytes: &ByteBuf) -> PathBuf {
    PathBuf::from(os_string(bytes))
}

/// The operating system's string with these bytes.
pub(crate) fn os_string(bytes: &ByteBuf) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// The bytes of a string of the operating system.
pub(crate) fn os_bytes(text: &OsStr) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

/// Sends the spec and the descriptors.
pub(crate) fn send(socket: &UnixStream, spec: &RunSpec, theirs: &Descriptors) -> io::Result<()> {
    let body = codec::encode(spec).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
    let fds: Vec<_> = theirs.streams.iter().chain(&theirs.control).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    if sent != length.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    (&*socket).write_all(&body)
}

/// Receives what [`send`] sent.
pub(crate) fn receive(socket: &UnixStream) -> io::Result<(RunSpec, Descriptors)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes != length.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut streams = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            streams.extend(fds);
        }
    }
    let mut streams = streams.into_iter();
    let (Some(input), Some(output), Some(error), control) =
        (streams.next(), streams.next(), streams.next(), streams.next())
    else {
        return Err(io::Error::other("expected three descriptors"));
    };
    let theirs = Descriptors { streams: [input, output, error], control };
    let body = read_body(socket, length)?;
    Ok((codec::decode(&body).map_err(io::Error::other)?, theirs))
}

/// Who receives a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// cargo's process group.
    Group,
    /// cargo's process, or the program that it has become.
    Cargo,
}

/// The bit of a command that sends a signal to cargo's process alone.
const ALONE: u8 = 128;

/// The command that sends a signal; none if that is no signal.
pub(super) fn signal_command(signal: i32, receiver: Receiver) -> Option<u8> {
    let signal = u8::try_from(signal).ok().filter(|signal| (1..ALONE).contains(signal))?;
    Some(match receiver {
        Receiver::Group => signal,
        Receiver::Cargo => signal | ALONE,
    })
}

/// The signal that a command sends, and to whom; none for any other command.
pub(super) fn commanded_signal(command: u8) -> Option<(Signal, Receiver)> {
    let receiver = if command & ALONE == 0 { Receiver::Group } else { Receiver::Cargo };
    Some((Signal::try_from(i32::from(command & !ALONE)).ok()?, receiver))
}

/// Tells the agent something.
pub(crate) fn tell(mut socket: &UnixStream, told: &FromInit) {
    let Ok(body) = codec::encode(told) else { return };
    let Ok(length) = u32::try_from(body.len()) else { return };
    // An error says that the agent has ended.
    drop(socket.write_all(&[&length.to_le_bytes(), body.as_slice()].concat()));
}

/// Reads what the init tells; none if it is missing or incomplete.
pub(crate) fn read_told(mut socket: &UnixStream) -> Option<FromInit> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    codec::decode(&read_body(socket, length).ok()?).ok()
}

/// Reads what follows its length, which is capped before memory is allocated.
fn read_body(mut socket: &UnixStream, length: [u8; 4]) -> io::Result<Vec<u8>> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_commanded_as_they_are_named() {
        for receiver in [Receiver::Group, Receiver::Cargo] {
            let command = signal_command(15, receiver).unwrap();
            assert_eq!(commanded_signal(command), Some((Signal::SIGTERM, receiver)));
        }
        for no_signal in [-1, 0, 128, 300] {
            assert_eq!(signal_command(no_signal, Receiver::Group), None);
        }
        assert_eq!(commanded_signal(0), None);
        assert_eq!(commanded_signal(ALONE), None);
    }

    #[test]
    fn places_on_the_disk_are_found_through_mounts() {
        let mounts = [
            ["/volume/cargo-home", "", "/home/me/.cargo"],
            ["/tree", "home/me", "/home/me"],
            ["/tree", "home/me/work", "/home/me/work"],
        ];
        let spec = RunSpec::example(&[], &mounts, &["/home/me/.rustup", "/home/me/work"]);
        for (seen, place) in [
            ("/usr/bin/x", "/usr/bin/x"),
            ("/home/me/bin/x", "/tree/home/me/bin/x"),
            ("/home/me/.cargo/bin/x", "/tree/home/me/.cargo/bin/x"),
            ("/home/me/.rustup/x", "/home/me/.rustup/x"),
            ("/home/me/work/x", "/tree/home/me/work/x"),
        ] {
            assert_eq!(spec.on_disk(Path::new(seen)), Path::new(place), "{seen}");
        }
    }
}
