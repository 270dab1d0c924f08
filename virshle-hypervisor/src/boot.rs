//! Boots a machine, which may have to wait for vhost-user peers.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::HypervisorError;
use crate::client::{Client, path};
use crate::deadline::Deadline;
use crate::http::{Connection, request};

impl Client {
    /// Starts the machine (`vm.boot`).
    ///
    /// With a vhost-user socket of mode [`Server`](crate::VhostMode::Server) it waits without end
    /// until the other side connects, and the process handles neither a ping nor SIGTERM meanwhile;
    /// after a timeout, [`Vmm::kill`](crate::Vmm::kill) is the way out.
    /// [`start_boot`](Self::start_boot) leaves the caller free to bring the other side about.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping). After a refusal call [`delete`](Self::delete) and
    /// [`create`](Self::create) before another try.
    pub fn boot(&self) -> Result<(), HypervisorError> {
        self.put("vm.boot")
    }

    /// Asks for the machine to be started, and doesn't wait for the answer.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping), as far as sending goes.
    pub fn start_boot(&self) -> Result<PendingBoot, HypervisorError> {
        let what = "vm.boot";
        let deadline = Deadline::after(self.timeout());
        let connection = self.send(what, &request("PUT", &path(what), None), &[], &deadline)?;
        Ok(PendingBoot { client: self.clone(), connection, started: Instant::now() })
    }
}

/// A boot that was asked for.
#[derive(Debug)]
#[must_use = "the answer is whether the machine runs"]
pub struct PendingBoot {
    client: Client,
    connection: Connection,
    started: Instant,
}

impl PendingBoot {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`Client::boot`].
    pub fn wait(self, timeout: Duration) -> Result<(), HypervisorError> {
        let answer =
            self.client.receive("vm.boot", self.connection, &Deadline::after(timeout)).map(drop);
        tracing::debug!(elapsed = ?self.started.elapsed(), "the boot was answered");
        answer
    }
}

impl AsFd for PendingBoot {
    /// The descriptor that becomes readable when the answer, or the end of the process, is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }
}
