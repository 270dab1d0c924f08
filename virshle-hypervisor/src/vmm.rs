//! A running cloud-hypervisor process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::HypervisorError;
use crate::arguments::{Arguments, is_handed_over};
use crate::client::Client;
use crate::deadline::Deadline;

/// How long a process may take to accept a connection to a socket that it listens at.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A running cloud-hypervisor process, held by a descriptor that can't come to mean another one.
///
/// Dropping it leaves the process alone; [`kill_on_drop`](Self::kill_on_drop) doesn't.
#[derive(Debug)]
pub struct Vmm {
    pid: u32,
    api_socket: PathBuf,
    process: OwnedFd,
    client: Option<Client>,
    log_keeper: Option<u32>,
}

impl Vmm {
    /// The process that listens at `api_socket`; `None` if none does.
    ///
    /// It is found by the socket's peer, as the kernel reports it, and recognised by its executable
    /// and its arguments; a pid that was written down somewhere isn't needed. `program` is what it
    /// was started as; a program whose name has `cloud-hypervisor` in it is recognised as well.
    ///
    /// # Errors
    ///
    /// [`Foreign`](HypervisorError::Foreign) if another program listens there,
    /// [`Connect`](HypervisorError::Connect) if this user may not connect,
    /// [`Silent`](HypervisorError::Silent) if more clients wait than the socket has room for.
    pub fn find(api_socket: &Path, program: &Path) -> Result<Option<Self>, HypervisorError> {
        let client = match Client::connect(api_socket, CONNECT_TIMEOUT) {
            Ok(client) => client,
            Err(error) if error.nobody_listens() => return Ok(None),
            Err(error) => return Err(error),
        };
        let cannot_find = |source| HypervisorError::Find { socket: api_socket.to_owned(), source };
        let pid = client.peer_pid().ok_or_else(|| cannot_find(io::ErrorKind::NotFound.into()))?;
        let foreign =
            |program| HypervisorError::Foreign { socket: api_socket.to_owned(), pid, program };
        // A process of another namespace has no number in ours.
        if pid == 0 {
            return Err(foreign("of another process namespace".into()));
        }
        let vmm = match Self::open(pid, api_socket) {
            Ok(vmm) => vmm,
            Err(HypervisorError::Process { source, .. })
                if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let Some(arguments) = Arguments::of(pid) else {
            // It is on its way out: its memory goes before its sockets do.
            return if vmm.wait_exit(CONNECT_TIMEOUT) {
                Ok(None)
            } else {
                Err(foreign("?".into()))
            };
        };
        if arguments.name_program(program) && arguments.have_api_socket(api_socket) {
            Ok(Some(vmm.with_client(client)))
        } else {
            Err(foreign(arguments.program.display().to_string()))
        }
    }

    /// The cloud-hypervisor processes that were started with their API socket below `root`, or their
    /// event file, as [`Launch`](crate::Launch) starts them. Such a process may have lost its socket,
    /// and then [`find`](Self::find) doesn't see it. Other files of theirs don't count: anyone may
    /// run a machine on an image that lies there.
    ///
    /// Any user's process may have such arguments: [`uid`](Self::uid) tells whose it is.
    ///
    /// # Errors
    ///
    /// [`Processes`](HypervisorError::Processes) if `/proc` can't be read.
    #[doc(alias = "orphans")]
    pub fn all_under(root: &Path) -> Result<Vec<Self>, HypervisorError> {
        let failed = |source| HypervisorError::Processes { source };
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // First held, then looked at: what is seen is the process that is held.
            let Ok(vmm) = Self::open(pid, Path::new("")) else { continue };
            let Some(arguments) = Arguments::of(pid) else { continue };
            // A program of any name that was handed its socket as we do it is one of ours.
            let handed = arguments.api_socket_option().is_some_and(is_handed_over);
            let ours = handed || arguments.name_program(Path::new(""));
            if !ours || vmm.wait_exit(Duration::ZERO) {
                continue;
            }
            let own = arguments.api_socket().or_else(|| arguments.event_file());
            if let Some(path) = own.filter(|path| path.starts_with(root)) {
                found.push(Self { api_socket: path.to_owned(), ..vmm });
            }
        }
        Ok(found)
    }

