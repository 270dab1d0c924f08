//! Which system calls change something, which may fail, and how.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::Tid;

/// What a call is to the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It changes nothing that outlives the process, but it may fail.
    Fallible,
    /// It changes something that outlives the process, or that others see.
    Changing,
}

/// A system call that is worth stopping at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) weight: Weight,
    /// Its name, as in the manual.
    pub(crate) name: &'static str,
    /// What it is done to, for people.
    pub(crate) object: String,
    /// The errors that fit it.
    pub(crate) errnos: &'static [i32],
}

/// How an entry of the table below names its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    /// The path that argument points to.
    Path(usize),
    /// The descriptor that argument is.
    Descriptor(usize),
    None,
}

use Object::{Descriptor, None as Nothing, Path as At};
use libc::{
    EACCES, EADDRINUSE, EAGAIN, ECONNRESET, EIO, EMFILE, ENFILE, ENOLCK, ENOMEM, ENOSPC, EPERM,
    EPIPE,
};

/// Everything but the calls that need a closer look: number, name, weight, object, errors.
#[rustfmt::skip]
const CALLS: &[(i64, &str, Weight, Object, &[i32])] = &[
    (libc::SYS_rename, "rename", Weight::Changing, At(1), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_renameat, "renameat", Weight::Changing, At(3), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_renameat2, "renameat2", Weight::Changing, At(3), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_link, "link", Weight::Changing, At(1), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_linkat, "linkat", Weight::Changing, At(3), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_symlink, "symlink", Weight::Changing, At(1), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_symlinkat, "symlinkat", Weight::Changing, At(2), &[ENOSPC, EACCES, EIO]),
    (libc::SYS_unlink, "unlink", Weight::Changing, At(0), &[EACCES, EIO]),
    (libc::SYS_unlinkat, "unlinkat", Weight::Changing, At(1), &[EACCES, EIO]),
    (libc::SYS_mkdir, "mkdir", Weight::Changing, At(0), &[ENOSPC, EACCES]),
    (libc::SYS_mkdirat, "mkdirat", Weight::Changing, At(1), &[ENOSPC, EACCES]),
    (libc::SYS_rmdir, "rmdir", Weight::Changing, At(0), &[EACCES, EIO]),
    (libc::SYS_mknodat, "mknodat", Weight::Changing, At(1), &[ENOSPC, EACCES]),
    (libc::SYS_truncate, "truncate", Weight::Changing, At(0), &[ENOSPC, EIO]),
    (libc::SYS_ftruncate, "ftruncate", Weight::Changing, Descriptor(0), &[ENOSPC, EIO]),
    (libc::SYS_fallocate, "fallocate", Weight::Changing, Descriptor(0), &[ENOSPC, EIO]),
    (libc::SYS_fsync, "fsync", Weight::Changing, Descriptor(0), &[EIO, ENOSPC]),
    (libc::SYS_fdatasync, "fdatasync", Weight::Changing, Descriptor(0), &[EIO, ENOSPC]),
    (libc::SYS_syncfs, "syncfs", Weight::Changing, Descriptor(0), &[EIO]),
    (libc::SYS_copy_file_range, "copy_file_range", Weight::Changing, Descriptor(2), &[ENOSPC, EIO]),
    (libc::SYS_sendfile, "sendfile", Weight::Changing, Descriptor(0), &[ENOSPC, EIO]),
    (libc::SYS_splice, "splice", Weight::Changing, Descriptor(2), &[ENOSPC, EIO]),
    (libc::SYS_chmod, "chmod", Weight::Changing, At(0), &[EPERM, EIO]),
    (libc::SYS_fchmod, "fchmod", Weight::Changing, Descriptor(0), &[EPERM, EIO]),
    (libc::SYS_fchmodat, "fchmodat", Weight::Changing, At(1), &[EPERM, EIO]),
    (libc::SYS_chown, "chown", Weight::Changing, At(0), &[EPERM]),
    (libc::SYS_fchown, "fchown", Weight::Changing, Descriptor(0), &[EPERM]),
    (libc::SYS_fchownat, "fchownat", Weight::Changing, At(1), &[EPERM]),
    (libc::SYS_setxattr, "setxattr", Weight::Changing, At(0), &[ENOSPC, EPERM]),
    (libc::SYS_lsetxattr, "lsetxattr", Weight::Changing, At(0), &[ENOSPC, EPERM]),
    (libc::SYS_fsetxattr, "fsetxattr", Weight::Changing, Descriptor(0), &[ENOSPC, EPERM]),
    (libc::SYS_removexattr, "removexattr", Weight::Changing, At(0), &[EPERM]),
    (libc::SYS_utimensat, "utimensat", Weight::Changing, At(1), &[EPERM]),
    (libc::SYS_bind, "bind", Weight::Changing, Descriptor(0), &[EADDRINUSE, EACCES, ENOSPC]),
    (libc::SYS_listen, "listen", Weight::Changing, Descriptor(0), &[EADDRINUSE]),
    (libc::SYS_clone, "clone", Weight::Changing, Nothing, &[EAGAIN, ENOMEM]),
    (libc::SYS_clone3, "clone3", Weight::Changing, Nothing, &[EAGAIN, ENOMEM]),
    (libc::SYS_fork, "fork", Weight::Changing, Nothing, &[EAGAIN, ENOMEM]),
    (libc::SYS_vfork, "vfork", Weight::Changing, Nothing, &[EAGAIN, ENOMEM]),
    (libc::SYS_execve, "execve", Weight::Changing, At(0), &[EACCES, ENOMEM]),
    (libc::SYS_kill, "kill", Weight::Changing, Nothing, &[EPERM]),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal", Weight::Changing, Nothing, &[EPERM]),
    (libc::SYS_flock, "flock", Weight::Changing, Descriptor(0), &[ENOLCK]),
    (libc::SYS_mount, "mount", Weight::Changing, At(1), &[EPERM]),
    (libc::SYS_umount2, "umount2", Weight::Changing, At(0), &[EPERM]),
    (libc::SYS_setns, "setns", Weight::Changing, Nothing, &[EPERM]),
    (libc::SYS_unshare, "unshare", Weight::Changing, Nothing, &[EPERM]),
    (libc::SYS_socket, "socket", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_socketpair, "socketpair", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_pipe2, "pipe2", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_dup, "dup", Weight::Fallible, Descriptor(0), &[EMFILE]),
    (libc::SYS_dup3, "dup3", Weight::Fallible, Descriptor(0), &[EMFILE]),
    (libc::SYS_eventfd2, "eventfd2", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_epoll_create1, "epoll_create1", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_inotify_init1, "inotify_init1", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_inotify_add_watch, "inotify_add_watch", Weight::Fallible, At(1), &[ENOSPC, EACCES]),
    (libc::SYS_pidfd_open, "pidfd_open", Weight::Fallible, Nothing, &[EMFILE]),
    (libc::SYS_getdents64, "getdents64", Weight::Fallible, Descriptor(0), &[EIO]),
    (libc::SYS_statx, "statx", Weight::Fallible, At(1), &[EIO, EACCES]),
    (libc::SYS_newfstatat, "newfstatat", Weight::Fallible, At(1), &[EIO, EACCES]),
    (libc::SYS_fstat, "fstat", Weight::Fallible, Descriptor(0), &[EIO]),
    (libc::SYS_lstat, "lstat", Weight::Fallible, At(0), &[EIO, EACCES]),
    (libc::SYS_stat, "stat", Weight::Fallible, At(0), &[EIO, EACCES]),
    (libc::SYS_faccessat, "faccessat", Weight::Fallible, At(1), &[EIO]),
    (libc::SYS_faccessat2, "faccessat2", Weight::Fallible, At(1), &[EIO]),
    (libc::SYS_readlink, "readlink", Weight::Fallible, At(0), &[EIO]),
    (libc::SYS_readlinkat, "readlinkat", Weight::Fallible, At(1), &[EIO]),
    (libc::SYS_memfd_create, "memfd_create", Weight::Fallible, Nothing, &[EMFILE]),
];

