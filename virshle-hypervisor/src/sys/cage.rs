//! What a forked child does to enter a cage, and what is created for it before.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use crate::cage::NO_CALL;
use crate::sys::view::Entrance;

/// `struct landlock_ruleset_attr`; a shorter one is known to older kernels.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;
/// The rights to read files and directories (`linux/landlock.h`).
const READ: u64 = 1 << 2 | 1 << 3;

/// Creates a ruleset that takes these rights away.
pub(crate) fn create_ruleset(files: u64, net: u64, scoped: u64) -> io::Result<OwnedFd> {
    let attributes =
        RulesetAttributes { handled_access_fs: files, handled_access_net: net, scoped };
    let word = mem::size_of::<u64>();
    let size = match (net, scoped) {
        (0, 0) => word,
        (_, 0) => 2 * word,
        _ => 3 * word,
    };
    // SAFETY: the kernel reads `size` bytes, at most those of `attributes`.
    let fd =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0) };
    match RawFd::try_from(fd) {
        // SAFETY: a new descriptor, which no one else knows. The kernel opens it close-on-exec.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Adds `rights` over what `file` is, and what is below it, to a ruleset.
pub(crate) fn add_rule(ruleset: &OwnedFd, file: &OwnedFd, rights: u64) -> io::Result<()> {
    add_rule_raw(ruleset.as_raw_fd(), file.as_raw_fd(), rights)
}

fn add_rule_raw(ruleset: RawFd, file: RawFd, rights: u64) -> io::Result<()> {
    let rule = PathBeneath { allowed_access: rights, parent_fd: file };
    // SAFETY: the kernel reads the structure, which is its own for this type of rule.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset,
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel takes filters of system calls.
pub(crate) fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads the action, four bytes, and changes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, ptr::from_ref(&action))
    };
    result == 0
}

/// Has the child of `command` call `hook` before it becomes its program.
pub(crate) fn before_exec(
    command: &mut Command,
    hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the only hooks are those of this crate that enter a cage, which allocate nothing and
    // take no lock, see `Entry::enter`.
    unsafe {
        command.pre_exec(hook);
    }
}

/// What a forked child needs to enter its cage, all of it there before the fork.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The root of its own.
    pub(crate) view: Option<Entrance>,
    /// The user, the group, the supplementary groups.
    pub(crate) identity: Option<(u32, u32, Vec<u32>)>,
    pub(crate) ruleset: Option<OwnedFd>,
    /// A filter of system calls; none if it is empty.
    pub(crate) filter: Vec<libc::sock_filter>,
    /// The instruction of the filter whose constant is the process' own id.
    pub(crate) own_pid: Option<usize>,
    /// The instruction of the filter that recognises the call by which io_uring begins: refused but in a
    /// view of the program's own, where nothing is that it could reach by that.
    pub(crate) ring: Option<usize>,
    /// The most descriptors the program may have.
    pub(crate) descriptors: u64,
}

/// The steps into a cage, for an error that only has room for a number.
pub(crate) const STEPS: [&str; 9] = [
    "limit what is open",
    "drop the capabilities",
    "set the groups",
    "set the user",
    "forbid new privileges",
    "let it see itself",
    "restrict the files",
    "restrict the system calls",
    VIEW_STEP,
];
/// The step that takes namespaces.
pub(crate) const VIEW_STEP: &str = "set up a root of its own";
/// The most processes and threads of a user who has no others.
const PROCESSES: u64 = 8192;