    pub(crate) fn open(pid: u32, api_socket: &Path) -> Result<Self, HypervisorError> {
        let failed = |source| HypervisorError::Process { what: "hold", pid, source };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let process = pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { pid, api_socket: api_socket.to_owned(), process, client: None, log_keeper: None })
    }

    /// The program that this process is, if [`find`](Self::find) would not recognise it.
    pub(crate) fn unrecognised(&self, program: &Path) -> Option<String> {
        // One that has ended meanwhile is no other program.
        let arguments = Arguments::of(self.pid)?;
        let is_known =
            arguments.name_program(program) && arguments.have_api_socket(&self.api_socket);
        (!is_known).then(|| arguments.program.display().to_string())
    }

    /// Ends the process, and every other of its group (SIGKILL).
    pub(crate) fn kill_group(&self) -> Result<(), HypervisorError> {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // One that leads no group has none to end.
            if let Err(error) = kill_process_group(group, Signal::KILL) {
                tracing::debug!(%error, pid = self.pid, "no process group");
            }
        }
        self.kill()
    }

    pub(crate) fn with_client(self, client: Client) -> Self {
        Self { client: Some(client), ..self }
    }

    pub(crate) fn with_log_keeper(self, log_keeper: Option<u32>) -> Self {
        Self { log_keeper, ..self }
    }

    /// The process that keeps its logs, if this one was started with a
    /// [`LogKeeper`](crate::LogKeeper) and is still held by what started it.
    pub fn log_keeper(&self) -> Option<u32> {
        self.log_keeper
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The user it runs as; `None` if it has ended, or the kernel hides it.
    ///
    /// # References
    ///
    /// proc_pid_status(5), `Uid`: the owner of the entry in `/proc` is root's for a process that
    /// can't be dumped.
    pub fn uid(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        // The real one first, then the effective one.
        let uid = line.split_whitespace().nth(1)?.parse().ok()?;
        // It is this process that was read of, and not one that came after it.
        (!self.wait_exit(Duration::ZERO)).then_some(uid)
    }

    /// Its API socket.
    pub fn api_socket(&self) -> &Path {
        &self.api_socket
    }

    /// A client of its API, with this timeout for each call.
    pub fn client(&self, timeout: Duration) -> Client {
        match &self.client {
            Some(client) => client.within(timeout),
            None => Client::to_connect(&self.api_socket, timeout),
        }
    }

    /// The terminal at which its serial port of mode [`Tty`](crate::ConsoleMode::Tty) is typed at,
    /// if it was started with [`Launch::serial_log`](crate::Launch::serial_log).
    ///
    /// What is written there reaches the guest; what the guest writes is in the log. Open it with
    /// `O_NOCTTY`.
    ///
    /// # Errors
    ///
    /// [`Process`](HypervisorError::Process) if this user may not look at its descriptors.
    pub fn terminal(&self) -> Result<Option<PathBuf>, HypervisorError> {
        crate::terminal::lower_side_of(self.pid).map_err(|source| HypervisorError::Process {
            what: "find the terminal of",
            pid: self.pid,
            source,
        })
    }

    /// Waits until the process has ended, and returns whether it has. A timeout of zero asks.
    pub fn wait_exit(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        loop {
            let mut watched = [PollFd::new(&self.process, PollFlags::IN)];
            match poll(&mut watched, deadline.left_to_poll().as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return false,
                Ok(_) => return true,
            }
        }
    }

    /// Asks the process to end (SIGTERM) and waits; returns whether it has. The guest sees a power
    /// cut.
    ///
    /// One that waits for a vhost-user peer doesn't handle SIGTERM: [`kill`](Self::kill) it.
    ///
    /// # Errors
    ///
    /// [`Process`](HypervisorError::Process) if this user may not.
    pub fn terminate(&self, timeout: Duration) -> Result<bool, HypervisorError> {
        self.signal(Signal::TERM)?;
        Ok(self.wait_exit(timeout))
    }

    /// Ends the process at once (SIGKILL); [`wait_exit`](Self::wait_exit) reports when it is gone.
    ///
    /// Its sockets stay, and those of serial port, vsock and vhost-user are in the way of the next
    /// start.
    ///
    /// # Errors
    ///
    /// [`Process`](HypervisorError::Process) if this user may not.
    pub fn kill(&self) -> Result<(), HypervisorError> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<(), HypervisorError> {
        match pidfd_send_signal(&self.process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => {
                let source = errno.into();
                Err(HypervisorError::Process { what: "signal", pid: self.pid, source })
            }
        }
    }
}

impl AsFd for Vmm {
    /// The descriptor that becomes readable when the process ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_is_found_where_none_listens() {
        assert!(Vmm::find(Path::new("/nowhere/ch.sock"), Path::new("ch")).unwrap().is_none());
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("ch.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(Vmm::find(&socket, Path::new("ch")).unwrap().is_none());
    }

    #[test]
    fn a_server_that_isnt_cloud_hypervisor_is_foreign() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("ch.sock");
        let _server = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let program = Path::new("/opt/other");
        let error = Vmm::find(&socket, program).unwrap_err();
        assert!(matches!(error, HypervisorError::Foreign { .. }), "{error}");
    }
}
