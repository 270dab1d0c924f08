//! ptrace(2): threads that are stopped, and made to step.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::ptr;

/// The numbers of system calls.
pub(crate) mod call {
    macro_rules! numbers {
        ($($name:ident = $number:ident;)*) => {
            $(pub(crate) const $name: u64 = u64::from_ne_bytes(libc::$number.to_ne_bytes());)*
        };
    }
    numbers! {
        OPENAT = SYS_openat;
        CLOSE = SYS_close;
        SOCKET = SYS_socket;
        CONNECT = SYS_connect;
        SENDTO = SYS_sendto;
        KILL = SYS_kill;
        TGKILL = SYS_tgkill;
        PTRACE = SYS_ptrace;
        UNSHARE = SYS_unshare;
        MOUNT = SYS_mount;
        KEYCTL = SYS_keyctl;
        BPF = SYS_bpf;
        SETUID = SYS_setuid;
        SENDMSG = SYS_sendmsg;
        MMAP = SYS_mmap;
        MUNMAP = SYS_munmap;
        RING_SETUP = SYS_io_uring_setup;
        RING_ENTER = SYS_io_uring_enter;
        LOOK = SYS_newfstatat;
        CHMOD = SYS_fchmodat;
        WATCHES = SYS_inotify_init1;
        WATCH = SYS_inotify_add_watch;
        LIMIT = SYS_prlimit64;
        SHARED_MEMORY = SYS_shmget;
        CONTROL_FILE = SYS_fcntl;
        CONTROL = SYS_ioctl;
    }
}

/// A thread's registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers(#[cfg(target_arch = "x86_64")] libc::user_regs_struct);

#[cfg(target_arch = "x86_64")]
impl Registers {
    pub(crate) fn stack(&self) -> u64 {
        self.0.rsp
    }

    /// Those of a thread that is about to make a system call, by the instruction at `at`.
    pub(crate) fn calling(&self, at: u64, number: u64, arguments: &[u64]) -> Self {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let mut next = self.0;
        next.rip = at;
        next.rax = number;
        // Nothing is interrupted that the kernel would take up again.
        next.orig_rax = u64::MAX;
        (next.rdi, next.rsi, next.rdx) = (argument(0), argument(1), argument(2));
        (next.r10, next.r8, next.r9) = (argument(3), argument(4), argument(5));
        Self(next)
    }

    fn result(&self) -> i64 {
        self.0.rax as i64
    }

    fn next_instruction(&self) -> u64 {
        self.0.rip
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Registers {
    pub(crate) fn stack(&self) -> u64 {
        0
    }

    pub(crate) fn calling(&self, _at: u64, _number: u64, _arguments: &[u64]) -> Self {
        *self
    }

    fn result(&self) -> i64 {
        0
    }

    fn next_instruction(&self) -> u64 {
        0
    }
}

/// A thread that is stopped and traced; let go when dropped.
#[derive(Debug)]
pub(crate) struct Stopped {
    tid: libc::pid_t,
}

impl Stopped {
    /// Stops a thread.
    pub(crate) fn seize(tid: libc::pid_t) -> io::Result<Self> {
        if cfg!(not(target_arch = "x86_64")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        request(libc::PTRACE_SEIZE, tid)?;
        let thread = Self { tid };
        request(libc::PTRACE_INTERRUPT, tid)?;
        thread.wait()?;
        Ok(thread)
    }

    /// The address of the instruction by which the thread made the system call it is in.
    pub(crate) fn call_instruction(&self, pid: u32) -> io::Result<Option<u64>> {
        const SYSCALL: [u8; 2] = [0x0f, 0x05];
        let at = self.registers()?.next_instruction().saturating_sub(2);
        let mut found = [0; 2];
        // Where it isn't in a system call there may be nothing to read.
        let read = File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut found, at);
        Ok((read.is_ok() && found == SYSCALL).then_some(at))
    }

    pub(crate) fn registers(&self) -> io::Result<Registers> {
        // SAFETY: any bytes are registers.
        let mut registers: Registers = unsafe { mem::zeroed() };
        self.exchange(libc::PTRACE_GETREGSET, &mut registers)?;
        Ok(registers)
    }

    pub(crate) fn set_registers(&mut self, registers: &Registers) -> io::Result<()> {
        self.exchange(libc::PTRACE_SETREGSET, &mut registers.clone())
    }

    fn exchange(&self, what: libc::c_uint, registers: &mut Registers) -> io::Result<()> {
        const NT_PRSTATUS: libc::c_long = 1;
        let mut part = libc::iovec {
            iov_base: ptr::from_mut(registers).cast(),
            iov_len: mem::size_of::<Registers>(),
        };
        // SAFETY: the kernel reads or writes at most as many bytes as the registers have.
        check(unsafe { libc::ptrace(what, self.tid, NT_PRSTATUS, &raw mut part) })
    }

    /// Lets the thread make one step from `registers`, and gives what its system call returned; none
    /// if a filter of the program's own caught that.
    pub(crate) fn step(&mut self, registers: &Registers) -> io::Result<Option<i64>> {
        self.set_registers(registers)?;
        request(libc::PTRACE_SINGLESTEP, self.tid)?;
        let mut caught = self.wait()? == libc::SIGSYS;
        let result = self.registers()?.result();
        // The end of the step and the filter's signal come one after the other, before any more of the
        // program; none of them is delivered.
        while self.has_pending()? {
            request(libc::PTRACE_CONT, self.tid)?;
            caught |= self.wait()? == libc::SIGSYS;
        }
        Ok((!caught).then_some(result))
    }

    /// Whether a signal waits that a step, or a filter of system calls, has sent to the thread.
    fn has_pending(&self) -> io::Result<bool> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tid))?;
        let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
        let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let pending = pending.ok_or(io::ErrorKind::InvalidData)?;
        Ok([libc::SIGTRAP, libc::SIGSYS].iter().any(|signal| pending & (1 << (signal - 1)) != 0))
    }

    /// Waits until the thread has stopped, and gives the signal it stopped for.
    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: the kernel writes an int to `status`.
        let tid = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
        if tid == -1 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFSTOPPED(status) {
            return Ok(libc::WSTOPSIG(status));
        }
        Err(io::Error::other(format!("thread {} ended ({status:#x})", self.tid)))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that has ended can't be let go.
        drop(request(libc::PTRACE_DETACH, self.tid));
    }
}

fn request(what: libc::c_uint, tid: libc::pid_t) -> io::Result<()> {
    // SAFETY: the requests of this file take zeros for address and data.
    check(unsafe { libc::ptrace(what, tid, 0, 0) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
