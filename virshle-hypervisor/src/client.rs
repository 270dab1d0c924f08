//! Client of cloud-hypervisor's REST API.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::HypervisorError;
use crate::deadline::Deadline;
use crate::error::Cause;
use crate::http::{Answer, AnswerError, Connection, Failure, MAX_DESCRIPTORS, request};
use crate::sys;
use crate::vm_config::VmConfig;
use crate::vm_info::{Counters, Ping, VmInfo};

/// A client of one cloud-hypervisor process.
///
/// cloud-hypervisor answers one request after the other, on all connections: a call waits while
/// another client's slow one (a boot, a snapshot) is worked on. Each call has a timeout, by
/// default the one given to [`connect`](Self::connect).
///
/// Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: Arc<Path>,
    timeout: Duration,
    // Kept between calls; taken out during one, so that a call that failed leaves none behind.
    idle: Arc<Mutex<Option<Connection>>>,
}

impl Client {
    /// Connects to the API socket.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Connect`]; [`HypervisorError::nobody_listens`] is true of an absent or
    /// orphaned socket from others.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, HypervisorError> {
        let client = Self::to_connect(socket, timeout);
        let connection = client.open(&Deadline::after(timeout))?;
        client.keep(connection);
        Ok(client)
    }

    /// A client that connects with its first call.
    pub(crate) fn to_connect(socket: &Path, timeout: Duration) -> Self {
        Self { socket: socket.into(), timeout, idle: Arc::default() }
    }

    /// The same client with another timeout for each call: `client.within(minute).boot()`.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// How long each call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process that listens, as the kernel reports; `None` once the connection broke.
    pub(crate) fn peer_pid(&self) -> Option<u32> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        sys::peer_pid(idle.as_ref()?.stream()).ok()
    }

    /// Checks that the process is there and works on requests (`vmm.ping`).
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Silent`], [`Broken`](HypervisorError::Broken),
    /// [`Malformed`](HypervisorError::Malformed), [`Refused`](HypervisorError::Refused), as every
    /// call; [`Connect`](HypervisorError::Connect) if the connection had been lost.
    pub fn ping(&self) -> Result<Ping, HypervisorError> {
        self.get("vmm.ping")
    }

    /// Ends the machine and the process (`vmm.shutdown`). The guest sees a power cut.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn shutdown_vmm(&self) -> Result<(), HypervisorError> {
        self.put("vmm.shutdown")
    }

    /// Returns what the machine is and does (`vm.info`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); [`Refused`](HypervisorError::Refused) with status 404 before
    /// [`create`](Self::create).
    pub fn info(&self) -> Result<VmInfo, HypervisorError> {
        self.get("vm.info")
    }

    /// Reads the machine's counters (`vm.counters`). They begin again at a reboot, and vhost-user
    /// interfaces have none.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused unless the machine is booted.
    pub fn counters(&self) -> Result<Counters, HypervisorError> {
        self.get("vm.counters")
    }

    /// Defines the machine (`vm.create`). Next to nothing is checked before
    /// [`boot`](Self::boot).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping). After a refusal call [`delete`](Self::delete) before another try.
    pub fn create(&self, config: &VmConfig) -> Result<(), HypervisorError> {
        self.put_json("vm.create", config)
    }

    /// Forgets the machine (`vm.delete`). Does nothing when there is none.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn delete(&self) -> Result<(), HypervisorError> {
        self.put("vm.delete")
    }

    /// Cuts the machine's power (`vm.shutdown`). The process stays; [`boot`](Self::boot) starts
    /// the machine again.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn shutdown_vm(&self) -> Result<(), HypervisorError> {
        self.put("vm.shutdown")
    }

    /// Resets the machine (`vm.reboot`). The guest isn't asked.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn reboot(&self) -> Result<(), HypervisorError> {
        self.put("vm.reboot")
    }

    /// Pauses the machine (`vm.pause`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused unless it runs.
    pub fn pause(&self) -> Result<(), HypervisorError> {
        self.put("vm.pause")
    }

    /// Resumes a paused machine (`vm.resume`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused unless it is paused.
    pub fn resume(&self) -> Result<(), HypervisorError> {
        self.put("vm.resume")
    }

    /// Presses the power button (`vm.power-button`).
    ///
    /// What the guest makes of it isn't reported: wait for the process to end, or ask again later.
    /// A guest that is still booting may never see it.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused unless the machine is booted.
    pub fn power_button(&self) -> Result<(), HypervisorError> {
        self.put("vm.power-button")
    }

    /// Injects a non-maskable interrupt (`vm.nmi`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused unless the machine is booted.
    pub fn nmi(&self) -> Result<(), HypervisorError> {
        self.put("vm.nmi")
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, HypervisorError> {
        let request = request("GET", &path(what), None);
        let deadline = Deadline::after(self.timeout);
        let connection = self.send(what, &request, &[], &deadline)?;
        let used = connection.used;
        let answer = match self.receive(what, connection, &deadline) {
            // The server may have closed the connection just when the request was on its way. To
            // ask again changes nothing (RFC 9112, 9.3.1).
            Err(HypervisorError::Broken { .. }) if used => {
                let connection = self.send(what, &request, &[], &deadline)?;
                self.receive(what, connection, &deadline)?
            }
            answer => answer?,
        };
        self.json(what, &answer.body)
    }

    pub(crate) fn put(&self, what: &str) -> Result<(), HypervisorError> {
        self.call(what, &request("PUT", &path(what), None), &[]).map(drop)
    }

    pub(crate) fn put_json<B>(&self, what: &str, body: &B) -> Result<(), HypervisorError>
    where
        B: Serialize,
    {
        self.put_json_with_fds(what, body, &[]).map(drop)
    }

    /// Sends a body with descriptors, and reads the JSON that may come back.
    pub(crate) fn put_json_for<B, T>(
        &self,
        what: &str,
        body: &B,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Option<T>, HypervisorError>
    where
        B: Serialize,
        T: DeserializeOwned,
    {
        let answer = self.put_json_with_fds(what, body, descriptors)?;
        if answer.body.is_empty() { Ok(None) } else { self.json(what, &answer.body).map(Some) }
    }

    fn put_json_with_fds<B>(
        &self,
        what: &str,
        body: &B,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Answer, HypervisorError>
    where
        B: Serialize,
    {
        let body = serde_json::to_vec(body)
            .map_err(|source| HypervisorError::Request { what: what.to_owned(), source })?;
        self.call(what, &request("PUT", &path(what), Some(&body)), descriptors)
    }

    fn call(
        &self,
        what: &str,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Answer, HypervisorError> {
        let deadline = Deadline::after(self.timeout);
        let connection = self.send(what, request, descriptors, &deadline)?;
        self.receive(what, connection, &deadline)
    }

    pub(crate) fn send(
        &self,
        what: &str,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: &Deadline,
    ) -> Result<Connection, HypervisorError> {
        if descriptors.len() > MAX_DESCRIPTORS {
            let source = io::ErrorKind::InvalidInput.into();
            return Err(self.failed(what, Failure::Broken(source), deadline.timeout()));
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut connection) = idle {
            match connection.send(request, descriptors, deadline) {
                Ok(()) => return Ok(connection),
                // The server closed it while it was idle, and so has read none of the request.
                Err(Failure::Broken(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(failure) => return Err(self.failed(what, failure, deadline.timeout())),
            }
        }
        let mut connection = self.open(deadline)?;
        match connection.send(request, descriptors, deadline) {
            Ok(()) => Ok(connection),
            Err(failure) => Err(self.failed(what, failure, deadline.timeout())),
        }
    }

    pub(crate) fn receive(
        &self,
        what: &str,
        mut connection: Connection,
        deadline: &Deadline,
    ) -> Result<Answer, HypervisorError> {
        let answer = match connection.receive(deadline) {
            Ok(answer) => answer,
            Err(failure) => return Err(self.failed(what, failure, deadline.timeout())),
        };
        if answer.persistent {
            self.keep(connection);
        }
        let status = answer.status;
        tracing::debug!(socket = %self.socket.display(), request = what, status, "answered");
        match status {
            200..300 => Ok(answer),
            _ => {
                let causes = Cause::chain(causes(&answer.body));
                Err(HypervisorError::Refused { what: what.to_owned(), status, causes })
            }
        }
    }

    fn open(&self, deadline: &Deadline) -> Result<Connection, HypervisorError> {
        Connection::open(&self.socket, deadline).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                self.failed("a connection", Failure::Timeout, deadline.timeout())
            }
            _ => HypervisorError::Connect { socket: self.socket.to_path_buf(), source },
        })
    }

    fn keep(&self, connection: Connection) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    fn json<T: DeserializeOwned>(&self, what: &str, body: &[u8]) -> Result<T, HypervisorError> {
        let parsed = match body {
            [] => Err(AnswerError::Empty),
            body => serde_json::from_slice(body).map_err(AnswerError::Json),
        };
        parsed.map_err(|source| self.failed(what, Failure::Answer(source), self.timeout))
    }

    fn failed(&self, what: &str, failure: Failure, timeout: Duration) -> HypervisorError {
        let what = what.to_owned();
        let socket = self.socket.to_path_buf();
        match failure {
            Failure::Timeout => HypervisorError::Silent { what, socket, timeout },
            Failure::Broken(source) => HypervisorError::Broken { what, socket, source },
            Failure::Answer(source) => HypervisorError::Malformed { what, socket, source },
        }
    }
}

pub(crate) fn path(what: &str) -> String {
    format!("/api/v1/{what}")
}

/// Reads the body of an error: a list of causes, or the HTTP library's object, or text.
fn causes(body: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Body {
        Causes(Vec<String>),
        Error { error: String },
    }
    match serde_json::from_slice(body) {
        Ok(Body::Causes(causes)) => causes.iter().map(|cause| without_backtrace(cause)).collect(),
        Ok(Body::Error { error }) => vec![error],
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(1000)]);
            let text = text.trim();
            if text.is_empty() { Vec::new() } else { vec![text.replace(char::is_control, " ")] }
        }
    }
}

/// A message on one line: some end in the backtrace of the process.
fn without_backtrace(message: &str) -> String {
    let (message, cut) = match message.split_once("\n\nStack backtrace:") {
        Some((message, _)) => (message, true),
        None => (message, false),
    };
    let mut message = message.trim().replace(char::is_control, " ");
    // The parenthesis that stood after the backtrace.
    if cut && message.matches('(').count() > message.matches(')').count() {
        message.push(')');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_error_body_is_read() {
        let chain = br#"["Error from API","The VM could not boot","VM config is missing"]"#;
        assert_eq!(causes(chain).len(), 3);
        assert_eq!(causes(br#"{ "error": "Invalid HTTP Method" }"#), ["Invalid HTTP Method"]);
        assert_eq!(causes(b"older\nones say text"), ["older ones say text"]);
        assert_eq!(causes(b""), [""; 0]);
        let trace = br#"["Failed(Invalid (22)\n\nStack backtrace:\n   0: <unknown>\n   1: x)"]"#;
        assert_eq!(causes(trace), ["Failed(Invalid (22))"]);
    }
}
