//! What the threads of another process may do: each is stopped, and made to try it itself.
//!
//! That is what a program which a hostile guest has taken over could do: a try comes back as the
//! thread's credentials, its landlock domain and its seccomp filters have it.

mod ring;

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::tracing::{Registers, Stopped};

/// Something that a hijacked thread tries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attempt {
    /// To open a file for reading.
    Read(PathBuf),
    /// To open a file for writing.
    Write(PathBuf),
    /// To create a file.
    Create(PathBuf),
    /// To connect to a Unix socket.
    Connect(PathBuf),
    /// To send a datagram to a Unix socket by sendto(2).
    Send(PathBuf),
    /// The same by sendmsg(2).
    SendMessage(PathBuf),
    /// To connect to a Unix socket by io_uring, which filters of system calls don't see.
    RingConnect(PathBuf),
    /// To have a socket of IPv4 by io_uring, and to connect it to the host's loopback.
    RingUdp,
    /// To connect to a Unix socket in the abstract namespace.
    Abstract(String),
    /// To look whether a file is there.
    Look(PathBuf),
    /// To change the mode of a file.
    ChangeMode(PathBuf),
    /// To watch what happens to a file.
    Watch(PathBuf),
    /// To read the limits of a process, as one does that changes them.
    Limit(u32),
    /// To have the kernel signal a process when something happens to a file.
    SignalByFile(u32),
    /// To make a tap, the descriptor of that number, outlive the program.
    KeepTap(u32),
    /// To create memory that others of its user share.
    SharedMemory,
    /// To open a raw socket of IPv4.
    RawSocket,
    /// To open a socket for the frames of the host's devices.
    PacketSocket,
    /// To open a socket of IPv4 for datagrams.
    UdpSocket,
    /// To open a socket for routes and devices.
    Netlink,
    /// To ask, by kill(2), whether it may signal a process.
    Kill(u32),
    /// The same by tgkill(2).
    ThreadKill(u32),
    /// To trace a process.
    Trace(u32),
    /// To begin a user namespace.
    Unshare,
    /// To mount a filesystem of processes here.
    Mount(PathBuf),
    /// To read the keys of its session.
    Keys,
    /// To load a program into the kernel.
    Bpf,
    /// To become root again.
    BecomeRoot,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It succeeded.
    Allowed,
    /// The kernel refused it with this error.
    Refused(i32),
    /// A filter of the program's own would have ended the program.
    Trapped,
}

/// A thread, by the name it has, and what came of its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hijacked {
    /// The thread's name.
    pub thread: String,
    /// Each try, with its outcome.
    pub outcomes: Vec<(Attempt, Outcome)>,
}

impl Hijacked {
    /// The tries that succeeded.
    pub fn allowed(&self) -> Vec<&Attempt> {
        let allowed = self.outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Allowed);
        allowed.map(|(attempt, _)| attempt).collect()
    }
}

/// The threads that cloud-hypervisor has once its machine runs, whatever the machine is made of.
pub const VMM_THREADS: [&str; 6] =
    ["cloud-hyperviso", "http-server", "event-monitor", "vmm_signal_hand", "vmm", "vcpu0"];

/// Waits until the process `pid` has threads of all these names: a new one has its parent's for a
/// moment. Returns whether it has them within the time.
pub fn wait_for_threads(pid: u32, names: &[&str], timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let comm = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let found: Vec<String> = tasks.flat_map(comm).collect();
        if names.iter().all(|name| found.iter().any(|comm| comm.trim_end() == *name)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
}

/// Has every thread of the process `pid` make every attempt. The process stands still meanwhile, and
/// continues as if nothing had been.
///
/// # Errors
///
/// If the process can't be traced, or a thread can't be brought to try; on an architecture other than
/// x86_64.
pub fn hijack(pid: u32, attempts: &[Attempt]) -> io::Result<Vec<Hijacked>> {
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        let tid = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let tid = tid.ok_or(io::ErrorKind::InvalidData)?;
        let name = std::fs::read_to_string(path.join("comm"))?.trim_end().to_owned();
        let thread = Stopped::seize(tid)?;
        // The kernel's own workers (of KVM, of io_uring) are listed, too: they run no code of the program.
        if thread.registers()?.stack() != 0 {
            threads.push((name, thread));
        }
    }
    // An instruction that makes a system call: the one that some thread waits in.
    let call = threads
        .iter()
        .find_map(|(_, thread)| thread.call_instruction(pid).transpose())
        .ok_or_else(|| io::Error::other("no thread is in a system call"))??;
    threads
        .iter_mut()
        .map(|(name, thread)| {
            let before = thread.registers()?;
            let mut kept = [0; ROOM];
            memory.read_exact_at(&mut kept, before.stack())?;
            let mut puppet = Puppet { before, thread, memory: &memory, call };
            let tried = attempts
                .iter()
                .map(|attempt| Ok::<_, io::Error>((attempt.clone(), puppet.attempt(attempt)?)));
            let outcomes = tried.collect::<io::Result<_>>();
            memory.write_all_at(&kept, before.stack())?;
            puppet.thread.set_registers(&before)?;
            Ok(Hijacked { thread: name.clone(), outcomes: outcomes? })
        })
        .collect()
}

