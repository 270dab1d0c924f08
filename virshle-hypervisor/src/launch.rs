//! Starts a cloud-hypervisor process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use crate::HypervisorError;
use crate::cage::{Cage, CageError, PreparedCage};
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Cause;
use crate::log::{is_routine, last_lines, open_kept_log, open_log};
use crate::log_keeper::{KeptLogs, LogKeeper, await_end, keep};
use crate::program::find_program;
use crate::program_version::version;
use crate::sys::view::EmptyNetwork;
use crate::sys::{self, Handover};
use crate::terminal::Terminal;
use crate::verbosity::{Seccomp, Verbosity};
use crate::version::Version;
use crate::vmm::Vmm;
use crate::watcher::{Ended, Watcher, failed_step, pipe};

/// How long one that ended too early may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A cloud-hypervisor process to be started.
///
/// The process is detached: it has its own session, inherits no descriptor, no ambient capability and
/// of the environment `PATH` alone, and lives on when its starter ends. Its API socket, its log and
/// its event file are created here, private to the starter's user, and handed over as descriptors: no
/// one waits for them to appear, and the process needs no right to create them. A [`cage`](Self::cage)
/// takes more from it.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `spawn`"]
pub struct Launch {
    program: PathBuf,
    api_socket: PathBuf,
    log_file: Option<PathBuf>,
    event_file: Option<PathBuf>,
    serial_log: Option<PathBuf>,
    verbosity: Verbosity,
    seccomp: Seccomp,
    working_folder: PathBuf,
    start_timeout: Duration,
    arguments: Vec<OsString>,
    cage: Option<Cage>,
    log_keeper: Option<LogKeeper>,
}

impl Launch {
    /// Starts `program`, a path or a name to be looked up in `PATH`, with its API at `api_socket`.
    pub fn new(program: &Path, api_socket: &Path) -> Self {
        Self {
            program: program.to_owned(),
            api_socket: api_socket.to_owned(),
            log_file: None,
            event_file: None,
            serial_log: None,
            verbosity: Verbosity::default(),
            seccomp: Seccomp::default(),
            working_folder: "/".into(),
            start_timeout: Duration::from_secs(10),
            arguments: Vec::new(),
            cage: None,
            log_keeper: None,
        }
    }