impl Entry {
    /// Enters the cage: plain system calls, without memory allocation and locks. On failure, which of
    /// [`STEPS`] it was.
    pub(crate) fn enter(&mut self) -> Result<(), (usize, io::Error)> {
        let step = |number: usize| move |error: io::Error| (number, error);
        // A disk is larger than what a shell lets its files be (`ulimit -f`): a write beyond that would
        // end the machine. Where it can't be lifted, it stays.
        lift(libc::RLIMIT_FSIZE);
        limit(libc::RLIMIT_CORE, 0).map_err(step(0))?;
        if let Some(view) = &self.view {
            match view.enter() {
                Ok(()) => self.allow_rings(),
                Err(error) if view.required => return Err((8, error)),
                Err(_) => {}
            }
        }
        drop_bounding_set();
        if let Some((uid, gid, groups)) = &self.identity {
            set_groups(*gid, groups).map_err(step(2))?;
            set_user(*uid).map_err(step(3))?;
            limit(libc::RLIMIT_NPROC, PROCESSES).map_err(step(0))?;
        }
        drop_capabilities().map_err(step(1))?;
        // SAFETY: a call on numbers alone.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map_err(step(4))?;
        if let Some(ruleset) = &self.ruleset {
            let ruleset = ruleset.as_raw_fd();
            allow_itself(ruleset).map_err(step(5))?;
            // SAFETY: a call on numbers alone.
            let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
            check_long(done).map_err(step(6))?;
        }
        // The starter may have more open than that, all of which are there until the exec: what is opened on
        // the way in is above them.
        limit(libc::RLIMIT_NOFILE, self.descriptors).map_err(step(0))?;
        self.filter_calls().map_err(step(7))
    }

    fn allow_rings(&mut self) {
        if let Some(ring) = self.ring.and_then(|at| self.filter.get_mut(at)) {
            ring.k = NO_CALL;
        }
    }

    fn filter_calls(&mut self) -> io::Result<()> {
        if self.filter.is_empty() {
            return Ok(());
        }
        if let Some(own) = self.own_pid.and_then(|at| self.filter.get_mut(at)) {
            // SAFETY: a call without arguments.
            own.k = u32::try_from(unsafe { libc::getpid() }).unwrap_or_default();
        }
        let program = libc::sock_fprog {
            len: u16::try_from(self.filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: self.filter.as_mut_ptr(),
        };
        // SAFETY: the kernel reads `len` instructions at `filter`, which is what the vector has.
        check_long(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        })
    }
}

/// Gives up every capability, and the ways to one.
pub(crate) fn give_up_privileges() -> io::Result<()> {
    lift(libc::RLIMIT_FSIZE);
    drop_bounding_set();
    drop_capabilities()?;
    // SAFETY: a call on numbers alone.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    check_long(result.into())
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lowers a limit, for good.
fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes the structure, and then reads it.
    unsafe {
        check(libc::getrlimit(resource, &raw mut now))?;
        let most = most.min(now.rlim_max);
        check(libc::setrlimit(resource, &libc::rlimit { rlim_cur: most, rlim_max: most }))
    }
}

/// Lifts a limit as far as this process may.
fn lift(resource: libc::__rlimit_resource_t) {
    let none = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let mut now = none;
    // SAFETY: the kernel reads and writes the structures.
    unsafe {
        if libc::setrlimit(resource, &raw const none) == -1
            && libc::getrlimit(resource, &raw mut now) == 0
        {
            now.rlim_cur = now.rlim_max;
            libc::setrlimit(resource, &raw const now);
        }
    }
}

/// Takes every capability out of the bounding set. Who may not do that can't gain any, either.
fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: a call on numbers alone. It fails for those that the kernel doesn't know.
        unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
    }
}

fn set_groups(gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the raw calls, which change this process alone; the C library's would go round threads
    // that aren't here. The kernel reads as many groups as there are.
    unsafe {
        check_long(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))
    }
}

fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: the raw call on numbers alone, as above.
    check_long(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Drops the effective, permitted, inheritable and ambient capabilities.
fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    // `struct __user_cap_header_struct`, and two `__user_cap_data_struct`.
    let header = [VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads both, whose sizes are those of this version.
    unsafe {
        // Refused where the kernel knows no ambient capabilities, and then there are none.
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        check_long(libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()))
    }
}

/// Lets the process read its own directory in `/proc`: not before it is there can it be named.
fn allow_itself(ruleset: RawFd) -> io::Result<()> {
    // SAFETY: the path is a C string. What is opened is closed again.
    unsafe {
        let itself = libc::open(c"/proc/self".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        if itself == -1 {
            // Without /proc there is nothing to read.
            return Ok(());
        }
        let added = add_rule_raw(ruleset, BorrowedFd::borrow_raw(itself).as_raw_fd(), READ);
        libc::close(itself);
        added
    }
}
