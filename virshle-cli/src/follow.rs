//! Follows files that grow, and waits for changes with inotify(7) instead of polling.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use virshle_core::LOG_CUT;
use virshle_core::hypervisor::open_untrusted;

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

/// A file that another process appends to, and how far it was read.
#[derive(Debug)]
pub(crate) struct Growing {
    path: PathBuf,
    file: Option<File>,
    read: u64,
    cut: u64,
}

impl Growing {
    /// The file `path`, from its beginning. It need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, read: 0, cut: LOG_CUT }
    }

    /// Sets what the file is cut by, or by a multiple of: [`LOG_CUT`] unless set.
    pub(crate) fn cut_by(self, cut: u64) -> Self {
        Self { cut, ..self }
    }

    /// The file `path` from its last whole lines, at most `most` bytes of them; and how many bytes those
    /// are.
    ///
    /// # Errors
    ///
    /// If the file can't be read; one that doesn't exist has no lines.
    pub(crate) fn from_end(path: PathBuf, most: u64) -> io::Result<(Self, u64)> {
        let mut growing = Self::new(path);
        growing.reopen()?;
        let Some(file) = &mut growing.file else { return Ok((growing, 0)) };
        let length = file.metadata()?.len();
        let mut start = length.saturating_sub(most);
        if start > 0 {
            let mut piece = vec![0; PIECE];
            let read = file.read_at(&mut piece, start)?;
            // After the partial line; a line longer than a piece is cut anywhere.
            let line = piece[..read].iter().position(|byte| *byte == b'\n');
            start += line.map_or(0, |end| end as u64 + 1);
        }
        growing.read = file.seek(SeekFrom::Start(start))?;
        Ok((growing, length - start))
    }

    /// The file `path` from its last `lines` lines on.
    ///
    /// # Errors
    ///
    /// As [`Growing::from_end`].
    pub(crate) fn from_last_lines(path: PathBuf, lines: usize) -> io::Result<Self> {
        let mut growing = Self::new(path);
        growing.reopen()?;
        if let Some(file) = &mut growing.file {
            let start = start_of_last_lines(file, lines)?;
            growing.read = file.seek(SeekFrom::Start(start))?;
        }
        Ok(growing)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Passes what is new to `sink`, piece by piece, until there is no more or `sink` returns false.
    ///
    /// A file that was replaced is new from its beginning. In a log that was cut at its beginning, by a
    /// multiple of what it [is cut by](Self::cut_by), reading continues where it was.
    ///
    /// # Errors
    ///
    /// If the file can't be read; one that doesn't exist has nothing new.
    pub(crate) fn read_new(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        self.reopen()?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    self.read += length as u64;
                    if !sink(&piece[..length]) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let there = match self.path.symlink_metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(file) = &mut self.file {
            let ours = file.metadata()?;
            if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
                if there.len() < self.read {
                    let cut = (self.read - there.len()).div_ceil(self.cut) * self.cut;
                    self.read = file.seek(SeekFrom::Start(self.read.saturating_sub(cut)))?;
                }
                return Ok(());
            }
        }
        self.file = Some(open_untrusted(&self.path)?);
        self.read = 0;
        Ok(())
    }
}

/// Where the last `lines` lines of `file` begin. The file is read from its end, no further than that.
fn start_of_last_lines(file: &File, lines: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut piece = vec![0; PIECE];
    let (mut end, mut left) = (length, lines);
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let wanted = usize::try_from(end - start).unwrap_or(PIECE).min(PIECE);
        // A file that was cut meanwhile has less.
        let read = file.read_at(&mut piece[..wanted], start)?;
        for (index, byte) in piece[..read].iter().enumerate().rev() {
            let after = start + index as u64 + 1;
            // The last line's own end begins no other line.
            if *byte == b'\n' && after < length {
                if left <= 1 {
                    return Ok(if left == 0 { length } else { after });
                }
                left -= 1;
            }
        }
        end = start;
    }
    Ok(if lines == 0 { length } else { 0 })
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A file in one of the directories changed.
    Changed,
    /// Every directory is gone: nothing will change any more.
    Gone,
    /// The reader of the standard output has closed it.
    Unread,
    /// One of the other descriptors is readable: its index.
    Readable(usize),
}

/// Directories whose files are watched.
#[derive(Debug)]
pub(crate) struct Directories {
    inotify: OwnedFd,
    watched: HashMap<i32, PathBuf>,
}