    /// Keeps the log, standard output and standard error in a file; they are dropped otherwise.
    /// The file of the run before is kept beside it, with `.1` at the end of its name.
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.log_file = Some(path.into());
        self
    }

    /// Keeps the events in a file, see [`EventReader`](crate::EventReader). The file of the run
    /// before is kept beside it, with `.1` at the end of its name.
    pub fn event_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.event_file = Some(path.into());
        self
    }

    /// Appends what the guest writes to a serial port of mode
    /// [`Tty`](crate::ConsoleMode::Tty) to a file, and gives that port a terminal to be typed at,
    /// see [`Vmm::terminal`]. The file of the run before is kept beside it, with `.1` at the end of
    /// its name. It grows as the guest pleases; cutting it is allowed at any time.
    pub fn serial_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.serial_log = Some(path.into());
        self
    }

    /// Keeps the log and the events within bounds, by a process that runs as long as this one: without, what
    /// a guest brings cloud-hypervisor to write there has no end.
    pub fn log_keeper(mut self, keeper: LogKeeper) -> Self {
        self.log_keeper = Some(keeper);
        self
    }

    /// Sets how much is logged.
    pub fn verbosity(mut self, verbosity: Verbosity) -> Self {
        self.verbosity = verbosity;
        self
    }

    /// Sets what unforeseen system calls lead to.
    pub fn seccomp(mut self, seccomp: Seccomp) -> Self {
        self.seccomp = seccomp;
        self
    }

    /// Sets the directory that relative paths of a [`VmConfig`](crate::VmConfig) start at; `/`
    /// unless set.
    pub fn working_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_folder = path.into();
        self
    }

    /// Sets how long the program may take until it answers; 10 seconds unless set.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Adds an argument of the program, as `--no-shutdown`.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Runs the process in a cage: all its threads are born there.
    pub fn cage(mut self, cage: Cage) -> Self {
        self.cage = Some(cage);
        self
    }

    /// Starts the process and waits until it answers.
    ///
    /// A socket in the place of the API socket at which no process listens is removed first. On
    /// failure no process is left, and no socket; the log files stay.
    ///
    /// # Errors
    ///
    /// [`InUse`](HypervisorError::InUse), [`Bind`](HypervisorError::Bind),
    /// [`Log`](HypervisorError::Log) before anything is started;
    /// [`Cage`](HypervisorError::Cage) if its cage can't be built,
    /// [`Run`](HypervisorError::Run) if the program can't be run,
    /// [`Died`](HypervisorError::Died) with the end of its log if it ended,
    /// [`Silent`](HypervisorError::Silent) if it didn't answer in time,
    /// [`TooOld`](HypervisorError::TooOld), [`Wrapped`](HypervisorError::Wrapped) if the program runs
    /// cloud-hypervisor without becoming it, and what else [`Client::ping`] may fail with.
    pub fn spawn(&self) -> Result<Vmm, HypervisorError> {
        self.spawn_while(|| ())
    }

    /// Does as [`spawn`](Self::spawn), and `work` while the process comes up: it takes some
    /// milliseconds, in which there is nothing else to do.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_while(&self, work: impl FnOnce()) -> Result<Vmm, HypervisorError> {
        let deadline = Deadline::after(self.start_timeout);
        let network = self.cage.as_ref().and_then(Cage::begin_network);
        let socket =
            std::path::absolute(&self.api_socket).map_err(|source| self.cannot_bind(source))?;
        // First of all: the log of a process that runs must stay its log.
        let listener = self.bind(&socket)?;
        let started = self.start(&socket, listener, network, &deadline, work);
        if started.is_err() {
            // The error reports what failed; a socket without listener is harmless to the next one.
            drop(fs::remove_file(&socket));
        }
        started
    }

    fn start(
        &self,
        socket: &Path,
        listener: OwnedFd,
        network: Option<EmptyNetwork>,
        deadline: &Deadline,
        work: impl FnOnce(),
    ) -> Result<Vmm, HypervisorError> {
        // Before anything is put aside.
        let program = self.program()?;
        let prepare = |cage: &Cage| cage.prepare_with(network, &program);
        let cage = self.cage.as_ref().map(prepare).transpose();
        let cage = cage.map_err(|error| match error {
            CageError::File { path, source } if path == program => self.cannot_run(source),
            error => self.cannot_cage(error),
        })?;
        let open = if self.log_keeper.is_some() { open_kept_log } else { open_log };
        let log = open(self.log_file.as_deref().unwrap_or(Path::new("/dev/null")))?;
        let events = self.event_file.as_deref().map(open).transpose()?;
        let keeper = self.log_keeper.as_ref();
        let (log, events, kept) =
            keep(keeper, log, events).map_err(|source| self.cannot_run(source))?;
        let watcher = self.run(&program, socket, listener, Files { log, events }, cage)?;
        let keeper = kept.and_then(KeptLogs::start);
        work();
        let vmm = self.greet(socket, deadline, watcher)?.with_log_keeper(keeper);
        tracing::info!(pid = vmm.pid(), socket = %socket.display(), "VMM started");
        Ok(vmm)
    }

    /// The program as a path.
    fn program(&self) -> Result<PathBuf, HypervisorError> {
        let cannot_run = || self.cannot_run(io::ErrorKind::NotFound.into());
        find_program(&self.program).ok_or_else(cannot_run)
    }

    fn run(
        &self,
        program: &Path,
        socket: &Path,
        listener: OwnedFd,
        files: Files,
        cage: Option<PreparedCage>,
    ) -> Result<Watcher, HypervisorError> {
        let cannot_run = |source| self.cannot_run(source);
        let Files { log, events } = files;
        let mut command = Command::new(program);
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.arg("--api-socket").arg(api_socket(listener.as_raw_fd(), socket));
        let mut kept = Vec::new();
        if let Some(events) = events {
            let events = sys::above_standard(events.as_fd()).map_err(cannot_run)?;
            command.arg("--event-monitor").arg(format!("fd={}", events.as_raw_fd()));
            kept.push(events);
        }
        command.args(self.verbosity.arguments()).args(self.seccomp.arguments());
        command.args(&self.arguments).current_dir(&self.working_folder).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(cannot_run)?);
        command.stderr(log.try_clone().map_err(cannot_run)?);
        if let Some(path) = &self.serial_log {
            let terminal = Terminal::open().map_err(cannot_run)?;
            command.stdin(terminal.upper).stdout(open_log(path)?);
            kept.push(sys::above_standard(terminal.lower.as_fd()).map_err(cannot_run)?);
        }

        let (status, status_end) = pipe().map_err(cannot_run)?;
        let (release_end, release) = pipe().map_err(cannot_run)?;
        sys::detach(
            &mut command,
            Handover {
                listener,
                kept,
                status: status_end,
                release: release_end,
                cage: cage.map(PreparedCage::into_entry),
            },
        );
        tracing::debug!(?command, "starting");
        match command.spawn() {
            Ok(child) => Ok(Watcher::new(child, status, release)),
            Err(source) => Err(match failed_step(status) {
                Some(step) => self.cannot_cage(CageError::Apply { step, source }),
                None => cannot_run(source),
            }),
        }
    }

    /// Waits until the process answers, and checks who answered.
    fn greet(
        &self,
        socket: &Path,
        deadline: &Deadline,
        mut watcher: Watcher,
    ) -> Result<Vmm, HypervisorError> {
        let left = deadline.left().unwrap_or_default();
        let client = match Client::connect(socket, left) {
            Ok(client) => client,
            Err(error) if error.nobody_listens() => return Err(self.died(&mut watcher, error)),
            Err(error) => return Err(error),
        };
        let Some(pid) = client.peer_pid() else {
            return Err(self.died(&mut watcher, self.cannot_find(io::ErrorKind::NotFound.into())));
        };
        // The watcher hasn't reaped it before it is released: this is the same process.
        let vmm = match Vmm::open(pid, socket) {
            Ok(vmm) => vmm.with_client(client.clone()),
            Err(error) => return Err(self.died(&mut watcher, error)),
        };
        let failure = match client.ping() {
            Ok(ping) => match Version::parse(&ping.version) {
                Some(version) if version < Version::MINIMUM => {
                    HypervisorError::TooOld { program: self.program.clone(), version }
                }
                // What is not recognised later can't be stopped later.
                _ => match vmm.unrecognised(&self.program) {
                    Some(found) => {
                        HypervisorError::Wrapped { program: self.program.clone(), pid, found }
                    }
                    None => return Ok(vmm),
                },
            },
            Err(HypervisorError::Silent { what, socket, .. }) => {
                let timeout = self.start_timeout;
                HypervisorError::Silent { what, socket, timeout }
            }
            Err(error)
                if matches!(error, HypervisorError::Broken { .. }) || error.nobody_listens() =>
            {
                self.died(&mut watcher, error)
            }
            Err(error) => error,
        };
        // The process leads a session of its own: what it has started is ended with it.
        if let Err(error) = vmm.kill_group() {
            tracing::warn!(%error, pid, "a process that failed to start is left");
        }
        vmm.wait_exit(Duration::from_secs(5));
        Err(failure)
    }

    /// Turns a broken connection into the end of the process, if that is what it was.
    fn died(&self, watcher: &mut Watcher, otherwise: HypervisorError) -> HypervisorError {
        match watcher.ended(Duration::from_secs(2)) {
            Ended::No => otherwise,
            // One that is too old does not know the options it is started with, and says only that.
            Ended::Yes(status) => match version(&self.program, VERSION_TIMEOUT) {
                Err(error @ HypervisorError::TooOld { .. }) => error,
                _ => HypervisorError::Died {
                    program: self.program.clone(),
                    status,
                    output: self
                        .log_file
                        .as_deref()
                        .inspect(|log| await_end(log))
                        .and_then(|log| Cause::chain(telling(last_lines(log, 10)))),
                },
            },
        }
    }

    fn bind(&self, socket: &Path) -> Result<OwnedFd, HypervisorError> {
        if let Ok(metadata) = fs::symlink_metadata(socket) {
            if !metadata.file_type().is_socket() {
                return Err(self.cannot_bind(io::ErrorKind::AlreadyExists.into()));
            }
            match Client::connect(socket, Duration::from_secs(1)) {
                Ok(client) => {
                    let pid = client.peer_pid().unwrap_or_default();
                    return Err(HypervisorError::InUse { socket: socket.to_owned(), pid });
                }
                Err(error) if error.nobody_listens() => {
                    tracing::debug!(socket = %socket.display(), "removing a stale API socket");
                    fs::remove_file(socket).map_err(|source| self.cannot_bind(source))?;
                }
                Err(error) => return Err(error),
            }
        }
        let bound = || {
            let address = SocketAddrUnix::new(socket)?;
            let kind = SocketType::STREAM;
            let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            // Before bind(2), which gives the file the socket's mode: it is never open to others.
            fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
            bind(&fd, &address)?;
            sys::above_standard(fd.as_fd())
        };
        bound().map_err(|source| self.cannot_bind(source))
    }

    fn cannot_run(&self, source: io::Error) -> HypervisorError {
        HypervisorError::Run { program: self.program.clone(), source }
    }

    fn cannot_cage(&self, source: CageError) -> HypervisorError {
        HypervisorError::Cage { program: self.program.clone(), source }
    }

    fn cannot_bind(&self, source: io::Error) -> HypervisorError {
        HypervisorError::Bind { socket: self.api_socket.clone(), source }
    }

    fn cannot_find(&self, source: io::Error) -> HypervisorError {
        HypervisorError::Find { socket: self.api_socket.clone(), source }
    }
}

/// The files that a process writes to through descriptors.
struct Files {
    log: File,
    events: Option<File>,
}

/// Those of the lines that are not routine; all of them, if they all are.
fn telling(lines: Vec<String>) -> Vec<String> {
    let telling: Vec<String> = lines.iter().filter(|line| !is_routine(line)).cloned().collect();
    if telling.is_empty() { lines } else { telling }
}

/// The option of the API socket. cloud-hypervisor takes the descriptor; the path is there for
/// people, and for [`Vmm::find`], which looks for it.
fn api_socket(descriptor: i32, path: &Path) -> OsString {
    let mut option = OsString::from(format!("fd={descriptor}"));
    let special = |byte: &u8| b"\"[]".contains(byte);
    if !path.as_os_str().as_encoded_bytes().iter().any(special) {
        option.push(",path=");
        option.push(path);
    }
    option
}
