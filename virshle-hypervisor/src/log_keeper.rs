//! A process that keeps the logs of a cloud-hypervisor process within bounds, for as long as that runs.
//!
//! What a guest brings cloud-hypervisor to log has no end, and the kernel has no file that has one. So what
//! is logged goes through a pipe, and what reads it cuts the file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, fcntl_setfl, flock};
use rustix::io::Errno;

use crate::sys;
use crate::untrusted_file::open_untrusted;
use crate::watcher::pipe;

/// A log that is longer than this is cut, in bytes.
pub const KEPT_LOG_MAX: u64 = 1 << 20;
/// How much of its beginning is taken away, in bytes: a multiple of every filesystem's blocks. Who follows a
/// log that is kept knows by that where in it it is afterwards.
pub const KEPT_LOG_CUT: u64 = KEPT_LOG_MAX / 2;
/// How much is read at once.
const PIECE: usize = 16 << 10;
/// How long the last lines of a process that has ended may take to be written.
const SETTLE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

/// A program that calls [`keep_logs`] with the two numbers that its arguments end with, if they do, and what
/// it is called with before.
///
/// It is run beside each process that is [launched](crate::Launch::log_keeper): reads the log and the
/// events from pipes, writes them to their files, and keeps each below [`KEPT_LOG_MAX`]. It ends with that
/// process. Should it be killed, the process runs on without logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeeper {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl LogKeeper {
    /// Runs `program` with these arguments.
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        Self { program: program.into(), arguments: arguments.iter().map(OsString::from).collect() }
    }
}

/// The logs of a process, for a keeper that is to be started.
#[derive(Debug)]
pub(crate) struct KeptLogs {
    keeper: LogKeeper,
    log: KeptLog,
    events: Option<KeptLog>,
}

/// What a process writes its log and its events to: the files themselves, without a keeper.
pub(crate) fn keep(
    keeper: Option<&LogKeeper>,
    log: File,
    events: Option<File>,
) -> io::Result<(File, Option<File>, Option<KeptLogs>)> {
    let Some(keeper) = keeper.cloned() else { return Ok((log, events, None)) };
    let (kept, log) = KeptLog::new(log)?;
    let (kept_events, events) = events.map(KeptLog::new).transpose()?.unzip();
    Ok((log, events, Some(KeptLogs { keeper, log: kept, events: kept_events })))
}

impl KeptLogs {
    /// Starts the keeper, and gives its process id. One that can't be is warned of: the process that it is
    /// for runs.
    pub(crate) fn start(self) -> Option<u32> {
        match self.spawn() {
            Ok(child) => Some(child.id()),
            Err(error) => {
                tracing::warn!(%error, "the log of a VMM is not kept");
                None
            }
        }
    }

    fn spawn(self) -> io::Result<Child> {
        let Self { keeper, log, events } = self;
        let kept = events.map_or_else(Vec::new, |events| vec![events.pipe, events.file.into()]);
        let mut command = Command::new(&keeper.program);
        command
            .env_clear()
            .current_dir("/")
            .args(&keeper.arguments)
            .args(kept.iter().map(|descriptor| descriptor.as_raw_fd().to_string()))
            .stdin(log.pipe)
            .stdout(log.file)
            .stderr(Stdio::null());
        sys::make_keeper(&mut command, kept);
        command.spawn()
    }
}

/// A log that is kept: where it comes from, and its file, which is locked for as long as it is.
#[derive(Debug)]
pub(crate) struct KeptLog {
    pipe: OwnedFd,
    file: File,
}

impl KeptLog {
    /// A log for `file`, and what is written to instead of that: it never blocks, and what a keeper doesn't
    /// come to read is dropped.
    pub(crate) fn new(file: File) -> io::Result<(Self, File)> {
        let (read, write) = pipe()?;
        fcntl_setfl(&write, OFlags::NONBLOCK)?;
        // It passes to the keeper with the descriptor. One that can't be locked is kept all the same.
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            tracing::debug!(%error, "cannot lock a log");
        }
        Ok((Self { pipe: read, file }, write.into()))
    }
}

