//! What a forked child does to have a root of its own, see [`crate::cage`].

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::thread::{self, JoinHandle};

/// What is shown: the file or directory `from` of the host at the place `to`, relative to the new root.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) from: CString,
    pub(crate) to: CString,
    pub(crate) is_directory: bool,
}

/// An empty network that is being made: it takes the kernel a third of a millisecond, in which the starter has
/// other work.
#[derive(Debug)]
pub(crate) struct EmptyNetwork(JoinHandle<io::Result<OwnedFd>>);

impl EmptyNetwork {
    /// Has a thread make it, for who may; others need a user namespace first, which no process gets that has
    /// threads.
    pub(crate) fn begin() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let make = || {
            // SAFETY: a call on a number alone, for this thread, which ends with the function.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
        };
        thread::Builder::new().name("empty network".into()).spawn(make).ok().map(Self)
    }

    /// Waits for it. None if it could not be made: the process that is to have it says why when it tries by itself.
    pub(crate) fn finish(self) -> Option<OwnedFd> {
        self.0.join().ok()?.ok()
    }
}

/// All that is needed to enter a view, there before the fork.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Whether it takes no user namespace.
    is_root: bool,
    /// The network to enter; a new one if there is none.
    network: Option<OwnedFd>,
    /// Whether a process that can't enter it doesn't start.
    pub(crate) required: bool,
    /// The user as itself, for a user namespace, and its group.
    maps: [(CString, String); 3],
    pub(crate) directories: Vec<CString>,
    /// The target, and the link.
    pub(crate) links: Vec<(CString, CString)>,
    pub(crate) binds: Vec<Bind>,
}

impl Entrance {
    pub(crate) fn new(
        is_root: bool,
        required: bool,
        directories: Vec<CString>,
        links: Vec<(CString, CString)>,
        binds: Vec<Bind>,
    ) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let maps = [
            (c"/proc/self/setgroups".to_owned(), "deny".to_owned()),
            (c"/proc/self/uid_map".to_owned(), format!("{uid} {uid} 1\n")),
            (c"/proc/self/gid_map".to_owned(), format!("{gid} {gid} 1\n")),
        ];
        Self { is_root, network: None, required, maps, directories, links, binds }
    }

    /// With a network that was made before.
    pub(crate) fn with_network(self, network: Option<OwnedFd>) -> Self {
        Self { network, ..self }
    }

    /// Enters the view: plain system calls, without memory allocation and locks. What fails leaves the
    /// process with the root that it had, if with other namespaces.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.leave_namespaces()?;
        let entered = self.build();
        if entered.is_err() {
            // The root is as it was: only the current directory isn't.
            // SAFETY: a call on a C string alone.
            unsafe { libc::chdir(c"/".as_ptr()) };
        }
        entered
    }

    fn leave_namespaces(&self) -> io::Result<()> {
        // No network: no other process' abstract sockets, no address that can be reached.
        let mut namespaces = libc::CLONE_NEWNS;
        match &self.network {
            Some(network) => {
                let network = network.as_raw_fd();
                // SAFETY: a call on numbers alone; the descriptor is open.
                check(unsafe { libc::setns(network, libc::CLONE_NEWNET) })?;
            }
            None => namespaces |= libc::CLONE_NEWNET,
        }
        if !self.is_root {
            namespaces |= libc::CLONE_NEWUSER;
        }
        // SAFETY: a call on a number alone; the process has one thread.
        check(unsafe { libc::unshare(namespaces) })?;
        if !self.is_root {
            for (file, text) in &self.maps {
                write(file, text.as_bytes())?;
            }
        }
        Ok(())
    }

    fn build(&self) -> io::Result<()> {
        const TEMPORARY: &CStr = c"tmpfs";
        let root = c"/".as_ptr();
        let here = c".".as_ptr();
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // SAFETY: calls on C strings that outlive them. What is mounted is this process' own from the
        // first call on: nothing of it reaches the host, while what the host unmounts is unmounted here.
        // The new root lies above the old one, where `/..` leads and paths that begin at the root don't:
        // so sources are found as before.
        unsafe {
            check(libc::mount(
                ptr::null(),
                root,
                ptr::null(),
                libc::MS_REC | libc::MS_SLAVE,
                ptr::null(),
            ))?;
            let options = c"size=64k,nr_inodes=1k,mode=0755";
            let kind = TEMPORARY.as_ptr();
            check(libc::mount(kind, root, kind, flags, options.as_ptr().cast()))?;
            check(libc::chdir(c"/..".as_ptr()))?;
            let umask = libc::umask(0o022);
            let populated = self.populate();
            libc::umask(umask);
            populated?;
            let read_only = flags | libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
            check(libc::mount(ptr::null(), here, ptr::null(), read_only, ptr::null()))?;
            // Who has no capability and no directory from outside can't leave this root; to detach the
            // old one would wait for every processor of the host.
            check(libc::chroot(here))
        }
    }

    fn populate(&self) -> io::Result<()> {
        for directory in &self.directories {
            // SAFETY: a call on a C string.
            check(unsafe { libc::mkdir(directory.as_ptr(), 0o755) })?;
        }
        for (target, link) in &self.links {
            // SAFETY: a call on C strings.
            check(unsafe { libc::symlink(target.as_ptr(), link.as_ptr()) })?;
        }
        for bind in &self.binds {
            show(bind)?;
        }
        show_itself()
    }
}

