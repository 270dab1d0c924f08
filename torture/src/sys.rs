//! What Rust can't check: ptrace(2), waiting for what is traced, an inherited descriptor.

use std::io;
use std::mem;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// A traced thread, by its number.
pub(crate) type Tid = libc::pid_t;

/// What a traced thread stopped for, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ended with this exit code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It is about to make a system call, or has made one.
    Call,
    /// It became another program.
    Exec,
    /// It made a thread or a process, which is traced too.
    Child,
    /// A signal is about to be delivered.
    Signal(i32),
}

/// A system call, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syscall {
    /// About to be made: number and arguments.
    Entry { number: i64, arguments: [u64; 6] },
    /// Made: its result.
    Exit { result: i64 },
    /// Neither.
    None,
}

/// The listening socket that this process was started with, by its number.
pub(crate) fn inherited_listener(number: i32) -> UnixListener {
    // SAFETY: the process that started this one handed it the descriptor for this very use; nothing
    // else here knows its number.
    unsafe { UnixListener::from_raw_fd(number) }
}

/// Makes `command` start stopped, and traced by the thread that starts it.
pub(crate) fn start_traced(command: &mut Command) {
    let hook = || {
        // SAFETY: PTRACE_TRACEME takes no further argument and touches no memory.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the hook is one system call: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Makes the stopped `tid` stop at every system call from now on, and so all its threads and
/// children. All of them end if the tracer does.
pub(crate) fn follow(tid: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, tid, libc::c_long::from(options))
}

/// Lets a stopped thread go on to its next system call.
pub(crate) fn to_next_call(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, tid, libc::c_long::from(signal))
}

/// Lets a stopped thread go on; it is still traced.
pub(crate) fn go_on(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT, tid, libc::c_long::from(signal))
}

/// Lets a stopped thread go, for good.
pub(crate) fn let_go(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_DETACH, tid, 0)
}

fn request(what: libc::c_uint, tid: Tid, data: libc::c_long) -> io::Result<()> {
    // SAFETY: the requests of this file take a number in place of `data` and ignore `addr`.
    match unsafe { libc::ptrace(what, tid, 0, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits for the next of the current thread's children and traced threads; `None` if there is
/// none left.
pub(crate) fn wait_any() -> io::Result<Option<(Tid, Stop)>> {
    wait(-1)
}

/// Waits for `tid`.
pub(crate) fn wait_for(tid: Tid) -> io::Result<Option<(Tid, Stop)>> {
    wait(tid)
}

fn wait(whom: Tid) -> io::Result<Option<(Tid, Stop)>> {
    let mut status = 0;
    let tid = loop {
        // SAFETY: the kernel writes an int to `status`, which outlives the call.
        let tid = unsafe { libc::waitpid(whom, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid != -1 {
            break tid;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    };
    let stop = if libc::WIFEXITED(status) {
        Stop::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Stop::Killed(libc::WTERMSIG(status))
    } else {
        match (libc::WSTOPSIG(status), status >> 16) {
            (signal, 0) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            (libc::SIGTRAP, libc::PTRACE_EVENT_EXEC) => Stop::Exec,
            (libc::SIGTRAP, event) if event != 0 => Stop::Child,
            (signal, _) => Stop::Signal(signal),
        }
    };
    Ok(Some((tid, stop)))
}

/// The system call at which `tid` stopped.
pub(crate) fn syscall(tid: Tid) -> io::Result<Syscall> {
    // SAFETY: the structure is made of integers and a union of integers: zeroes are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
    let size = mem::size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes to `info`, which is that large.
    let result =
        unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, ptr::from_mut(&mut info)) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: with this `op` the kernel has filled in `entry`.
            let entry = unsafe { info.u.entry };
            Syscall::Entry { number: entry.nr as i64, arguments: entry.args }
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: with this `op` the kernel has filled in `exit`.
            Syscall::Exit { result: unsafe { info.u.exit }.sval }
        }
        _ => Syscall::None,
    })
}

/// Keeps the kernel from making the call at whose entry `tid` stands.
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip_call(tid: Tid) -> io::Result<()> {
    registers(tid, |registers| registers.orig_rax = u64::MAX)
}

/// Replaces the result of the call at whose exit `tid` stands by an error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fail_call(tid: Tid, errno: i32) -> io::Result<()> {
    registers(tid, |registers| registers.rax = u64::from_ne_bytes(i64::from(-errno).to_ne_bytes()))
}

#[cfg(target_arch = "x86_64")]
fn registers(tid: Tid, change: impl Fn(&mut libc::user_regs_struct)) -> io::Result<()> {
    // SAFETY: the structure is made of integers: zeroes are a value.
    let mut registers: libc::user_regs_struct = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes a `user_regs_struct` to the address given as `data`.
    let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0, ptr::from_mut(&mut registers)) };
    if got == -1 {
        return Err(io::Error::last_os_error());
    }
    change(&mut registers);
    // SAFETY: the kernel reads a `user_regs_struct` from there.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(&registers)) };
    if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the process `pid` with SIGKILL; one that has ended already is no error.
pub(crate) fn kill(pid: Tid) {
    // SAFETY: a system call on numbers.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
    }
}
