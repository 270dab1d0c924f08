//! Starts a passt.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::deadline::Deadline;
use crate::passt::error::PasstError;
use crate::passt::process::Passt;
use crate::passt::request::PasstRequest;

/// How long one that is not wanted may take to come up, and to end.
const ENDING: Duration = Duration::from_secs(5);
/// The most of its output that is looked at.
const MAX_OUTPUT: usize = 64 << 10;
/// The lines of its last words that an error carries.
const LAST_LINES: usize = 3;

/// A passt that is coming up: some milliseconds, in which there is other work.
///
/// Dropped before it is up, it is ended.
#[derive(Debug)]
#[must_use = "it is ended when this is dropped"]
pub struct StartingPasst {
    request: PasstRequest,
    child: Option<Child>,
}

impl PasstRequest {
    /// Starts it and waits until it serves its socket and has its ports.
    ///
    /// # Errors
    ///
    /// [`PasstError::Run`], [`PasstError::Died`] with its last words, [`PasstError::Silent`]. Nothing
    /// is left then.
    pub fn start(&self, timeout: Duration) -> Result<Passt, PasstError> {
        self.begin(self.command())?.wait(timeout)
    }

    /// Starts `command`, which is its [`command`](Self::command), and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`PasstError::Run`].
    pub fn begin(&self, mut command: Command) -> Result<StartingPasst, PasstError> {
        tracing::debug!(?command, "starting passt");
        let failed = |source| PasstError::Run { program: self.program.clone(), source };
        let child = command.spawn().map_err(failed)?;
        Ok(StartingPasst { request: self.clone(), child: Some(child) })
    }
}

impl StartingPasst {
    /// Waits until it serves its socket and has its ports.
    ///
    /// # Errors
    ///
    /// [`PasstError::Died`] with its last words, [`PasstError::Silent`]. Nothing is left then.
    pub fn wait(mut self, timeout: Duration) -> Result<Passt, PasstError> {
        let request = self.request.clone();
        let Some((child, errors)) = self.take() else { return Err(PasstError::Silent { timeout }) };
        let failed = |source| PasstError::Run { program: request.program.clone(), source };
        let Some(finished) = finish(child, errors, timeout).map_err(failed)? else {
            clear(&request);
            return Err(PasstError::Silent { timeout });
        };
        // In its place it leaves a process in the background.
        let found = Passt::find(request.pid_file(), request.socket());
        match found.filter(|_| finished.status.success()) {
            Some(passt) => {
                if let Err(source) = make_private(request.socket(), request.run_as) {
                    clear(&request);
                    return Err(failed(source));
                }
                tracing::info!(pid = passt.pid(), socket = %passt.socket().display(), "passt started");
                Ok(passt)
            }
            None => {
                clear(&request);
                Err(PasstError::Died { output: finished.last_words() })
            }
        }
    }
}

impl StartingPasst {
    fn take(&mut self) -> Option<(Child, Option<File>)> {
        let mut child = self.child.take()?;
        let errors = child.stderr.take().map(|errors| File::from(OwnedFd::from(errors)));
        Some((child, errors))
    }
}

impl Drop for StartingPasst {
    fn drop(&mut self) {
        if let Some((child, errors)) = self.take() {
            // In a moment it has failed, or gone into the background and written its process id; killed
            // in between, it would leave a process that is harder to find.
            drop(finish(child, errors, ENDING));
            clear(&self.request);
        }
    }
}

/// Gives its socket to the user it runs as, and takes the access of others from it, whatever the umask
/// said when it was bound.
fn make_private(socket: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    // Not by its name, which may be a link by now.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(socket, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its socket is something else by now",
        ));
    }
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(&place, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(rustix::fs::chmod(path, Mode::RWXU)?)
}

/// Removes what a passt that is not wanted may have left: itself, its socket, its file.
fn clear(request: &PasstRequest) {
    let ended = match Passt::find(request.pid_file(), request.socket()) {
        Some(passt) => passt.end(ENDING),
        // One that was ended half-way may have left another without its process id.
        None => Passt::all_under(request.socket())
            .and_then(|all| all.iter().try_for_each(|passt| passt.end(ENDING))),
    };
    if let Err(error) = ended {
        tracing::warn!(%error, "a passt is left behind");
    }
    for path in [request.socket(), request.pid_file()] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove");
            }
            _ => {}
        }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

impl Finished {
    /// What it said at last, in one line.
    pub(crate) fn last_words(&self) -> String {
        let lines = self.output.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        match &lines[lines.len().saturating_sub(LAST_LINES)..] {
            [] => self.status.to_string(),
            last => last.join("; "),
        }
    }
}

/// Waits until a program has ended and closed `output`, its output and errors; `None` if it takes
/// longer, and then it is ended.
pub(crate) fn finish(
    mut child: Child,
    output: Option<File>,
    timeout: Duration,
) -> io::Result<Option<Finished>> {
    let deadline = Deadline::after(timeout);
    let finished = read_all(&child, output, deadline);
    if !matches!(finished, Ok(Some(_))) {
        drop(child.kill()); // It may have ended just now.
        child.wait()?;
    }
    let Some(output) = finished? else { return Ok(None) };
    Ok(Some(Finished { status: child.wait()?, output }))
}

/// All that it prints until it has ended; `None` if that does not come in time.
fn read_all(
    child: &Child,
    mut pipe: Option<File>,
    deadline: Deadline,
) -> io::Result<Option<String>> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = pidfd_open(id.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    let mut output = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Some(left) = deadline.timespec() else { return Ok(None) };
        let watched = pipe.as_ref().map_or(process.as_fd(), AsFd::as_fd);
        match poll(&mut [PollFd::from_borrowed_fd(watched, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Ok(None),
            result => result.map(drop)?,
        }
        let Some(open) = &mut pipe else {
            return Ok(Some(String::from_utf8_lossy(&output).into_owned()));
        };
        match open.read(&mut chunk) {
            Ok(0) => pipe = None,
            // So a terminal ends.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => pipe = None,
            Ok(read) if output.len() < MAX_OUTPUT => output.extend_from_slice(&chunk[..read]),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}
