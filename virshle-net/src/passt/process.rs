//! A passt that runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::deadline::Deadline;
use crate::passt::arguments::Arguments;
use crate::passt::error::PasstError;

/// The most of a file with a process id that is read, in bytes.
const MAX_PID_FILE: u64 = 32;

/// A passt that runs, held by a descriptor that can't come to mean another process.
///
/// Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Passt {
    pid: u32,
    socket: PathBuf,
    process: OwnedFd,
}

impl Passt {
    /// The passt that serves `socket` and has written its process id to `pid_file`; `None` if there
    /// is none. The process id alone is never believed: its arguments must name that socket.
    pub fn find(pid_file: &Path, socket: &Path) -> Option<Self> {
        let passt = Self::hold(read_pid(pid_file).ok()?)?;
        (passt.socket == socket).then_some(passt)
    }

    /// The passts that serve a socket below `root`, also those that have lost the file with their
    /// process id.
    ///
    /// # Errors
    ///
    /// [`PasstError::Processes`] if `/proc` can't be read.
    #[doc(alias = "orphans")]
    pub fn all_under(root: &Path) -> Result<Vec<Self>, PasstError> {
        let failed = |source| PasstError::Processes { source };
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok());
            let passt = pid.filter(|pid| serves_below(*pid, root)).and_then(Self::hold);
            found.extend(passt.filter(|passt| passt.socket.starts_with(root)));
        }
        Ok(found)
    }

    /// The passt of that process id. First it is held, then looked at: what is seen is the process
    /// that is held.
    fn hold(pid: u32) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let process = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let socket = Arguments::of(pid)?.socket()?;
        let passt = Self { pid, socket, process };
        (!passt.wait_exit(Duration::ZERO)).then_some(passt)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The vhost-user socket that it serves.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it and waits until it has ended: its ports are free then. Its socket stays.
    ///
    /// # Errors
    ///
    /// [`PasstError::Process`] if this user may not, or if it does not end in time.
    pub fn end(&self, timeout: Duration) -> Result<(), PasstError> {
        let failed = |source| PasstError::Process { what: "end", pid: self.pid, source };
        // It has nothing to put in order.
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        match self.wait_exit(timeout) {
            true => Ok(()),
            false => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Waits until it has ended, and returns whether it has. A timeout of zero asks.
    pub fn wait_exit(&self, timeout: Duration) -> bool {
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

/// Whether it is worth a descriptor: of a thousand processes hardly one is.
fn serves_below(pid: u32, root: &Path) -> bool {
    let socket = Arguments::of(pid).and_then(|arguments| arguments.socket());
    socket.is_some_and(|socket| socket.starts_with(root))
}

/// Reads what passt writes with `--pid`. Whatever else is there is not waited for, nor followed.
fn read_pid(path: &Path) -> io::Result<u32> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut text = String::new();
    file.take(MAX_PID_FILE).read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_no_passt_whatever_the_file_says() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        for text in [std::process::id().to_string(), "0".into(), "-1".into(), "x".into()] {
            std::fs::write(&file, text).unwrap();
            assert!(Passt::find(&file, Path::new("/a")).is_none());
        }
        assert!(Passt::find(&directory.path().join("none"), Path::new("/a")).is_none());
    }

    #[test]
    fn a_passt_is_found_by_its_socket_and_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (file, socket) = (directory.path().join("pid"), directory.path().join("a.sock"));
        // What counts is how it was started. It waits by itself: a child would look the same for a moment.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", "passt", "--vhost-user", "--socket"])
            .arg(&socket)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(&file, child.id().to_string()).unwrap();
        let deadline = Deadline::after(Duration::from_secs(20));
        let passt = loop {
            match Passt::find(&file, &socket) {
                // Between fork and exec it still is this test.
                None => assert!(deadline.remaining().is_some(), "not found"),
                Some(passt) => break passt,
            }
        };
        assert!(Passt::find(&file, Path::new("/b.sock")).is_none());
        let all = Passt::all_under(directory.path()).unwrap();
        assert_eq!(all.iter().map(Passt::pid).collect::<Vec<_>>(), [child.id()]);
        // Its parent has not seen it end yet.
        passt.end(Duration::from_secs(20)).unwrap();
        assert!(Passt::find(&file, &socket).is_none());
        child.wait().unwrap();
    }
}