const OPENS: &[(i64, &str, usize)] = &[
    (libc::SYS_open, "open", 0),
    (libc::SYS_openat, "openat", 1),
    (libc::SYS_openat2, "openat2", 1),
    (libc::SYS_creat, "creat", 0),
];

const WRITES: &[(i64, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendmmsg, "sendmmsg"),
];

const READS: &[(i64, &str)] = &[
    (libc::SYS_read, "read"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_preadv, "preadv"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
];

/// The ioctls that change something.
const IOCTLS: &[(u64, &str, &[i32])] = &[
    (0x4004_9409, "ioctl FICLONE", &[ENOSPC, EIO]),
    (0x4020_940d, "ioctl FICLONERANGE", &[ENOSPC, EIO]),
    (0x4004_54ca, "ioctl TUNSETIFF", &[EPERM, EMFILE]),
    (0x4004_54cb, "ioctl TUNSETPERSIST", &[EPERM]),
    (0x4004_54cc, "ioctl TUNSETOWNER", &[EPERM]),
    (0x8914, "ioctl SIOCSIFFLAGS", &[EPERM, ENOMEM]),
    (0x8922, "ioctl SIOCSIFMTU", &[EPERM]),
    (0x8924, "ioctl SIOCSIFHWADDR", &[EPERM]),
];

impl Call {
    /// What `tid` is about to do; `None` if that is of no interest.
    ///
    /// Of none are: output on the standard streams, as it comes when all is done; memory, time,
    /// signals to itself; `close`, whose error no caller can act on; `poll`, which fails by its
    /// deadline and is tried with frozen peers instead.
    pub(crate) fn of(tid: Tid, number: i64, arguments: &[u64; 6]) -> Option<Self> {
        if let Some((_, name, path)) = OPENS.iter().find(|(open, ..)| *open == number) {
            return Some(Self::open(tid, name, *path, number, arguments));
        }
        if let Some((_, name)) = WRITES.iter().find(|(write, _)| *write == number) {
            if matches!(arguments[0], 1 | 2) && !is_socket(tid, arguments[0]) {
                return None;
            }
            let errnos: &[i32] =
                if is_socket(tid, arguments[0]) { &[ECONNRESET, EPIPE] } else { &[ENOSPC, EIO] };
            let object = descriptor(tid, arguments[0]);
            return Some(Self { weight: Weight::Changing, name, object, errnos });
        }
        if let Some((_, name)) = READS.iter().find(|(read, _)| *read == number) {
            let errnos: &[i32] = if is_socket(tid, arguments[0]) { &[ECONNRESET] } else { &[EIO] };
            let object = descriptor(tid, arguments[0]);
            // Thousands of records, of which any error ends the reading.
            if object == "/dev/kmsg" {
                return None;
            }
            return Some(Self { weight: Weight::Fallible, name, object, errnos });
        }
        if number == libc::SYS_connect {
            let object = socket_address(tid, arguments[1]);
            return Some(Self {
                weight: Weight::Changing,
                name: "connect",
                object,
                errnos: &[EACCES, EAGAIN],
            });
        }
        if number == libc::SYS_fcntl {
            let duplicates = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
            let object = descriptor(tid, arguments[0]);
            return duplicates
                .iter()
                .any(|command| u64::try_from(*command).is_ok_and(|number| number == arguments[1]))
                .then_some(Self {
                    weight: Weight::Fallible,
                    name: "fcntl F_DUPFD",
                    object,
                    errnos: &[EMFILE],
                });
        }
        if number == libc::SYS_ioctl {
            let (_, name, errnos) = IOCTLS.iter().find(|(command, ..)| *command == arguments[1])?;
            let object = descriptor(tid, arguments[0]);
            return Some(Self { weight: Weight::Changing, name, object, errnos });
        }
        let (_, name, weight, object, errnos) = CALLS.iter().find(|(call, ..)| *call == number)?;
        let object = match *object {
            At(index) => string(tid, arguments[index]),
            Descriptor(index) => descriptor(tid, arguments[index]),
            Nothing => String::new(),
        };
        Some(Self { weight: *weight, name, object, errnos })
    }

    fn open(tid: Tid, name: &'static str, path: usize, number: i64, arguments: &[u64; 6]) -> Self {
        let object = string(tid, arguments[path]);
        let flags = match number {
            libc::SYS_creat => libc::O_CREAT,
            // A pointer to a structure that begins with the flags.
            libc::SYS_openat2 => low(word(tid, arguments[2]).unwrap_or_default()),
            _ => low(arguments[path + 1]),
        };
        let makes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0
            || flags & libc::O_TMPFILE == libc::O_TMPFILE;
        let (weight, errnos): (_, &[i32]) = if makes {
            (Weight::Changing, &[ENOSPC, EACCES, EMFILE, EIO])
        } else {
            (Weight::Fallible, &[EMFILE, EACCES, EIO, ENFILE])
        };
        Self { weight, name, object, errnos }
    }
}

/// The name of an error, as in the manual.
pub(crate) fn errno_name(errno: i32) -> &'static str {
    match errno {
        libc::ENOSPC => "ENOSPC",
        libc::EACCES => "EACCES",
        libc::EIO => "EIO",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EPERM => "EPERM",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::ENOLCK => "ENOLCK",
        libc::ECONNRESET => "ECONNRESET",
        libc::EPIPE => "EPIPE",
        _ => "an error",
    }
}

