//! Logs that cloud-hypervisor appends to for as long as it runs, kept short.
//!
//! Nothing stands between a guest and its `serial.log`, so it is a process that looks at the machine
//! that cuts what has grown too long: see `docs/decisions`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use uuid::Uuid;
use virshle_hypervisor::open_untrusted_with;

use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::store::layout::{EVENTS, SERIAL_LOG, VMM_LOG};

/// A log that is longer than this is cut, in bytes.
const MOST: u64 = 16 << 20;

/// A log is cut at its beginning, by this or a multiple of it, in bytes. A process that
/// follows a log knows by that where in it it is afterwards.
pub const LOG_CUT: u64 = 8 << 20;

/// How much is moved at once where a filesystem can't take the beginning of a file away.
const PIECE: usize = 1 << 20;

impl Node {
    /// Cuts the logs of a machine that have grown too long: their end stays, and what is appended
    /// meanwhile. It is nothing that a reader need care for; what can't be cut is left.
    pub fn bound_logs(&self, uuid: Uuid) {
        bound_logs(&self.store().directory(uuid));
    }
}

impl Vm {
    /// As [`Node::bound_logs`].
    pub fn bound_logs(&self) {
        bound_logs(self.directory());
    }
}

pub(crate) fn bound_logs(directory: &Path) {
    for name in [SERIAL_LOG, VMM_LOG, EVENTS] {
        let path = directory.join(name);
        match bound(&path, MOST, LOG_CUT) {
            Ok(0) => {}
            Ok(bytes) => {
                tracing::info!(path = %path.display(), bytes, "cut a log that was too long");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Others may look at a machine whose logs are not theirs.
            Err(error) => tracing::debug!(path = %path.display(), %error, "cannot cut a log"),
        }
    }
}

/// Cuts the file `path` to less than `most` bytes by taking away a multiple of `cut` at its
/// beginning: how many bytes went.
///
/// A process that appends to it continues at its end. On ext4 and XFS nothing that is appended meanwhile is
/// lost; elsewhere what is appended within the blink of an eye may be.
///
/// # References
///
/// fallocate(2), `FALLOC_FL_COLLAPSE_RANGE`.
fn bound(path: &Path, most: u64, cut: u64) -> io::Result<u64> {
    if path.symlink_metadata()?.len() <= most {
        return Ok(0);
    }
    let file = open_untrusted_with(path, OpenOptions::new().read(true).write(true))?;
    // Two processes that did it at once would take away twice as much.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(0),
        other => other?,
    }
    let bounded = bound_locked(&file, most, cut);
    // At once, also while a program that another thread starts has a copy of the descriptor.
    flock(&file, FlockOperation::Unlock)?;
    bounded
}

/// The same, for one process at a time.
fn bound_locked(file: &File, most: u64, cut: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length <= most {
        return Ok(0);
    }
    let taken = (length - most).div_ceil(cut) * cut;
    match fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, taken) {
        Ok(()) => Ok(taken),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            move_down(file, taken).map(|()| taken)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Moves what comes after the first `taken` bytes to the beginning.
fn move_down(file: &File, taken: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut to = 0;
    loop {
        match file.read_at(&mut piece, to + taken) {
            Ok(0) => return file.set_len(to),
            Ok(length) => {
                file.write_all_at(&piece[..length], to)?;
                to += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What collapsing takes whole blocks of.
    const BLOCK: u64 = 64 << 10;
    const PIECE: usize = 64 << 10;

    /// A log of `blocks` blocks, each of its own number, and the end of it.
    fn log(directory: &Path, blocks: u8) -> (std::path::PathBuf, File) {
        let path = directory.join("serial.log");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for number in 0..blocks {
            file.write_all(&[number; PIECE]).unwrap();
        }
        file.write_all(b"end").unwrap();
        (path, file)
    }

    fn is_the_end_of_five(content: &[u8]) {
        let numbers: Vec<u8> = content.chunks(PIECE).map(|block| block[0]).collect();
        assert_eq!(numbers, [3, 4, b'e']);
        assert!(content.ends_with(b"end, and more"), "what is appended continues at the end");
    }

    #[test]
    fn the_end_of_a_log_stays_and_a_writer_continues() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = log(directory.path(), 5);
        assert_eq!(bound(&path, 6 * BLOCK, BLOCK).unwrap(), 0);
        assert_eq!(bound(&path, 3 * BLOCK, BLOCK).unwrap(), 3 * BLOCK);
        writer.write_all(b", and more").unwrap();
        is_the_end_of_five(&std::fs::read(&path).unwrap());
        assert_eq!(bound(&path, 3 * BLOCK, BLOCK).unwrap(), 0);
    }

    #[test]
    fn so_it_does_where_a_file_has_no_beginning_to_take_away() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = log(directory.path(), 5);
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        move_down(&file, 3 * BLOCK).unwrap();
        writer.write_all(b", and more").unwrap();
        is_the_end_of_five(&std::fs::read(&path).unwrap());
    }

    #[test]
    fn what_stands_in_the_place_of_a_log_is_neither_cut_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = log(directory.path(), 5);
        let length = path.metadata().unwrap().len();
        let in_its_place = directory.path().join(VMM_LOG);
        std::os::unix::fs::symlink(&path, &in_its_place).unwrap();
        // A link is shorter than any log: it is not even opened.
        assert_eq!(bound(&in_its_place, BLOCK, BLOCK).unwrap(), 0);
        assert!(bound(&in_its_place, 1, BLOCK).is_err());
        std::fs::remove_file(&in_its_place).unwrap();
        std::fs::hard_link(&path, &in_its_place).unwrap();
        assert!(bound(&in_its_place, BLOCK, BLOCK).is_err());
        assert_eq!(path.metadata().unwrap().len(), length);
    }

    #[test]
    fn a_log_that_another_process_cuts_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = log(directory.path(), 5);
        let other = File::open(&path).unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
        assert_eq!(bound(&path, BLOCK, BLOCK).unwrap(), 0);
    }
}