/// `struct sockaddr_un` of a path.
fn unix_address(path: &Path) -> Vec<u8> {
    let mut address = 1_u16.to_ne_bytes().to_vec();
    address.extend(path.as_os_str().as_bytes());
    address.resize(110.max(address.len() + 1), 0);
    address
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// How much of a thread's stack is borrowed for what its calls point to.
const ROOM: usize = 2048;

/// A thread that makes the calls it is told to.
struct Puppet<'a> {
    thread: &'a mut Stopped,
    before: Registers,
    memory: &'a File,
    call: u64,
}

/// What the calls of an attempt are given, by the kernel's numbers.
mod number {
    pub(super) const AT_FDCWD: u64 = u64::MAX - 99;
    pub(super) const O_WRITE: u64 = 0o1;
    pub(super) const O_CREATE: u64 = 0o100;
    pub(super) const O_NONBLOCK: u64 = 0o4000;
    pub(super) const STREAM: u64 = 1;
    pub(super) const DATAGRAM: u64 = 2;
    pub(super) const RAW: u64 = 3;
}

impl Puppet<'_> {
    fn attempt(&mut self, attempt: &Attempt) -> io::Result<Outcome> {
        use crate::sys::tracing::call::*;
        let outcome = match attempt {
            Attempt::Read(path) => self.open(path, number::O_NONBLOCK)?,
            Attempt::Write(path) => self.open(path, number::O_WRITE | number::O_NONBLOCK)?,
            Attempt::Create(path) => self.open(path, number::O_WRITE | number::O_CREATE)?,
            Attempt::Connect(path) => self.open_socket(path, number::STREAM)?,
            Attempt::Send(path) => self.open_socket(path, number::DATAGRAM)?,
            Attempt::SendMessage(path) => self.send_message(path)?,
            Attempt::RingConnect(path) => self.connect_by_ring(path)?,
            Attempt::RingUdp => self.udp_by_ring()?,
            Attempt::Abstract(name) => {
                let name = [b"\0", name.as_bytes()].concat();
                self.connect_to(&name)?
            }
            Attempt::Look(path) => {
                let path = self.text(path, 0)?;
                let result = self.before.stack() + 1024;
                self.make(LOOK, &[number::AT_FDCWD, path, result, 0])?
            }
            Attempt::ChangeMode(path) => {
                let path = self.text(path, 0)?;
                self.make(CHMOD, &[number::AT_FDCWD, path, 0o644])?
            }
            Attempt::Watch(path) => match self.make(WATCHES, &[0])? {
                Ok(watches) => {
                    let path = self.text(path, 0)?;
                    let watch = self.make(WATCH, &[watches, path, 2])?;
                    self.make(CLOSE, &[watches])?.ok();
                    watch
                }
                refused => refused,
            },
            Attempt::Limit(pid) => {
                let result = self.before.stack() + 1024;
                self.make(LIMIT, &[u64::from(*pid), 7, 0, result])?
            }
            Attempt::SignalByFile(pid) => {
                // F_SETOWN of the standard input.
                self.make(CONTROL_FILE, &[0, 8, u64::from(*pid)])?
            }
            // TUNSETPERSIST.
            Attempt::KeepTap(tap) => self.make(CONTROL, &[u64::from(*tap), 0x4004_54cb, 1])?,
            Attempt::SharedMemory => {
                // IPC_PRIVATE, and removed with the last that has it: none.
                self.make(SHARED_MEMORY, &[0, 4096, 0o1600])?
            }
            Attempt::RawSocket => self.socket(2, number::RAW, 1)?,
            Attempt::PacketSocket => self.socket(17, number::RAW, 0)?,
            Attempt::UdpSocket => self.socket(2, number::DATAGRAM, 0)?,
            Attempt::Netlink => self.socket(16, number::RAW, 0)?,
            Attempt::Kill(pid) => self.make(KILL, &[u64::from(*pid), 0])?,
            Attempt::ThreadKill(pid) => {
                self.make(TGKILL, &[u64::from(*pid), u64::from(*pid), 0])?
            }
            // PTRACE_SEIZE, which doesn't stop it.
            Attempt::Trace(pid) => self.make(PTRACE, &[0x4206, u64::from(*pid), 0, 0])?,
            // CLONE_FS, which does nothing to a thread but to need unshare(2).
            Attempt::Unshare => self.make(UNSHARE, &[0x200])?,
            Attempt::Mount(path) => {
                let (path, kind) = (self.text(path, 0)?, self.text(Path::new("proc"), 512)?);
                self.make(MOUNT, &[kind, path, kind, 0, 0])?
            }
            // KEYCTL_GET_KEYRING_ID of the session's.
            Attempt::Keys => self.make(KEYCTL, &[0, u64::MAX - 2, 0])?,
            // BPF_MAP_CREATE of nothing: whoever may is told that it makes no sense.
            Attempt::Bpf => match self.make(BPF, &[0, 0, 0])? {
                Err(Outcome::Refused(22)) => Ok(0),
                other => other,
            },
            Attempt::BecomeRoot => self.make(SETUID, &[0])?,
        };
        Ok(match outcome {
            Ok(_) => Outcome::Allowed,
            Err(outcome) => outcome,
        })
    }

    fn open(&mut self, path: &Path, flags: u64) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let path = self.text(path, 0)?;
        let opened = self.make(OPENAT, &[number::AT_FDCWD, path, flags, 0o600])?;
        self.close(opened)
    }

    fn socket(
        &mut self,
        family: u64,
        kind: u64,
        protocol: u64,
    ) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let socket = self.make(SOCKET, &[family, kind, protocol])?;
        self.close(socket)
    }

    fn close(&mut self, opened: Result<u64, Outcome>) -> io::Result<Result<u64, Outcome>> {
        if let Ok(descriptor) = opened {
            self.make(crate::sys::tracing::call::CLOSE, &[descriptor])?.ok();
        }
        Ok(opened)
    }

    /// Connects to the Unix socket `path`, or sends it a datagram.
    fn open_socket(&mut self, path: &Path, kind: u64) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let address = unix_address(path);
        self.with_socket(kind, |this, socket| {
            let length = address.len() as u64;
            let at = this.write(&address, 0)?;
            match kind {
                number::STREAM => this.make(CONNECT, &[socket, at, length]),
                _ => this.make(SENDTO, &[socket, at, 1, 0, at, length]),
            }
        })
    }

    /// Connects to the Unix socket of that address, which isn't a path.
    fn connect_to(&mut self, address: &[u8]) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let address = [&1_u16.to_ne_bytes(), address].concat();
        self.with_socket(number::STREAM, |this, socket| {
            let at = this.write(&address, 0)?;
            this.make(CONNECT, &[socket, at, address.len() as u64])
        })
    }

    fn send_message(&mut self, path: &Path) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let address = unix_address(path);
        self.with_socket(number::DATAGRAM, |this, socket| {
            let at = this.write(&address, 0)?;
            // `struct iovec` and `struct msghdr`.
            let part = this.write(&words(&[at, 1]), 512)?;
            let message = words(&[at, address.len() as u64, part, 1, 0, 0, 0]);
            let message = this.write(&message, 1024)?;
            this.make(SENDMSG, &[socket, message, 0])
        })
    }

    /// Does something with a new Unix socket.
    fn with_socket(
        &mut self,
        kind: u64,
        work: impl FnOnce(&mut Self, u64) -> io::Result<Result<u64, Outcome>>,
    ) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let socket = match self.make(SOCKET, &[1, kind, 0])? {
            Ok(socket) => socket,
            refused => return Ok(refused),
        };
        let result = work(self, socket);
        self.make(CLOSE, &[socket])?.ok();
        result
    }

    fn text(&self, path: &Path, offset: u64) -> io::Result<u64> {
        let mut text = path.as_os_str().as_bytes().to_vec();
        text.push(0);
        self.write(&text, offset)
    }

    /// Writes over what the thread's stack holds; it gets that back.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<u64> {
        let at = self.before.stack() + offset;
        self.memory.write_all_at(bytes, at)?;
        Ok(at)
    }

    fn make(&mut self, number: u64, arguments: &[u64]) -> io::Result<Result<u64, Outcome>> {
        let registers = self.before.calling(self.call, number, arguments);
        let Some(result) = self.thread.step(&registers)? else { return Ok(Err(Outcome::Trapped)) };
        Ok(match u64::try_from(result) {
            Ok(value) => Ok(value),
            Err(_) => Err(Outcome::Refused(i32::try_from(-result).unwrap_or(i32::MAX))),
        })
    }
}
