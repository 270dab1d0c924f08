//! Directory handle for reading many definitions with few system calls.
//!
//! A lookup that begins at the directory is shorter than one that begins at the root of the
//! filesystem, and nothing is asked about a file but its content.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};
use uuid::Uuid;
use virshle_template::Distrust;

use crate::fs::trust;
use crate::model::definition::MAX_BYTES;
use crate::store::layout::{API_SOCKET, DEFINITION};

/// The room for a definition; a longer one gets more.
const ROOM: usize = 8 << 10;

/// The directory of machines, open for reading.
#[derive(Debug)]
pub(crate) struct Dir {
    directory: File,
    room: Vec<u8>,
}

impl Dir {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self { directory: File::open(directory)?, room: vec![0; ROOM] })
    }

    /// The text of the definition of the machine `uuid`; empty if there is another thing than a file
    /// in its place. It is not waited for, nor followed; nor is it read for root if another user could
    /// have changed it.
    pub(crate) fn definition(&mut self, uuid: Uuid) -> io::Result<&str> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let file = openat(&self.directory, of(uuid, DEFINITION), flags, Mode::empty())?;
        if trust::applies() {
            let directory = statat(&self.directory, uuid.to_string(), AtFlags::empty())?;
            for stat in [directory, fstat(&file)?] {
                if Distrust::new(stat.st_uid, stat.st_mode).is_some() {
                    return Err(ErrorKind::PermissionDenied.into());
                }
            }
        }
        let mut length = 0;
        loop {
            if length as u64 > MAX_BYTES {
                return Err(ErrorKind::FileTooLarge.into());
            }
            if length == self.room.len() {
                self.room.resize(2 * length, 0);
            }
            length += rustix::io::read(&file, &mut self.room[length..])?;
            // A file gives all that is asked for, up to its end.
            if length < self.room.len() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.room[..length]);
        text.map_err(|source| io::Error::new(ErrorKind::InvalidData, source))
    }

    /// Whether the machine `uuid` has an API socket: whether there may be a VMM.
    pub(crate) fn may_run(&self, uuid: Uuid) -> bool {
        statat(&self.directory, of(uuid, API_SOCKET), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

/// The path of a machine's file, from the directory of machines.
fn of(uuid: Uuid, file: &str) -> String {
    format!("{uuid}/{file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_of_any_length_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let uuid = Uuid::from_u128(1);
        let machine = directory.path().join(uuid.to_string());
        std::fs::create_dir(&machine).unwrap();
        let mut dir = Dir::open(directory.path()).unwrap();
        assert_eq!(dir.definition(uuid).unwrap_err().kind(), ErrorKind::NotFound);
        for length in [3 * ROOM + 1, 0, ROOM - 1, ROOM, ROOM + 1] {
            let text = "é".repeat(length);
            std::fs::write(machine.join(DEFINITION), &text).unwrap();
            assert!(dir.definition(uuid).unwrap() == text, "{length}");
        }
        std::fs::write(machine.join(DEFINITION), [0xff]).unwrap();
        assert_eq!(dir.definition(uuid).unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(!dir.may_run(uuid));
        std::fs::write(machine.join(API_SOCKET), "").unwrap();
        assert!(dir.may_run(uuid));
    }
}
