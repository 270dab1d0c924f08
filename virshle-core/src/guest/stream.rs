//! A connection to a port of the guest: over its vsock, or else over a network.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use virshle_hypervisor::HypervisorError;

use crate::address::{Address, vouched_addresses};
use crate::fs::deadline::Deadline;
use crate::guest::error::GuestError;
use crate::guest::tcp_race::connect_first;
use crate::hardware::net::user;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::state::VmState;
use crate::store::run_record;

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
    /// A port of this host that leads to the guest's, by a user network.
    Published(SocketAddr),
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock => formatter.pad("vsock"),
            Self::Network(address) => address.fmt(formatter),
            Self::Published(socket) => socket.fmt(formatter),
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

    /// Hands the connection itself to the process that reads `socket`, a Unix socket: a copy of its
    /// descriptor goes there with one byte, as ssh's `ProxyUseFdpass` takes it.
    ///
    /// # Errors
    ///
    /// If `socket` is none that takes descriptors, or no process reads it.
    ///
    /// # References
    ///
    /// ssh_config(5), `ProxyUseFdpass`; unix(7), `SCM_RIGHTS`.
    #[doc(alias = "ProxyUseFdpass")]
    #[doc(alias = "SCM_RIGHTS")]
    pub fn hand_over(&self, socket: impl AsFd) -> io::Result<()> {
        send_descriptor(&self.socket, socket)
    }

    /// Hands the connection `connection`, which another process opened, over to the one that reads
    /// `socket`: see [`GuestStream::hand_over`].
    ///
    /// # Errors
    ///
    /// As [`GuestStream::hand_over`].
    pub fn give(connection: impl AsFd, socket: impl AsFd) -> io::Result<()> {
        send_descriptor(connection, socket)
    }

    /// Hands over, where no connection can be had, one on which a server of ssh greets and ends it.
    ///
    /// ssh reports a descriptor that doesn't come by two lines about its own insides; of this it says in
    /// one that the connection was closed or reset.
    ///
    /// # Errors
    ///
    /// As [`GuestStream::hand_over`].
    pub fn hand_over_none(to: impl AsFd) -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        (&far).write_all(b"SSH-2.0-virshle\r\n")?;
        // The far end is in the queue of the near one, behind the greeting: no process has to stay for
        // it, and it is closed by being read.
        send_descriptor(&far, &far)?;
        send_descriptor(near, to)
    }

    /// Hands on a connection that another process hands over at `from`, to the one that reads `to`.
    ///
    /// # Errors
    ///
    /// If none comes, or as [`GuestStream::hand_over`].
    pub fn hand_on(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptor = descriptor.ok_or(io::ErrorKind::UnexpectedEof)?;
        send_descriptor(descriptor, to)
    }
}

/// Sends a copy of `descriptor` with one byte.
fn send_descriptor(descriptor: impl AsFd, socket: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
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
    /// Fails early, and without a connection to the guest, where [`Vm::connect`] would for the machine's
    /// state.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`] if it doesn't run.
    pub fn check_reachable(&self) -> Result<(), GuestError> {
        Ok(must_be_reachable(self)?)
    }

    /// Connects to `port` of the guest: over its vsock if it listens there, else over the first of
    /// its addresses that answers, the surest first. An address that only the guest itself reports is
    /// left out: it may be another's.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`] if it doesn't run, [`GuestError::Unreachable`] with each way that
    /// was tried.
    pub fn connect(&self, port: u16, timeout: Duration) -> Result<GuestStream, GuestError> {
        connect(self, port, timeout)
    }
}

