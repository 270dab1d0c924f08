//! The system calls that have no safe wrapper, behind safe functions.

pub(crate) mod cage;
pub(crate) mod view;

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use crate::sys::cage::Entry;

/// How many connections may wait for cloud-hypervisor, which takes at most 10 at a time.
const BACKLOG: libc::c_int = 128;

/// The process at the other end of a connection: of a server, the one that called listen(2). It is
/// 0 for a process that this process' pid namespace has no number for.
///
/// `socket_peercred` of rustix can't say that: its `Pid` is never 0, and a credential that is reads
/// as no answer at all (see decision 3).
pub(crate) fn peer_pid(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(mem::size_of::<libc::ucred>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open while `stream` is borrowed; the kernel writes at most `size`
    // bytes, which is the size of `credentials`, and any bytes are a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut credentials).cast(),
            &raw mut size,
        )
    };
    match u32::try_from(credentials.pid) {
        Ok(pid) if result == 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The version of the kernel's landlock interface.
pub(crate) fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the kernel wants a null attribute of size zero, creates nothing and
    // returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0 as libc::size_t,
            VERSION,
        )
    };
    u32::try_from(abi).ok().filter(|abi| *abi > 0)
}

/// What KVM answers about one of its extensions: zero if it is not there.
pub(crate) fn check_kvm_extension(kvm: &File, extension: libc::c_int) -> io::Result<u32> {
    /// `_IO(KVMIO, 0x03)` of `linux/kvm.h`.
    const KVM_CHECK_EXTENSION: libc::c_ulong = 0xae03;
    // SAFETY: the descriptor is open while `kvm` is borrowed; the argument is a number, and the
    // kernel writes nothing. A file that is no KVM refuses the request.
    let answer =
        unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CHECK_EXTENSION, libc::c_long::from(extension)) };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Descriptors that a detached process and its starter share.
#[derive(Debug)]
pub(crate) struct Handover {
    /// A bound socket, which the process will listen at and inherit by its number.
    pub(crate) listener: OwnedFd,
    /// Descriptors that the process inherits by their numbers.
    pub(crate) kept: Vec<OwnedFd>,
    /// Where the wait status of the process is written if it ends early; or, if it can't even enter
    /// its cage, the step at which that failed, see [`failed_step`].
    pub(crate) status: OwnedFd,
    /// When its other end is closed, the process is on its own.
    pub(crate) release: OwnedFd,
    /// What the process enters last of all.
    pub(crate) cage: Option<Entry>,
}

/// What stands in the place of a wait status: the step into the cage that failed.
pub(crate) fn failed_step(status: i32) -> Option<&'static str> {
    let step = usize::try_from(status.checked_neg()?.checked_sub(1)?).ok()?;
    cage::STEPS.get(step).copied()
}

/// Makes `command` start a detached process: the child that the standard library
/// knows forks once more, the grandchild runs the program, and the child watches it until it is
/// released, then exits.
///
/// The grandchild has its own session, default signals, no descriptor but 0 to 2, the listener and
/// what it shall keep, no ambient capability, and has itself called listen(2): the kernel shows it,
/// and not the starter, as the server to its clients. Last of all it enters its cage, if it has one.
pub(crate) fn detach(command: &mut Command, mut handover: Handover) {
    let hook = move || {
        // SAFETY: a child created by fork(2) in a program that may have threads; everything below
        // is a plain system call, without memory allocation and locks.
        unsafe { split(&mut handover) }
    };
    // SAFETY: the hook allocates nothing and takes no lock, see there; it leaves signal mask and
    // standard descriptors as the standard library set them.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Forks: returns in the grandchild only.
///
/// # Safety
///
/// Only to be called in a forked child that is about to call exec.
unsafe fn split(handover: &mut Handover) -> io::Result<()> {
    // SAFETY: as this function's own. Inherited, "ignored" would keep the child from learning how
    // the grandchild ended.
    unsafe { default_disposition(libc::SIGCHLD) };
    // The raw call and not fork(3), whose handlers belong to threads that aren't here.
    // SAFETY: without CLONE_VM this is a fork: the memory is copied, the stack stays the same.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_ulong::from(libc::SIGCHLD.unsigned_abs()),
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as this function's own.
            unsafe { settle(handover) }
        }
        pid => {
            // SAFETY: as this function's own; `pid` is a child of this process.
            unsafe { watch(pid, handover.status.as_raw_fd(), handover.release.as_raw_fd()) }
        }
    }
}

