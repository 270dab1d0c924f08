//! Stands in for a guest's driver: frames into a tap and out of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::frame::Frame;

/// Only what has gone wrong takes that long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(120);
/// `struct virtio_net_hdr`, which stands before each frame; a VMM makes it longer.
const HEADER: usize = 10;

/// A guest's network interface, played by a test: the frames that its driver would give to the VMM.
#[derive(Debug)]
pub struct GuestNic {
    tap: OwnedFd,
    header: usize,
}

impl GuestNic {
    /// On a tap that this process holds.
    ///
    /// # Errors
    ///
    /// If the descriptor can't be copied.
    pub fn on(tap: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { tap: tap.try_clone_to_owned()?, header: HEADER })
    }

    /// On the tap called `name` that the VMM `pid` holds: its guest must have no driver that reads.
    ///
    /// # Errors
    ///
    /// If the process has no such tap.
    pub fn of_vmm(pid: u32, name: &str) -> io::Result<Self> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.ok_or(io::ErrorKind::InvalidInput)?;
        let held = |entry: &fs::DirEntry| {
            let number = entry.file_name().into_string().ok()?;
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let interface = info.lines().find_map(|line| line.strip_prefix("iff:"))?;
            (interface.trim() == name).then(|| number.parse().ok())?
        };
        let number = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().find_map(|fd| held(&fd));
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let tap = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        let header = crate::sys::tap_header(&tap)?;
        Ok(Self { tap, header })
    }

    /// Sends a frame.
    ///
    /// # Panics
    ///
    /// If the tap does not take it.
    pub fn send(&self, frame: &Frame) {
        let bytes = [vec![0; self.header], frame.bytes()].concat();
        let written = rustix::io::write(&self.tap, &bytes);
        assert_eq!(written, Ok(bytes.len()), "the tap takes no frame");
    }

    /// Waits for a frame for which `wanted` is true, and returns all that came, that one last.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn receive_until(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut received = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "the frame did not come, but these: {received:?}");
            if let Some(frame) = self.next(Duration::from_secs(1)) {
                let found = wanted(&frame);
                received.push(frame);
                if found {
                    return received;
                }
            }
        }
    }

    /// All that has come.
    pub fn received(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next(Duration::ZERO)).collect()
    }

    fn next(&self, wait: Duration) -> Option<Vec<u8>> {
        let mut polled = [PollFd::new(&self.tap, PollFlags::IN)];
        let wait = Timespec::try_from(wait).ok()?;
        if poll(&mut polled, Some(&wait)) != Ok(1) {
            return None;
        }
        let mut room = vec![0; 64 << 10];
        let length = rustix::io::read(self.tap.as_fd(), &mut room).ok()?;
        Some(room.get(self.header..length)?.to_vec())
    }
}
