//! A network namespace for the current thread.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

/// A fresh network namespace, for the current thread and for what it starts from here on.
///
/// Threads and processes started by this thread inherit it. Its devices vanish with the last of
/// them. `/sys/class/net` still shows the namespace in which `/sys` was mounted: ask `ip` instead.
///
/// Dropping it moves the thread back, so it can't be sent to another thread.
#[derive(Debug)]
#[must_use = "dropping it leaves the namespace"]
pub struct NetNamespace {
    before: File,
    thread: PhantomData<*const ()>,
}

impl NetNamespace {
    /// Moves the current thread into a new network namespace whose `lo` is up.
    ///
    /// # Errors
    ///
    /// Without root (`CAP_SYS_ADMIN`), or without the program `ip`.
    pub fn enter() -> io::Result<Self> {
        let before = File::open("/proc/thread-self/ns/net")?;
        sys::unshare_network()?;
        let namespace = Self { before, thread: PhantomData };
        let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        if !status.success() {
            return Err(io::Error::other("cannot set lo up in the new network namespace"));
        }
        Ok(namespace)
    }
}

impl Drop for NetNamespace {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.before.as_fd(), Some(LinkNameSpaceType::Network));
        // A thread that stays in the wrong namespace would make later tests lie.
        if let Err(error) = back {
            assert!(std::thread::panicking(), "cannot leave the network namespace: {error}");
        }
    }
}
