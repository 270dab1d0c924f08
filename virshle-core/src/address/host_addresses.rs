//! Snapshot of DHCP leases and the neighbour table.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use virshle_net::{Neighbour, NeighbourWatch};

use crate::address::lease::{self, Lease};
use crate::fs::watch::{Watch, WatchFlags};

/// A snapshot of what this host knows of addresses: DHCP leases and the kernel's neighbours.
///
/// Reading it once serves any number of machines; see [`Vm::addresses_among`](crate::machine::vm::Vm::addresses_among).
#[derive(Clone, Debug, Default)]
pub struct HostAddresses {
    pub(crate) leases: Vec<Lease>,
    pub(crate) neighbours: Vec<Neighbour>,
}

impl HostAddresses {
    /// Reads the leases in `places`, and the table of neighbours. What can't be read has none.
    pub(crate) fn read(places: &[PathBuf]) -> Self {
        let neighbours = Neighbour::list().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot ask the kernel for its neighbours");
            Vec::new()
        });
        Self { leases: lease::read(places), neighbours }
    }
}

/// A watch: readable when this host may know more of addresses than it did.
#[derive(Debug)]
pub(crate) struct HostAddressesWatch {
    neighbours: Option<NeighbourWatch>,
    leases: Option<Watch>,
}

impl HostAddressesWatch {
    /// Watches what [`HostAddresses::read`] reads. What isn't there is not watched.
    pub(crate) fn new(places: &[PathBuf]) -> Self {
        let neighbours = NeighbourWatch::new()
            .inspect_err(|error| tracing::debug!(%error, "cannot watch the neighbours"))
            .ok();
        let leases = Watch::new()
            .inspect_err(|error| tracing::debug!(%error, "cannot watch the leases"))
            .ok();
        // One server writes its file anew, another one adds to it, a third one replaces it.
        let events = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
        for place in places {
            let directory = if place.is_dir() { Some(place.as_path()) } else { place.parent() };
            if let (Some(watch), Some(directory)) = (&leases, directory) {
                // Most hosts run none of these servers.
                watch.add(directory, events).ok();
            }
        }
        Self { neighbours, leases }
    }

    /// Takes the events that have come.
    pub(crate) fn drain(&self) {
        if let Some(neighbours) = &self.neighbours {
            neighbours.drain();
        }
        if let Some(leases) = &self.leases {
            leases.drain();
        }
    }

    /// What is readable when an event has come.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let neighbours = self.neighbours.as_ref().map(AsFd::as_fd);
        neighbours.into_iter().chain(self.leases.as_ref().map(AsFd::as_fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_lease_wakes_the_watch() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("dnsmasq.leases");
        let watch = HostAddressesWatch::new(std::slice::from_ref(&place));
        watch.drain();
        std::fs::write(&place, "0 52:54:00:00:00:01 192.0.2.1 * *\n").unwrap();
        let mut sources: Vec<_> = watch
            .descriptors()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let soon = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert!(poll(&mut sources, Some(&soon)).unwrap() > 0);
        assert_eq!(HostAddresses::read(&[place]).leases.len(), 1);
    }
}
