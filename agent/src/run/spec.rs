//! What the init is told, and what it reports.
//!
//! ```text
//! agent to init:  length (4, little endian)  RunSpec (bincode)     with 3 descriptors
//!                 then bytes: a signal number, or 0 to end everything
//! init to agent:  Report (bincode), then the end of the stream
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
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// The first argument that makes this program a supervisor.
pub(crate) const SUPERVISOR: &str = "run-supervisor";

/// The first argument that makes this program an init.
pub(crate) const INIT: &str = "run-init";

/// One run, as the init needs to know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunSpec {
    /// Directories and files to be seen elsewhere, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Directories that stay visible even if a mount would cover them.
    pub(crate) preserve: Vec<ByteBuf>,
    /// Directories that are seen empty.
    pub(crate) hide: Vec<ByteBuf>,
    /// User and group to run as; none: as the agent.
    pub(crate) user: Option<(u32, u32)>,
    /// Where cargo starts.
    pub(crate) working_directory: ByteBuf,
    /// The program and its arguments.
    pub(crate) command: Vec<ByteBuf>,
    /// Its whole environment.
    pub(crate) environment: Vec<(ByteBuf, ByteBuf)>,
}

/// One bind mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// What.
    pub(crate) source: ByteBuf,
    /// Where; made if it is not there.
    pub(crate) target: ByteBuf,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// cargo exited.
    Exited(i32),
    /// cargo was ended by a signal.
    Signaled(i32),
    /// There is no such program.
    NoProgram,
    /// The init failed.
    Failed(String),
}

/// Bytes from a path.
pub(crate) fn path_bytes(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

/// A path from bytes.
pub(crate) fn path(bytes: &ByteBuf) -> PathBuf {
    PathBuf::from(os_string(bytes))
}

/// A string of the operating system from bytes.
pub(crate) fn os_string(bytes: &ByteBuf) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Bytes from a string of the operating system.
pub(crate) fn os_bytes(text: &OsStr) -> ByteBuf {
    ByteBuf::from(text.as_bytes())
}

/// Sends the spec and the three streams.
pub(crate) fn send(socket: &UnixStream, spec: &RunSpec, streams: &[OwnedFd; 3]) -> io::Result<()> {
    let body = codec::encode(spec).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
    let fds = streams.each_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
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
pub(crate) fn receive(socket: &UnixStream) -> io::Result<(RunSpec, [OwnedFd; 3])> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
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
    let streams = <[OwnedFd; 3]>::try_from(streams)
        .map_err(|_| io::Error::other("three streams were expected"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = vec![0; length];
    (&*socket).read_exact(&mut body)?;
    Ok((codec::decode(&body).map_err(io::Error::other)?, streams))
}

/// Tells the agent how it went.
pub(crate) fn write_report(mut socket: &UnixStream, report: &Report) {
    if let Ok(bytes) = codec::encode(report) {
        // Without an agent nobody wants to know.
        drop(socket.write_all(&bytes));
    }
}

/// Reads a report; none if there is none.
pub(crate) fn read_report(bytes: &[u8]) -> Option<Report> {
    codec::decode(bytes).ok()
}
