//! The child process that watches a cloud-hypervisor process while it starts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::deadline::Deadline;
use crate::sys;

/// The child that watches the process while it starts.
pub(crate) struct Watcher {
    child: Child,
    status: File,
    release: Option<OwnedFd>,
}

/// Whether a process has ended, and how, if that is known.
pub(crate) enum Ended {
    No,
    Yes(Option<ExitStatus>),
}

impl Watcher {
    /// The watcher `child`, which reports a wait status to `status` and ends when `release` is closed.
    pub(crate) fn new(child: Child, status: OwnedFd, release: OwnedFd) -> Self {
        Self { child, status: status.into(), release: Some(release) }
    }

    /// Waits until the watched process has ended, or the time is over.
    pub(crate) fn ended(&mut self, timeout: Duration) -> Ended {
        let deadline = Deadline::after(timeout);
        loop {
            let mut watched = [PollFd::new(&self.status, PollFlags::IN)];
            match poll(&mut watched, deadline.left_to_poll().as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => return Ended::No,
                Ok(_) => break,
            }
        }
        let mut status = [0; 4];
        match self.status.read_exact(&mut status) {
            Ok(()) => Ended::Yes(Some(ExitStatus::from_raw(i32::from_ne_bytes(status)))),
            Err(_) => Ended::Yes(None),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.release.take());
        // It can only fail where the program that embeds us ignores SIGCHLD: no zombie there.
        drop(self.child.wait());
    }
}

/// The step into its cage that a process failed at before it ran its program, if that is in `status`
/// by now.
pub(crate) fn failed_step(status: OwnedFd) -> Option<&'static str> {
    let mut watched = [PollFd::new(&status, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if !matches!(poll(&mut watched, Some(&now)), Ok(1..)) {
        return None;
    }
    let mut report = [0; 4];
    File::from(status).read_exact(&mut report).ok()?;
    sys::failed_step(i32::from_ne_bytes(report))
}

/// A pipe, reading end first, whose ends are none of the standard three descriptors.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((sys::above_standard(read.as_fd())?, sys::above_standard(write.as_fd())?))
}
