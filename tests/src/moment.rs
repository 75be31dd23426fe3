//! Moments of a command that files tell: each part of it writes some.

use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The moment at which an entry appears for a certain time.
#[derive(Debug)]
pub struct Moment {
    events: OwnedFd,
    name: String,
    left: usize,
}

impl Moment {
    /// The moment at which entries of this name have been created in `directories`, or moved
    /// there, for the `count`th time from now on. A name that ends with `-` is the beginning of
    /// one; the empty name is that of every entry.
    pub fn new(directories: &[&Path], name: &str, count: usize) -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        for directory in directories {
            let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO;
            inotify::add_watch(&events, *directory, kinds)
                .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        }
        Self { events, name: name.to_owned(), left: count }
    }

    /// Waits for the moment; false if the command has ended before.
    pub fn comes_before_end_of(mut self, command: &Child) -> bool {
        let id = Pid::from_raw(command.id().cast_signed()).expect("a process");
        let process = pidfd_open(id, PidfdFlags::empty()).expect("a process");
        loop {
            if self.is_here() {
                return true;
            }
            let mut sources =
                [PollFd::new(&self.events, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
            poll(&mut sources, None).expect("poll");
            if sources[0].revents().is_empty() && !sources[1].revents().is_empty() {
                return false;
            }
        }
    }

    /// Takes in what has happened; whether that was all.
    fn is_here(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.events, &mut buffer);
        while self.left > 0 {
            let event = match events.next() {
                Err(Errno::WOULDBLOCK) => return false,
                event => event.expect("an event"),
            };
            let found = event.file_name().map(|name| name.to_string_lossy().into_owned());
            let is_meant = found.is_some_and(|found| match self.name.as_str() {
                "" => true,
                // Not the temporary file that becomes one.
                start if start.ends_with('-') => {
                    found.starts_with(start) && !found.contains(".tmp")
                }
                name => found == name,
            });
            self.left -= usize::from(is_meant);
        }
        true
    }
}