impl Directories {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, watched: HashMap::new() })
    }

    /// Watches the files in `directory`.
    pub(crate) fn watch(&mut self, directory: &Path) -> io::Result<()> {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, directory, flags)?;
        self.watched.insert(watch, directory.to_owned());
        Ok(())
    }

    /// Waits until a file changes.
    pub(crate) fn wait(&mut self) -> io::Result<Woken> {
        self.wait_or(&[])
    }

    /// Waits until a file changes, or one of `others` is readable.
    pub(crate) fn wait_or(&mut self, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        let stdout = io::stdout();
        loop {
            if self.watched.is_empty() {
                return Ok(Woken::Gone);
            }
            let mut fds = vec![
                PollFd::new(&self.inotify, PollFlags::IN),
                // Nothing is requested: that the reader has closed it is always reported.
                PollFd::new(&stdout, PollFlags::empty()),
            ];
            fds.extend(others.iter().map(|other| PollFd::new(other, PollFlags::IN)));
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if fds[1].revents().intersects(PollFlags::ERR | PollFlags::NVAL) {
                return Ok(Woken::Unread);
            }
            let readable = fds[2..].iter().position(|other| !other.revents().is_empty());
            if let Some(index) = readable {
                return Ok(Woken::Readable(index));
            }
            if self.drain()? {
                return Ok(Woken::Changed);
            }
        }
    }

    /// Reads the pending events. Returns whether a file changed.
    ///
    /// Removing a machine begins with moving its directory, which ends the watch.
    fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut changed = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
                    if event.events().intersects(gone) {
                        self.watched.remove(&event.wd());
                    } else {
                        changed = true;
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(changed),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_text(file: &mut Growing) -> String {
        let mut text = Vec::new();
        file.read_new(|piece| {
            text.extend_from_slice(piece);
            true
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn only_what_is_new_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = Growing::new(path.clone());
        assert_eq!(new_text(&mut file), "");
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(new_text(&mut file), "one\n");
        assert_eq!(new_text(&mut file), "");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(new_text(&mut file), "two\n");
        std::fs::write(&path, "cut\n").unwrap();
        assert_eq!(new_text(&mut file), "cut\n");
        std::fs::write(directory.path().join("new"), "replaced by a longer one\n").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(new_text(&mut file), "replaced by a longer one\n");
    }

    #[test]
    fn reading_continues_in_a_log_that_was_cut_at_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let cut = usize::try_from(LOG_CUT).unwrap();
        let mut text = vec![b'x'; cut];
        text.extend_from_slice(b"kept\nread\n");
        std::fs::write(&path, &text).unwrap();
        let mut file = Growing::new(path.clone());
        file.read_new(|_| true).unwrap();
        // In place, as it is done.
        std::fs::write(&path, b"kept\nread\nnew\n").unwrap();
        assert_eq!(new_text(&mut file), "new\n");
    }

    #[test]
    fn the_last_lines_are_found_wherever_the_pieces_end() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("log");
        let long = "x".repeat(PIECE - 3);
        for (text, lines, expected) in [
            ("a\nb\nc\n".to_owned(), 2, "b\nc\n".to_owned()),
            ("a\nb\nc".to_owned(), 2, "b\nc".to_owned()),
            ("a\nb\n".to_owned(), 9, "a\nb\n".to_owned()),
            ("a\nb\n".to_owned(), 0, String::new()),
            ("a\n\n\n".to_owned(), 2, "\n\n".to_owned()),
            (String::new(), 3, String::new()),
            (format!("a\n{long}\nb\n"), 2, format!("{long}\nb\n")),
            (format!("a\n{long}{long}\n"), 1, format!("{long}{long}\n")),
            (format!("\n{long}\nb\n"), 2, format!("{long}\nb\n")),
        ] {
            std::fs::write(&path, &text).unwrap();
            let mut growing = Growing::from_last_lines(path.clone(), lines).unwrap();
            let mut read = Vec::new();
            growing
                .read_new(|piece| {
                    read.extend_from_slice(piece);
                    true
                })
                .unwrap();
            assert_eq!(
                String::from_utf8(read).unwrap(),
                expected,
                "{lines} of {} bytes",
                text.len()
            );
        }
        let missing = directory.path().join("none");
        assert!(Growing::from_last_lines(missing, 3).unwrap().read_new(|_| panic!()).is_ok());
    }

    #[test]
    fn the_end_of_a_file_begins_with_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        for (most, text) in [(100, "one\ntwo\nthree\n"), (12, "two\nthree\n"), (9, "three\n")] {
            let (mut file, length) = Growing::from_end(path.clone(), most).unwrap();
            assert_eq!((new_text(&mut file).as_str(), length), (text, text.len() as u64));
        }
        assert_eq!(Growing::from_end(directory.path().join("absent"), 1).unwrap().1, 0);
    }

    #[test]
    fn a_write_and_the_end_of_the_directory_end_the_wait() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("vm");
        std::fs::create_dir(&directory).unwrap();
        let mut directories = Directories::new().unwrap();
        directories.watch(&directory).unwrap();
        std::fs::write(directory.join("log"), "x").unwrap();
        assert_eq!(directories.wait().unwrap(), Woken::Changed);
        std::fs::rename(&directory, parent.path().join(".gone")).unwrap();
        assert_eq!(directories.wait().unwrap(), Woken::Gone);
    }
}