pub(crate) fn connect(vm: &Vm, port: u16, timeout: Duration) -> Result<GuestStream, GuestError> {
    let deadline = Deadline::after(timeout);
    let refused = match connect_vsock(vm, port, PROBE.min(timeout)) {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    if refused.nobody_listens() {
        must_run(vm)?;
    } else if refused.timed_out() {
        // A process listens, so it is on; but paused, it never answers.
        must_not_be_paused(vm)?;
    }
    let network = match connect_network(vm, port, deadline) {
        Ok(stream) => {
            let route = stream.route();
            tracing::debug!(vm = %vm.name(), %route, port, "connected to the guest");
            return Ok(stream);
        }
        Err(tried) => tried,
    };
    // A busy guest may have needed more than a moment.
    let is_silent = refused.timed_out() || refused.nobody_listens();
    let vsock = match deadline.left() {
        left if !is_silent || left.is_zero() => refused,
        left => match connect_vsock(vm, port, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        },
    };
    let tried = [vec![describe_vsock_error(&vsock)], network].concat();
    Err(GuestError::Unreachable { vm: vm.name().clone(), port, tried })
}

fn connect_vsock(vm: &Vm, port: u16, timeout: Duration) -> Result<GuestStream, HypervisorError> {
    let stream = virshle_hypervisor::connect_vsock(&vm.vsock(), port.into(), timeout)?;
    Ok(GuestStream::new(Route::Vsock, stream.into()))
}

/// Connects to the first of the machine's addresses that answers, or by a port that it publishes:
/// at that passt answers, whatever its guest does.
///
/// # Errors
///
/// Each way with the reason why it failed.
fn connect_network(vm: &Vm, port: u16, deadline: Deadline) -> Result<GuestStream, Vec<String>> {
    let ssh_port = run_record::read(vm.directory()).and_then(|run| run.ssh_port);
    let published = user::published(vm, port, ssh_port).into_iter();
    let found: Vec<(Route, SocketAddr)> = vouched_addresses(vm)
        .into_iter()
        .filter_map(|address| {
            let socket = address.socket_address(port)?;
            Some((Route::Network(address), socket))
        })
        .chain(published.map(|socket| (Route::Published(socket), socket)))
        .collect();
    if found.is_empty() {
        return Err(vec!["no address of it is known".into()]);
    }
    let candidates: Vec<SocketAddr> = found.iter().map(|(_, socket)| *socket).collect();
    match connect_first(&candidates, deadline) {
        Ok((place, stream)) => {
            let route = found[place].0.clone();
            // One that has died meanwhile may have left its port to another process.
            if let Route::Published(socket) = &route {
                if !user::published(vm, port, ssh_port).contains(socket) {
                    return Err(vec![format!("{route} (published): its passt has ended")]);
                }
            }
            Ok(GuestStream::new(route, stream.into()))
        }
        Err(failures) => Err(found
            .iter()
            .zip(failures)
            .map(|((route, _), failure)| match route {
                Route::Network(address) => format!("{address} ({}): {failure}", address.source),
                other => format!("{other} (published): {failure}"),
            })
            .collect()),
    }
}

/// Fails unless a guest can answer.
fn must_run(vm: &Vm) -> Result<(), MachineError> {
    match vm.state() {
        state @ (VmState::Stopped | VmState::Created | VmState::Paused) => {
            Err(vm.wrong_state("connect to", state))
        }
        VmState::Running | VmState::Unresponsive => Ok(()),
    }
}

fn must_not_be_paused(vm: &Vm) -> Result<(), MachineError> {
    match vm.state() {
        VmState::Paused => Err(vm.wrong_state("connect to", VmState::Paused)),
        _ => Ok(()),
    }
}

/// Fails early, and cheaply, where [`connect`] would for the machine's state.
pub(crate) fn must_be_reachable(vm: &Vm) -> Result<(), MachineError> {
    match std::os::unix::net::UnixStream::connect(vm.vsock()) {
        Ok(_) => Ok(()),
        Err(_) => must_run(vm),
    }
}

/// Why the guest can't be reached by vsock, in short.
fn describe_vsock_error(error: &HypervisorError) -> String {
    match error {
        HypervisorError::VsockRefused { .. } => "vsock: no process listens in the guest".into(),
        HypervisorError::VsockSilent { .. } => "vsock: the guest does not answer".into(),
        HypervisorError::Vsock { source, .. } => format!("vsock: {source}"),
        other => format!("vsock: {other}"),
    }
}
