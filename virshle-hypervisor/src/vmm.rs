//! A running cloud-hypervisor process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::HypervisorError;
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
        Ok(Self { pid, api_socket: api_socket.to_owned(), process, client: None })
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

/// What a process was started as.
struct Arguments {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Arguments {
    /// `None` if it has ended, or has begun to: then the kernel gives an empty line.
    fn of(pid: u32) -> Option<Self> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let arguments: Vec<_> = line.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
        let arguments: Vec<_> = arguments.into_iter().map(OsStr::to_owned).collect();
        // Other users' is hidden; their arguments aren't.
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        let program = program
            .unwrap_or_else(|_| PathBuf::from(arguments.first().cloned().unwrap_or_default()));
        // So the kernel writes a program that was replaced while it ran.
        let program = match program.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
            Some(program) => PathBuf::from(OsString::from_vec(program.to_vec())),
            None => program,
        };
        Some(Self { program, arguments })
    }

    fn name_program(&self, program: &Path) -> bool {
        let name = |path: &Path| path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let expected = name(program);
        let started_as = self.arguments.first().map(|first| name(Path::new(first)));
        let names = [Some(name(&self.program)), started_as];
        // Distributions wrap the program and call the real one `.cloud-hypervisor-wrapped`.
        let known = |name: &OsString| {
            *name == expected || name.to_string_lossy().contains("cloud-hypervisor")
        };
        names.iter().flatten().filter(|name| !name.is_empty()).any(known)
    }

    /// The value of `--api-socket`.
    fn api_socket_option(&self) -> Option<&OsStr> {
        self.option("--api-socket")
    }

    /// The path of `--event-monitor`; `None` if it is a descriptor.
    fn event_file(&self) -> Option<&Path> {
        let path = self.option("--event-monitor")?.as_bytes().strip_prefix(b"path=")?;
        Some(Path::new(OsStr::from_bytes(path)))
    }

    /// The value of the option `name`.
    fn option(&self, name: &str) -> Option<&OsStr> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == name {
                return arguments.next().map(OsString::as_os_str);
            }
            let value = argument.as_bytes().strip_prefix(name.as_bytes());
            if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                return Some(OsStr::from_bytes(value));
            }
        }
        None
    }

    /// The path of `--api-socket`; `None` if it names a descriptor alone.
    fn api_socket(&self) -> Option<&Path> {
        let option = self.api_socket_option()?.as_bytes();
        let path = match option.strip_prefix(b"fd=") {
            Some(rest) => {
                let comma = rest.iter().position(|byte| *byte == b',')?;
                rest[comma + 1..].strip_prefix(b"path=")?
            }
            None => option.strip_prefix(b"path=").unwrap_or(option),
        };
        Some(Path::new(OsStr::from_bytes(path)))
    }

    fn have_api_socket(&self, socket: &Path) -> bool {
        if self.api_socket_option().is_none() {
            return false;
        }
        let same = |path: &Path| {
            path == socket
                || std::path::absolute(socket).is_ok_and(|socket| socket == path)
                || fs::canonicalize(path)
                    .is_ok_and(|path| fs::canonicalize(socket).is_ok_and(|socket| socket == path))
        };
        // A relative path means what it meant in the directory where the process was started.
        self.api_socket().is_none_or(|path| path.is_relative() || same(path))
    }
}

fn is_handed_over(option: &OsStr) -> bool {
    option.as_bytes().starts_with(b"fd=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(program: &str, arguments: &[&str]) -> Arguments {
        let arguments = arguments.iter().map(OsString::from).collect();
        Arguments { program: program.into(), arguments }
    }

    #[test]
    fn a_vmm_is_recognised_by_program_and_socket() {
        let socket = Path::new("/vm/1/ch.sock");
        for option in ["/vm/1/ch.sock", "path=/vm/1/ch.sock", "fd=7,path=/vm/1/ch.sock", "fd=7"] {
            let arguments = arguments("/usr/bin/cloud-hypervisor", &["x", "--api-socket", option]);
            assert!(arguments.name_program(Path::new("ch")));
            assert!(arguments.have_api_socket(socket), "{option}");
        }
        let other = arguments("/usr/bin/ch", &["ch", "--api-socket", "fd=7,path=/vm/2/ch.sock"]);
        assert!(!other.have_api_socket(socket));
        assert!(!other.name_program(Path::new("cloud-hypervisor")));
        assert!(other.name_program(Path::new("/opt/ch")));
        assert!(!arguments("/usr/bin/nc", &["nc", "-lU", "/vm/1/ch.sock"]).have_api_socket(socket));
    }

    #[test]
    fn the_files_that_are_a_vmms_own_are_seen_and_no_others() {
        let words = ["x", "--event-monitor", "path=/vm/1/events.json", "--disk", "path=/vm/2/os"];
        let seen = arguments("x", &words);
        assert_eq!(seen.event_file(), Some(Path::new("/vm/1/events.json")));
        assert_eq!(seen.api_socket(), None);
        let seen = arguments("x", &["x", "--event-monitor=fd=7", "--api-socket=/vm/1/ch.sock"]);
        assert_eq!(seen.event_file(), None);
        assert_eq!(seen.api_socket(), Some(Path::new("/vm/1/ch.sock")));
    }

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
