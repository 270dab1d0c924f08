//! What this host knows of addresses at one moment.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{self, WatchFlags};

use crate::address::lease::{self, Lease};
use crate::address::neighbour::{self, Neighbour, NeighbourWatch};

/// What this host knows of addresses at one moment: DHCP leases and the kernel's neighbours.
///
/// Reading it once serves any number of machines; see [`Vm::addresses_among`](crate::machine::vm::Vm::addresses_among).
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    pub(crate) leases: Vec<Lease>,
    pub(crate) neighbours: Vec<Neighbour>,
}

impl Sightings {
    /// Reads the leases in `places`, and the table of neighbours. What can't be read tells nothing.
    pub(crate) fn read(places: &[PathBuf]) -> Self {
        let neighbours = neighbour::read().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot ask the kernel for its neighbours");
            Vec::new()
        });
        Self { leases: lease::read(places), neighbours }
    }
}

/// Hears that this host may know more of addresses than it did.
#[derive(Debug)]
pub(crate) struct SightingsWatch {
    neighbours: Option<NeighbourWatch>,
    leases: Option<OwnedFd>,
}

impl SightingsWatch {
    /// Watches what [`Sightings::read`] reads. What isn't there can't be watched, and tells nothing.
    pub(crate) fn new(places: &[PathBuf]) -> Self {
        let neighbours = NeighbourWatch::new()
            .inspect_err(|error| tracing::debug!(%error, "cannot watch the neighbours"))
            .ok();
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let leases = inotify::init(flags)
            .inspect_err(|error| tracing::debug!(%error, "cannot watch the leases"))
            .ok();
        // One server writes its file anew, another one adds to it, a third one replaces it.
        let events = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
        for place in places {
            let folder = if place.is_dir() { Some(place.as_path()) } else { place.parent() };
            if let (Some(inotify), Some(folder)) = (&leases, folder) {
                // Most hosts run none of these servers.
                inotify::add_watch(inotify, folder, events).ok();
            }
        }
        Self { neighbours, leases }
    }

    /// Takes what was heard.
    pub(crate) fn drain(&self) {
        if let Some(neighbours) = &self.neighbours {
            neighbours.drain();
        }
        if let Some(leases) = &self.leases {
            let mut buffer = [const { MaybeUninit::uninit() }; 4096];
            let mut reader = inotify::Reader::new(leases, &mut buffer);
            while reader.next().is_ok() {}
        }
    }

    /// What is readable when something was heard.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let neighbours = self.neighbours.as_ref().map(AsFd::as_fd);
        neighbours.into_iter().chain(self.leases.as_ref().map(AsFd::as_fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_lease_is_heard_of() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("dnsmasq.leases");
        let watch = SightingsWatch::new(std::slice::from_ref(&place));
        watch.drain();
        std::fs::write(&place, "0 52:54:00:00:00:01 192.0.2.1 * *\n").unwrap();
        let mut sources: Vec<_> = watch
            .descriptors()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let soon = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert!(poll(&mut sources, Some(&soon)).unwrap() > 0);
        assert_eq!(Sightings::read(&[place]).leases.len(), 1);
    }
}