/// Shows the process its own directory in `/proc`, if there is one, and no other's.
fn show_itself() -> io::Result<()> {
    // SAFETY: calls on C strings. Without /proc there is nothing to show.
    unsafe {
        if libc::access(c"/proc/self".as_ptr(), libc::F_OK) == -1 {
            return Ok(());
        }
        check(libc::mkdir(c"proc".as_ptr(), 0o755))?;
        check(libc::mkdir(c"proc/self".as_ptr(), 0o755))?;
        bind(c"/proc/self", c"proc/self")
    }
}

fn show(shown: &Bind) -> io::Result<()> {
    // SAFETY: calls on C strings, and on a descriptor that is closed at once.
    unsafe {
        if shown.is_directory {
            check(libc::mkdir(shown.to.as_ptr(), 0o755))?;
        } else {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
            let file = libc::open(shown.to.as_ptr(), flags, 0o600);
            check(file)?;
            libc::close(file);
        }
        bind(&shown.from, &shown.to)
    }
}

/// # Safety
///
/// Only for a process with mounts of its own.
unsafe fn bind(from: &CStr, to: &CStr) -> io::Result<()> {
    // With what is mounted below it: in a user namespace there is no other way.
    let flags = libc::MS_BIND | libc::MS_REC;
    // SAFETY: a call on C strings.
    check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), ptr::null(), flags, ptr::null()) })
}

/// Has a process of its own enter a view, and end there: whether it can.
pub(crate) fn try_out(entrance: &Entrance) -> io::Result<()> {
    let flags = libc::c_ulong::from(libc::SIGCHLD.unsigned_abs());
    let none = 0 as libc::c_ulong;
    // SAFETY: a fork by the raw call, whose child makes plain system calls and ends; its status is an errno,
    // which all fit.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, flags, none, none, none, none);
        if pid == 0 {
            let errno =
                entrance.enter().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
            libc::_exit(errno.unwrap_or_default());
        }
        let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidData)?;
        check(pid)?;
        let mut status = 0;
        while libc::waitpid(pid, &raw mut status, 0) == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        match libc::WEXITSTATUS(status) {
            0 if libc::WIFEXITED(status) => Ok(()),
            0 => Err(io::ErrorKind::Other.into()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

fn write(file: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: calls on a C string, on memory that outlives them, and on a descriptor of this function's own.
    unsafe {
        let descriptor = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(descriptor)?;
        let written = libc::write(descriptor, text.as_ptr().cast(), text.len());
        let error = io::Error::last_os_error();
        libc::close(descriptor);
        if usize::try_from(written) == Ok(text.len()) { Ok(()) } else { Err(error) }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