/// Keeps the log that comes in at standard input in the file that is standard output, and the events from
/// the first descriptor of `events`, if there are any, in the file that is the second; until both have
/// ended. What can't be written is dropped.
///
/// # Errors
///
/// If a descriptor isn't there.
pub fn keep_logs(events: Option<[RawFd; 2]>) -> io::Result<()> {
    let mut logs = vec![Log { pipe: sys::copy_of(0)?.into(), file: sys::copy_of(1)?.into() }];
    if let Some([pipe, file]) = events {
        logs.push(Log { pipe: sys::copy_of(pipe)?.into(), file: sys::copy_of(file)?.into() });
    }
    let mut piece = vec![0; PIECE];
    while !logs.is_empty() {
        let mut watched: Vec<PollFd<'_>> =
            logs.iter().map(|log| PollFd::new(&log.pipe, PollFlags::IN)).collect();
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        logs.retain_mut(|log| !ready.next().unwrap_or_default() || log.take_in(&mut piece));
    }
    Ok(())
}

struct Log {
    pipe: File,
    file: File,
}

impl Log {
    /// Takes in what is there: whether there may be more.
    fn take_in(&mut self, piece: &mut [u8]) -> bool {
        let length = match self.pipe.read(piece) {
            Ok(length) => length,
            Err(error) => return error.kind() == ErrorKind::Interrupted,
        };
        // A full disk is nothing that the guest's end should come of.
        if self.file.write_all(&piece[..length]).is_ok()
            && self.file.metadata().is_ok_and(|metadata| metadata.len() > KEPT_LOG_MAX)
        {
            drop(cut(&self.file));
        }
        length > 0
    }
}

/// Takes away the first [`KEPT_LOG_CUT`] bytes of a log that nothing else writes to (fallocate(2),
/// `FALLOC_FL_COLLAPSE_RANGE`).
fn cut(mut file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, KEPT_LOG_CUT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        other => return Ok(other?),
    }
    let mut end = vec![0; usize::try_from(KEPT_LOG_MAX).unwrap_or_default()];
    let length = file.read_at(&mut end, KEPT_LOG_CUT)?;
    file.set_len(0)?;
    file.write_all(&end[..length])
}

/// Waits until what keeps `log` has written the last of a process that has ended; for a second at most.
pub(crate) fn await_end(log: &Path) {
    let Ok(file) = open_untrusted(log) else { return };
    let started = Instant::now();
    // Nothing reports that a lock is free but to try it.
    while let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockShared) {
        if started.elapsed() > SETTLE {
            tracing::debug!(log = %log.display(), "it is still written to");
            return;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn log(directory: &Path) -> File {
        let path = directory.join("log");
        OpenOptions::new().read(true).append(true).create(true).open(path).unwrap()
    }

    #[test]
    fn what_comes_in_is_kept_and_cut_at_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut writer) = KeptLog::new(log(directory.path())).unwrap();
        let mut kept = Log { pipe: log.pipe.into(), file: log.file };
        let mut piece = vec![0; PIECE];
        for number in 0..400_u32 {
            writer.write_all(&[u8::try_from(number % 251).unwrap(); 8 << 10]).unwrap();
            assert!(kept.take_in(&mut piece));
            let length = kept.file.metadata().unwrap().len();
            assert!(length <= KEPT_LOG_MAX, "{length}");
        }
        writer.write_all(b"the end").unwrap();
        drop(writer);
        assert!(kept.take_in(&mut piece));
        assert!(!kept.take_in(&mut piece));
        let content = std::fs::read(directory.path().join("log")).unwrap();
        assert!(content.len() as u64 >= KEPT_LOG_CUT && content.ends_with(b"the end"));
    }

    #[test]
    fn a_keeper_that_does_not_read_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let (_log, mut writer) = KeptLog::new(log(directory.path())).unwrap();
        let written = (0..1000).find_map(|_| writer.write_all(&[b'x'; 4096]).err());
        assert_eq!(written.unwrap().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_end_of_a_log_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (log, _writer) = KeptLog::new(log(directory.path())).unwrap();
        let ended = std::thread::spawn(move || {
            std::thread::sleep(20 * LOOK);
            drop(log);
        });
        let started = Instant::now();
        await_end(&path);
        assert!(started.elapsed() >= 15 * LOOK);
        ended.join().unwrap();
        await_end(&path);
        await_end(&directory.path().join("gone"));
    }
}
