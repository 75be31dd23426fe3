//! The end of a process of this machine, as an event.
//!
//! A process is known by its id in a process namespace. Where the namespace is another one,
//! as for a client in a container, the id says nothing and the process is not watched.

use std::io;
use std::os::unix::fs::MetadataExt;

use burst_protocol::message::ClientProcess;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Completes when the process has ended. Fails if it is not a process of this namespace, or
/// cannot be watched.
pub(crate) async fn ended(process: ClientProcess) -> io::Result<()> {
    if namespace()? != process.namespace {
        return Err(io::Error::other("it is in another namespace"));
    }
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let descriptor = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        // It has ended between its request and now.
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    // The kernel makes it readable when the process ends; there is nothing to read.
    #[expect(deprecated, reason = "the replacement is unsafe; an owned descriptor is sound")]
    let watched = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
    drop(watched.readable().await?);
    Ok(())
}

/// The process namespace of this process, as the number of its inode.
fn namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_an_event() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let process = ClientProcess { pid: child.id(), namespace: namespace().unwrap() };
            let elsewhere = ClientProcess { namespace: process.namespace + 1, ..process };
            assert!(ended(elsewhere).await.is_err());
            let waiting = tokio::spawn(ended(process));
            child.kill().unwrap();
            waiting.await.unwrap().unwrap();
            child.wait().unwrap();
            ended(process).await.unwrap();
        });
    }
}