/// What the grandchild does before it runs the program.
unsafe fn settle(handover: &mut Handover) -> io::Result<()> {
    // SAFETY: system calls on numbers alone. They are open, because the `Handover` is.
    unsafe {
        libc::setsid();
        for signal in 1..=64 {
            // Refused for SIGKILL and SIGSTOP alone, which are as they must be.
            default_disposition(signal);
        }
        libc::umask(0o077);
        // Refused where the kernel knows no ambient capabilities, and then there are none.
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        let listener = handover.listener.as_raw_fd();
        if libc::listen(listener, BACKLOG) == -1 {
            return Err(io::Error::last_os_error());
        }
        close_on_exec_from(3);
        inherit(listener)?;
        for kept in &handover.kept {
            inherit(kept.as_raw_fd())?;
        }
    }
    let Some(cage) = &mut handover.cage else { return Ok(()) };
    cage.enter().map_err(|(step, error)| {
        let report = i32::try_from(step + 1).map_or(0, |step| -step);
        let size = mem::size_of::<libc::c_int>();
        // SAFETY: the kernel reads `size` bytes of `report`. What can't be written is not reported.
        unsafe {
            libc::write(handover.status.as_raw_fd(), ptr::from_ref(&report).cast(), size);
        }
        error
    })
}

unsafe fn inherit(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: a call on a number alone.
    match unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What the child does: waits until it is released or the grandchild ends, and reports how.
unsafe fn watch(pid: libc::c_long, status: RawFd, release: RawFd) -> ! {
    // SAFETY: system calls on numbers, and on memory of this frame that outlives them. The process
    // ends here, so closing descriptors that others own is harmless.
    unsafe {
        libc::setsid();
        // Out of the way of 0 and 1, then there: everything else can be closed at once. Among it
        // is the standard library's pipe, which has to be closed for the starter to continue.
        let status = libc::fcntl(status, libc::F_DUPFD, 10);
        let release = libc::fcntl(release, libc::F_DUPFD, 10);
        libc::dup2(status, 0);
        libc::dup2(release, 1);
        libc::syscall(libc::SYS_close_range, 2 as libc::c_uint, libc::c_uint::MAX, 0);
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let Ok(process) = libc::c_int::try_from(process) else { libc::_exit(1) };
        let mut watched = [
            libc::pollfd { fd: process, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: 1, events: libc::POLLIN, revents: 0 },
        ];
        while libc::poll(watched.as_mut_ptr(), 2, -1) == -1 {}
        if watched[0].revents != 0 {
            let mut ended: libc::c_int = 0;
            let Ok(pid) = libc::pid_t::try_from(pid) else { libc::_exit(1) };
            if libc::waitpid(pid, &raw mut ended, 0) == pid {
                let size = mem::size_of::<libc::c_int>();
                libc::write(0, ptr::from_ref(&ended).cast(), size);
            }
        }
        libc::_exit(0)
    }
}

/// The call itself: the C library's functions refuse the signals 32 and 33, which an earlier
/// program may have ignored.
unsafe fn default_disposition(signal: libc::c_int) {
    // `struct sigaction` of the kernel: handler (SIG_DFL is 0), flags, restorer, mask.
    let default = [0_u64; 4];
    let mask_size = mem::size_of::<u64>();
    // SAFETY: the kernel reads the structure, as long as its own on the 64-bit architectures that
    // this crate is for, and writes nothing back. The child that calls this needs no handler.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            ptr::null::<libc::c_void>(),
            mask_size,
        );
    }
}

unsafe fn close_on_exec_from(first: libc::c_uint) {
    // SAFETY: flags of descriptors change, none is closed.
    unsafe {
        let flag = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flag) == 0 {
            return;
        }
        // Before Linux 5.11. More descriptors than this are open nowhere.
        for descriptor in first..65536 {
            if let Ok(descriptor) = RawFd::try_from(descriptor) {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Opens a copy of the descriptor that isn't one of the standard three.
pub(crate) fn above_standard(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// A copy of the descriptor of that number, if there is one.
pub(crate) fn copy_of(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for this call alone, which fails if it isn't open.
    above_standard(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Makes `command` one that no signal of a session or of the host's shutdown ends, that inherits `kept` by
/// their numbers, and that has no privilege but its user.
pub(crate) fn make_keeper(command: &mut Command, kept: Vec<OwnedFd>) {
    let hook = move || {
        // SAFETY: calls on numbers, and on a structure that outlives them. "Ignored" is inherited.
        unsafe {
            libc::setsid();
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_IGN);
            }
            close_on_exec_from(3);
            for descriptor in &kept {
                inherit(descriptor.as_raw_fd())?;
            }
        }
        cage::give_up_privileges()
    };
    // SAFETY: the hook allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(hook);
    }
}