/// The flags of an `open`, which are its lower half.
fn low(flags: u64) -> i32 {
    i32::try_from(flags & 0x7fff_ffff).unwrap_or_default()
}

fn target(tid: Tid, number: u64) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{tid}/fd/{}", number & 0xffff_ffff)).ok()
}

fn descriptor(tid: Tid, number: u64) -> String {
    target(tid, number).map(|path| path.display().to_string()).unwrap_or_default()
}

fn is_socket(tid: Tid, number: u64) -> bool {
    target(tid, number)
        .is_some_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
}

fn memory(tid: Tid, address: u64, room: &mut [u8]) -> usize {
    File::open(format!("/proc/{tid}/mem"))
        .and_then(|memory| memory.read_at(room, address))
        .unwrap_or(0)
}

fn word(tid: Tid, address: u64) -> Option<u64> {
    let mut room = [0; 8];
    (memory(tid, address, &mut room) == 8).then(|| u64::from_le_bytes(room))
}

/// The two sockets whose numbers a `socketpair` wrote to `address`.
pub(crate) fn pair(tid: Tid, address: u64) -> Vec<String> {
    let Some(numbers) = word(tid, address) else { return Vec::new() };
    [numbers & 0xffff_ffff, numbers >> 32].into_iter().map(|fd| descriptor(tid, fd)).collect()
}

fn string(tid: Tid, address: u64) -> String {
    let mut room = [0; 512];
    // A path at the end of a mapping: the read stops there.
    let got = memory(tid, address, &mut room);
    let end = room[..got].iter().position(|byte| *byte == 0).unwrap_or(got);
    String::from_utf8_lossy(&room[..end]).into_owned()
}

fn socket_address(tid: Tid, address: u64) -> String {
    let mut room = [0; 110];
    let got = memory(tid, address, &mut room);
    let family = u16::from_le_bytes([room[0], room[1]]);
    if i32::from(family) != libc::AF_UNIX {
        return format!("address family {family}");
    }
    let path = &room[2.min(got)..got];
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    String::from_utf8_lossy(&path[..end]).into_owned()
}

/// Shortens what a call is done to, for a line that people read: `root` becomes `~`.
pub(crate) fn shorten(object: &str, root: &Path) -> String {
    object.replace(&root.display().to_string(), "~")
}
