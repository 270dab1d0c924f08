//! The terminal that a VMM's serial port leads to, when it is of mode `Tty`.
//!
//! cloud-hypervisor writes such a port to its standard output and, if its standard input is a
//! terminal, reads it from there. So its output is a file, to which everything the guest writes is
//! appended whether it is read or not, and its input is the upper side of a pseudo-terminal,
//! whose lower side anybody may open who has something to type. No process has to stand between.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A pseudo-terminal in raw mode: what is typed arrives as it is, and nothing is echoed.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// What cloud-hypervisor reads.
    pub(crate) upper: OwnedFd,
    /// What is typed at. As long as it is open somewhere, the upper side does not hang up.
    pub(crate) lower: OwnedFd,
}

impl Terminal {
    pub(crate) fn open() -> io::Result<Self> {
        let upper = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&upper)?;
        let path = ptsname(&upper, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let lower = rustix::fs::open(path.as_c_str(), flags, Mode::empty())?;
        // Not every user has the group that terminals are writable for: only the owner's is ours.
        rustix::fs::fchmod(&lower, Mode::RUSR | Mode::WUSR)?;
        let mut settings = tcgetattr(&lower)?;
        settings.make_raw();
        tcsetattr(&lower, OptionalActions::Now, &settings)?;
        Ok(Self { upper, lower })
    }
}

/// The lower side of the terminal that the process `pid` holds; `None` if it has none.
pub(crate) fn lower_side_of(pid: u32) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let is_lower = target.parent() == Some(Path::new("/dev/pts"))
            && target
                .file_name()
                .is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
        if is_lower {
            return Ok(Some(target));
        }
    }
    Ok(None)
}
