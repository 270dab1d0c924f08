//! A dnsmasq that serves a managed network.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::deadline::Deadline;
use crate::managed::error::ManagedError;
use crate::managed::network::ManagedNetwork;
use crate::managed::nft;
use crate::passt::finish;

/// How long one may take to come up: on an idle host some ten milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one that is asked to end may take for it before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// The most of a file with a process id that is read, in bytes.
const MAX_PID_FILE: u64 = 32;
/// What it must have been built with, as its `--version` says it.
const NEEDED: [(&str, &str); 3] = [("inotify", "inotify"), ("DHCP", "DHCP"), ("DHCPv6", "DHCPv6")];

/// A dnsmasq that serves a managed network, held by a descriptor that can't come to mean another
/// process.
///
/// Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Dnsmasq {
    pid: u32,
    process: OwnedFd,
}

/// Makes sure that `program` is a dnsmasq that can serve a managed network, and returns its version.
///
/// # Errors
///
/// [`ManagedError::Run`], [`ManagedError::Unable`].
pub fn check_dnsmasq(program: &Path) -> Result<String, ManagedError> {
    let text = nft::output(program, &["--version"])?;
    for (word, lacks) in NEEDED {
        // What it lacks it calls `no-inotify`.
        if !text.split_ascii_whitespace().any(|found| found == word) {
            return Err(ManagedError::Unable { program: program.to_owned(), lacks });
        }
    }
    let version = text.lines().next().unwrap_or_default();
    let version = version.split_ascii_whitespace().nth(2).unwrap_or("of an unknown version");
    Ok(version.to_owned())
}

impl Dnsmasq {
    /// The one that serves `network`, by the process id that it has written; `None` if there is none. The
    /// process id alone is never believed: its arguments must name the network's configuration.
    pub fn find(network: &ManagedNetwork) -> Option<Self> {
        Self::hold(read_pid(&network.pid_file()).ok()?, network)
    }

    /// Those that serve `network`, also one that has lost the file with its process id.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Processes`] if `/proc` can't be read.
    pub fn all(network: &ManagedNetwork) -> Result<Vec<Self>, ManagedError> {
        let failed = |source| ManagedError::Processes { source };
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            found.extend(
                pid.filter(|pid| serves(*pid, network)).and_then(|pid| Self::hold(pid, network)),
            );
        }
        Ok(found)
    }

    /// Starts one by the configuration that is there, and waits until it serves.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Run`], [`ManagedError::Failed`] with its last words, [`ManagedError::Silent`].
    pub fn start(network: &ManagedNetwork) -> Result<Self, ManagedError> {
        let program = &network.dnsmasq;
        let failed = |source| ManagedError::Run { program: program.clone(), source };
        let mut command = Command::new(program);
        command.arg(config_argument(network)).current_dir("/").env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        tracing::debug!(?command, "starting dnsmasq");
        let mut child = command.spawn().map_err(failed)?;
        let errors = child.stderr.take().map(|errors| File::from(OwnedFd::from(errors)));
        // In its place it leaves a process in the background, once that serves.
        let finished = finish(child, errors, START_TIMEOUT).map_err(failed)?;
        let Some(finished) = finished else {
            return Err(ManagedError::Silent { program: program.clone(), timeout: START_TIMEOUT });
        };
        let found = Self::find(network).filter(|_| finished.status.success());
        found.inspect(|served| tracing::info!(pid = served.pid, "dnsmasq started")).ok_or_else(
            || ManagedError::Failed { program: program.clone(), output: finished.last_words() },
        )
    }

    fn hold(pid: u32, network: &ManagedNetwork) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        // First it is held, then looked at: what is seen is the process that is held.
        let process = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let held = serves(pid, network).then_some(Self { pid, process })?;
        (!held.wait_exit(Duration::ZERO)).then_some(held)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it read again what it knows of machines: of a file that is gone it is not told otherwise.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Process`].
    pub fn reread(&self) -> Result<(), ManagedError> {
        self.signal("notify", Signal::HUP)
    }

    /// Ends it, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`ManagedError::Process`] if this user may not, or if it does not end in time.
    pub fn end(&self, timeout: Duration) -> Result<(), ManagedError> {
        self.signal("end", Signal::TERM)?;
        if self.wait_exit(GRACE.min(timeout)) {
            return Ok(());
        }
        self.signal("end", Signal::KILL)?;
        match self.wait_exit(timeout) {
            true => Ok(()),
            false => {
                let source = io::ErrorKind::TimedOut.into();
                Err(ManagedError::Process { what: "end", pid: self.pid, source })
            }
        }
    }

    fn signal(&self, what: &'static str, signal: Signal) -> Result<(), ManagedError> {
        match pidfd_send_signal(&self.process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(ManagedError::Process { what, pid: self.pid, source: errno.into() }),
        }
    }

    fn wait_exit(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        loop {
            let mut watched = [PollFd::new(&self.process, PollFlags::IN)];
            let left = deadline.timespec().unwrap_or_default();
            match poll(&mut watched, Some(&left)) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return false,
                Ok(_) => return true,
            }
        }
    }
}

fn config_argument(network: &ManagedNetwork) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("--conf-file=");
    argument.push(network.config_file());
    argument
}

/// Whether the process was started with the network's configuration.
fn serves(pid: u32, network: &ManagedNetwork) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let wanted = config_argument(network);
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.any(|word| word == wanted.as_bytes())
}

/// Reads what dnsmasq writes. Whatever else is there is not waited for, nor followed.
fn read_pid(path: &Path) -> io::Result<u32> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut text = String::new();
    file.take(MAX_PID_FILE).read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}
