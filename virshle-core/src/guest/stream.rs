//! A connection to a port of the guest: over its vsock, or else over a network.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use virshle_hypervisor::{HypervisorError, connect_vsock};

use crate::address::Address;
use crate::error::CoreError;
use crate::guest::tcp_race::connect_first;
use crate::machine::vm::Vm;
use crate::model::state::VmState;

/// How long a guest may take to answer on its vsock before its network is tried. One that has the
/// driver answers within a millisecond, if only with a refusal.
const PROBE: Duration = Duration::from_millis(250);

/// The way that a connection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// The vsock device: no network is needed.
    Vsock,
    /// A network.
    Network(Address),
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock => formatter.pad("vsock"),
            Self::Network(address) => address.fmt(formatter),
        }
    }
}

/// A connection to a port of the guest.
#[derive(Debug)]
pub struct GuestStream {
    route: Route,
    socket: OwnedFd,
}

impl GuestStream {
    pub(crate) fn new(route: Route, socket: OwnedFd) -> Self {
        Self { route, socket }
    }

    /// The way it takes.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Hands the connection itself to whoever reads `socket`, a Unix socket: a copy of its
    /// descriptor goes there with one byte, as ssh's `ProxyUseFdpass` takes it.
    ///
    /// # Errors
    ///
    /// If `socket` is none that takes descriptors, or nobody reads it.
    ///
    /// # References
    ///
    /// ssh_config(5), `ProxyUseFdpass`; unix(7), `SCM_RIGHTS`.
    #[doc(alias = "ProxyUseFdpass")]
    #[doc(alias = "SCM_RIGHTS")]
    pub fn hand_over(&self, socket: impl AsFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [self.socket.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl AsFd for GuestStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<GuestStream> for OwnedFd {
    fn from(stream: GuestStream) -> Self {
        stream.socket
    }
}

impl Vm {
    /// Connects to `port` of the guest: over its vsock if it listens there, else over the first of
    /// its addresses that answers, the surest first. An address that nobody but the guest tells is
    /// left out: it may be another's.
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] if it doesn't run, [`CoreError::Unreachable`] with each way that
    /// was tried.
    pub fn connect(&self, port: u16, timeout: Duration) -> Result<GuestStream, CoreError> {
        let deadline = Instant::now() + timeout;
        let mut tried = Vec::new();
        let answered = match self.connect_vsock(port, PROBE.min(timeout)) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                tried.push(told_vsock(&error));
                if error.nobody_listens() {
                    self.must_run()?;
                } else if error.timed_out() {
                    // Somebody is there, so it is on; but held still, it never answers.
                    self.must_not_be_paused()?;
                }
                !error.timed_out() && !error.nobody_listens()
            }
        };
        let addresses = self.vouched_addresses();
        match self.connect_network(&addresses, port, deadline, &mut tried) {
            Some(stream) => return Ok(stream),
            None if addresses.is_empty() => tried.push("no address of it is known".into()),
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // A busy guest may have needed more than a moment.
        if !answered && !left.is_zero() {
            match self.connect_vsock(port, left) {
                Ok(stream) => return Ok(stream),
                Err(error) => tried[0] = told_vsock(&error),
            }
        }
        Err(CoreError::Unreachable { vm: self.name().clone(), port, tried })
    }

    pub(crate) fn connect_vsock(
        &self,
        port: u16,
        timeout: Duration,
    ) -> Result<GuestStream, HypervisorError> {
        let stream = connect_vsock(&self.vsock(), port.into(), timeout)?;
        Ok(GuestStream::new(Route::Vsock, stream.into()))
    }

    pub(crate) fn connect_network(
        &self,
        addresses: &[Address],
        port: u16,
        deadline: Instant,
        tried: &mut Vec<String>,
    ) -> Option<GuestStream> {
        let found: Vec<(&Address, SocketAddr)> = addresses
            .iter()
            .filter_map(|address| Some((address, address.socket_address(port)?)))
            .collect();
        let candidates: Vec<SocketAddr> = found.iter().map(|(_, socket)| *socket).collect();
        match connect_first(&candidates, deadline) {
            Ok((place, stream)) => {
                let route = Route::Network(found[place].0.clone());
                tracing::debug!(vm = %self.name(), %route, port, "connected to the guest");
                Some(GuestStream::new(route, stream.into()))
            }
            Err(failures) => {
                for ((address, _), failure) in found.iter().zip(failures) {
                    tried.push(format!("{address} ({}): {failure}", address.source));
                }
                None
            }
        }
    }

    /// Fails unless a guest can answer.
    fn must_run(&self) -> Result<(), CoreError> {
        match self.state() {
            state @ (VmState::Stopped | VmState::Created | VmState::Paused) => {
                Err(self.cannot_answer(state))
            }
            VmState::Running | VmState::Unresponsive => Ok(()),
        }
    }

    fn must_not_be_paused(&self) -> Result<(), CoreError> {
        match self.state() {
            VmState::Paused => Err(self.cannot_answer(VmState::Paused)),
            _ => Ok(()),
        }
    }

    fn cannot_answer(&self, state: VmState) -> CoreError {
        CoreError::WrongState { vm: self.name().clone(), verb: "connect to", state }
    }

    /// Fails early, and cheaply, where [`connect`](Self::connect) would for the machine's state.
    pub(crate) fn must_be_reachable(&self) -> Result<(), CoreError> {
        match std::os::unix::net::UnixStream::connect(self.vsock()) {
            Ok(_) => Ok(()),
            Err(_) => self.must_run(),
        }
    }
}

/// Why it can't be reached by vsock, in a few words.
fn told_vsock(error: &HypervisorError) -> String {
    match error {
        HypervisorError::VsockRefused { .. } => "vsock: nobody listens in the guest".into(),
        HypervisorError::VsockSilent { .. } => "vsock: the guest does not answer".into(),
        HypervisorError::Vsock { source, .. } => format!("vsock: {source}"),
        other => format!("vsock: {other}"),
    }
}
