//! Namespaces for the current thread: of the network, of mounts.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::path::Path;
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

/// A fresh mount namespace, for the current thread and for what it starts from here on: what is mounted
/// in it is seen by no other process, and gone with the last that is in it.
///
/// The thread stays in it, as a test's thread ends with the test; so this can't be sent to another.
#[derive(Debug)]
pub struct MountNamespace {
    thread: PhantomData<*const ()>,
}

impl MountNamespace {
    /// Moves the current thread into a new mount namespace, from which nothing propagates.
    ///
    /// # Errors
    ///
    /// Without root (`CAP_SYS_ADMIN`), or without the program `mount`.
    pub fn enter() -> io::Result<Self> {
        sys::unshare_mounts()?;
        run(Command::new("mount").args(["--make-rprivate", "/"]))?;
        Ok(Self { thread: PhantomData })
    }

    /// Shows the file or directory `from` at `to` as well.
    ///
    /// # Errors
    ///
    /// If the program `mount` fails.
    pub fn bind(&self, from: &Path, to: &Path) -> io::Result<()> {
        run(Command::new("mount").arg("--bind").arg(from).arg(to))
    }

    /// Has a filesystem of hugepages at `/dev/hugepages`, where systemd has it, in a `/dev` of this
    /// namespace's own. `empty` is a directory for it.
    ///
    /// # Errors
    ///
    /// If a program (`mount`, `cp`) fails.
    pub fn mount_hugepages(&self, empty: &Path) -> io::Result<()> {
        let mount = || Command::new("mount");
        run(mount().args(["-t", "tmpfs", "-o", "mode=0755", "dev"]).arg(empty))?;
        run(Command::new("cp").args(["-a", "/dev/."]).arg(empty))?;
        for name in ["pts", "shm"] {
            let from = Path::new("/dev").join(name);
            if from.exists() {
                run(mount().arg("--bind").arg(from).arg(empty.join(name)))?;
            }
        }
        let pages = empty.join("hugepages");
        std::fs::create_dir_all(&pages)?;
        run(mount().args(["-t", "hugetlbfs", "hugetlbfs"]).arg(pages))?;
        run(mount().arg("--rbind").arg(empty).arg("/dev"))
    }

    /// Ends what is mounted at `path`.
    ///
    /// # Errors
    ///
    /// If the program `umount` fails.
    pub fn unmount(&self, path: &Path) -> io::Result<()> {
        run(Command::new("umount").arg(path))
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{command:?} failed"))),
    }
}
