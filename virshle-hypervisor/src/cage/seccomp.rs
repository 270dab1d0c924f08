//! The system calls that a caged program is refused, as a filter for seccomp(2).
//!
//! It is a list of what is refused and not of what is allowed: the latter is the program's own, which
//! comes on top, and knows what each of its threads needs. What is refused fails with `EPERM`, so that
//! a library that only tries something goes on.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter,
};

use crate::cage::refused::{OF_ITSELF, REFUSED, REFUSED_COMMANDS, REFUSED_REQUESTS};

/// Offsets in `struct seccomp_data`: the call's number, the architecture, and the low half of the
/// first argument, on machines whose lowest byte comes first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// The bit of the numbers of x86's calls for 32-bit pointers.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// The flags of clone(2) that begin a namespace.
const NAMESPACES: u32 = bits_of(
    libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET,
);

/// A number of the C library as the kernel's filter sees it.
const fn bits_of(number: i32) -> u32 {
    u32::from_ne_bytes(number.to_ne_bytes())
}

/// The number of no call.
pub(crate) const NO_CALL: u32 = u32::MAX;

/// A filter, and the two instructions of it that are settled once the process is there.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) program: Vec<sock_filter>,
    /// The one whose constant is the process' own id.
    pub(super) own_pid: usize,
    /// The one that recognises io_uring_setup(2), to refuse it.
    pub(super) ring: usize,
}

impl Filter {
    /// A filter; with `connections` and `cutting` it leaves connect(2), and open(2) that cuts what is
    /// there, to others to refuse.
    pub(super) fn new(connections: bool, cutting: bool) -> Self {
        let mut program = vec![
            load(ARCHITECTURE),
            jump(BPF_JEQ, NATIVE, 1, 0),
            answer(libc::SECCOMP_RET_KILL_PROCESS),
            load(NUMBER),
        ];
        #[cfg(target_arch = "x86_64")]
        program.extend([jump(libc::BPF_JGE, X32, 0, 1), refuse(libc::EPERM)]);
        // First what a vCPU calls all the time: the kernel remembers the answer for calls whose arguments don't
        // count, and goes through this for each of the others.
        program.extend(when_any(libc::SYS_ioctl, &REFUSED_REQUESTS));
        program.extend(when_any(libc::SYS_fcntl, &REFUSED_COMMANDS));
        for number in REFUSED {
            program.extend([jump(BPF_JEQ, constant(*number), 0, 1), refuse(libc::EPERM)]);
        }
        let ring = program.len();
        let setup = constant(libc::SYS_io_uring_setup);
        program.extend([jump(BPF_JEQ, setup, 0, 1), refuse(libc::EPERM)]);
        for number in OF_ITSELF {
            let itself = [load(ARGUMENT), jump(BPF_JEQ, 0, 1, 0), refuse(libc::EPERM)];
            program.extend(when(*number, &itself));
        }
        if !connections {
            program.extend([jump(BPF_JEQ, constant(libc::SYS_connect), 0, 1), refuse(libc::EPERM)]);
            // sendto(2) that names an address, in either half of the pointer.
            program.extend(when(
                libc::SYS_sendto,
                &[
                    load(ARGUMENT + 4 * 8),
                    jump(BPF_JEQ, 0, 0, 2),
                    load(ARGUMENT + 4 * 8 + 4),
                    jump(BPF_JEQ, 0, 1, 0),
                    refuse(libc::EPERM),
                ],
            ));
        }
        if !cutting {
            program
                .extend([jump(BPF_JEQ, constant(libc::SYS_openat2), 0, 1), refuse(libc::ENOSYS)]);
            program.extend(when_cutting(libc::SYS_openat, 2));
            #[cfg(target_arch = "x86_64")]
            {
                program.extend(when_cutting(libc::SYS_open, 1));
                program
                    .extend([jump(BPF_JEQ, constant(libc::SYS_creat), 0, 1), refuse(libc::EPERM)]);
            }
        }
        // The C library takes clone(2) where there is no clone3(2), whose flags can't be looked at.
        program.extend([jump(BPF_JEQ, constant(libc::SYS_clone3), 0, 1), refuse(libc::ENOSYS)]);
        program.extend(when(
            libc::SYS_clone,
            &[load(ARGUMENT), jump(BPF_JSET, NAMESPACES, 0, 1), refuse(libc::EPERM)],
        ));
        program.extend(when(
            libc::SYS_socket,
            &[load(ARGUMENT), jump(BPF_JEQ, bits_of(libc::AF_UNIX), 1, 0), refuse(libc::EPERM)],
        ));
        // `when` has one instruction before its body, which loads and then compares.
        let own_pid = program.len() + 2;
        program.extend(when(
            libc::SYS_tgkill,
            &[load(ARGUMENT), jump(BPF_JEQ, 0, 1, 0), refuse(libc::EPERM)],
        ));
        program.push(answer(libc::SECCOMP_RET_ALLOW));
        Self { program, own_pid, ring }
    }
}

/// Refuses the call `number` where its flags, the argument of that index, say to cut the file.
fn when_cutting(number: c_long, flags: u32) -> Vec<sock_filter> {
    let cut = bits_of(libc::O_TRUNC);
    let body = [load(ARGUMENT + 8 * flags), jump(BPF_JSET, cut, 0, 1), refuse(libc::EPERM)];
    when(number, &body)
}

/// Refuses the call `number` where its second argument is one of these.
fn when_any(number: c_long, refused: &[u32]) -> Vec<sock_filter> {
    let each = refused.iter().flat_map(|one| [jump(BPF_JEQ, *one, 0, 1), refuse(libc::EPERM)]);
    when(number, &std::iter::once(load(ARGUMENT + 8)).chain(each).collect::<Vec<_>>())
}

/// The instructions `body` for the call `number` alone, allowed if they come to no other end.
fn when(number: c_long, body: &[sock_filter]) -> Vec<sock_filter> {
    let length = u8::try_from(body.len() + 1).unwrap_or(u8::MAX);
    let mut program = vec![jump(BPF_JEQ, constant(number), 0, length)];
    program.extend_from_slice(body);
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(kind: u32, value: u32, if_so: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | kind | BPF_K, value, if_so, otherwise)
}

fn answer(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

fn refuse(errno: libc::c_int) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | bits_of(errno))
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // Every code is one byte and a bit.
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}

/// A call's number, which is small.
fn constant(number: c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

    /// What the kernel does with a call, in the few instructions that a filter is made of.
    fn run(program: &[sock_filter], architecture: u32, number: c_long, arguments: &[u64]) -> u32 {
        let mut data = constant(number).to_le_bytes().to_vec();
        data.extend(architecture.to_le_bytes());
        data.extend(0_u64.to_le_bytes());
        for at in 0..6 {
            data.extend(arguments.get(at).copied().unwrap_or_default().to_le_bytes());
        }
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let code = u32::from(step.code);
            let holds = match code & 0xf0 {
                _ if code == BPF_LD | BPF_W | BPF_ABS => {
                    let from = step.k as usize;
                    value = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                    continue;
                }
                _ if code == BPF_RET | BPF_K => return step.k,
                BPF_JEQ => value == step.k,
                libc::BPF_JGE => value >= step.k,
                BPF_JSET => value & step.k != 0,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    fn verdict(filter: &Filter, number: c_long, arguments: &[u64]) -> u32 {
        run(&filter.program, NATIVE, number, arguments)
    }

    #[test]
    fn the_listed_calls_are_refused_and_what_a_vmm_needs_is_not() {
        let filter = Filter::new(false, true);
        for number in REFUSED {
            assert_eq!(verdict(&filter, *number, &[]), EPERM, "{number}");
        }
        let needed = [
            libc::SYS_openat,
            libc::SYS_read,
            libc::SYS_execve,
            libc::SYS_mmap,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_io_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_prlimit64,
            libc::SYS_memfd_create,
            libc::SYS_mbind,
            libc::SYS_seccomp,
            libc::SYS_landlock_restrict_self,
            libc::SYS_prctl,
            libc::SYS_exit_group,
        ];
        for number in needed {
            assert_eq!(verdict(&filter, number, &[]), ALLOW, "{number}");
        }
    }

    #[test]
    fn another_architectures_calls_end_the_process() {
        let filter = Filter::new(false, true);
        for architecture in [0x4000_0003, 0x4000_0028, 0] {
            let answer = run(&filter.program, architecture, libc::SYS_read, &[]);
            assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS, "{architecture:#x}");
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(verdict(&filter, c_long::from(X32), &[]), EPERM);
    }

    #[test]
    fn threads_are_born_and_namespaces_are_not() {
        let filter = Filter::new(false, true);
        assert_eq!(verdict(&filter, libc::SYS_clone3, &[]), ENOSYS);
        let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
        let flags = |flags: i32| [u64::from(bits_of(flags))];
        assert_eq!(verdict(&filter, libc::SYS_clone, &flags(thread)), ALLOW);
        for new in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, thread | libc::CLONE_NEWNS] {
            assert_eq!(verdict(&filter, libc::SYS_clone, &flags(new)), EPERM);
        }
    }

    #[test]
    fn sockets_are_unix_and_connect_where_that_is_asked_for() {
        let (closed, open) = (Filter::new(false, true), Filter::new(true, true));
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET] {
            let family = [u64::from(bits_of(family))];
            assert_eq!(verdict(&open, libc::SYS_socket, &family), EPERM);
        }
        assert_eq!(verdict(&closed, libc::SYS_socket, &[1]), ALLOW);
        assert_eq!(verdict(&closed, libc::SYS_connect, &[]), EPERM);
        assert_eq!(verdict(&open, libc::SYS_connect, &[]), ALLOW);
        for address in [1, 0xffff, 1 << 32, u64::MAX] {
            let arguments = [3, 0, 0, 0, address];
            assert_eq!(verdict(&closed, libc::SYS_sendto, &arguments), EPERM, "{address:#x}");
            assert_eq!(verdict(&open, libc::SYS_sendto, &arguments), ALLOW);
        }
        assert_eq!(verdict(&closed, libc::SYS_sendto, &[3]), ALLOW);
    }

    #[test]
    fn a_thread_signals_its_own_process_alone() {
        let mut filter = Filter::new(false, true);
        filter.program[filter.own_pid].k = 4711;
        assert_eq!(verdict(&filter, libc::SYS_tgkill, &[4711, 4712, 10]), ALLOW);
        assert_eq!(verdict(&filter, libc::SYS_tgkill, &[1, 1, 9]), EPERM);
    }

    #[test]
    fn a_thread_limits_and_schedules_itself_alone() {
        let filter = Filter::new(false, true);
        for number in OF_ITSELF {
            assert_eq!(verdict(&filter, *number, &[0, 7]), ALLOW, "{number}");
            assert_eq!(verdict(&filter, *number, &[1, 7]), EPERM, "{number}");
        }
    }

    #[test]
    fn io_uring_is_refused_until_it_is_settled_otherwise() {
        let mut filter = Filter::new(false, true);
        assert_eq!(verdict(&filter, libc::SYS_io_uring_setup, &[]), EPERM);
        filter.program[filter.ring].k = NO_CALL;
        assert_eq!(verdict(&filter, libc::SYS_io_uring_setup, &[]), ALLOW);
        // One that isn't there can't be asked for.
        assert_eq!(verdict(&filter, libc::SYS_ptrace, &[]), EPERM);
    }

    #[test]
    fn what_an_old_landlock_lets_be_cut_is_refused() {
        let (old, new) = (Filter::new(false, false), Filter::new(false, true));
        let flags = |flags: i32| [0, 0, u64::from(bits_of(flags))];
        for flags in [flags(libc::O_RDONLY | libc::O_TRUNC), flags(libc::O_RDWR | libc::O_TRUNC)] {
            assert_eq!(verdict(&old, libc::SYS_openat, &flags), EPERM);
            assert_eq!(verdict(&new, libc::SYS_openat, &flags), ALLOW);
        }
        assert_eq!(verdict(&old, libc::SYS_openat, &flags(libc::O_RDWR | libc::O_CLOEXEC)), ALLOW);
        assert_eq!(verdict(&old, libc::SYS_openat2, &[]), ENOSYS);
        assert_eq!(verdict(&old, libc::SYS_ftruncate, &[]), ALLOW);
    }

    #[test]
    fn no_terminal_is_typed_at_and_no_signal_sent_by_a_file() {
        let filter = Filter::new(false, true);
        for request in REFUSED_REQUESTS {
            assert_eq!(verdict(&filter, libc::SYS_ioctl, &[0, request.into()]), EPERM);
        }
        for command in REFUSED_COMMANDS {
            assert_eq!(verdict(&filter, libc::SYS_fcntl, &[0, command.into()]), EPERM);
        }
        // KVM_RUN, TUNSETOFFLOAD; F_SETFL, F_DUPFD_CLOEXEC, F_OFD_SETLK.
        for request in [0xae80, 0x4004_54d0] {
            assert_eq!(verdict(&filter, libc::SYS_ioctl, &[0, request]), ALLOW);
        }
        for command in [4, 1030, 37] {
            assert_eq!(verdict(&filter, libc::SYS_fcntl, &[0, command]), ALLOW);
        }
    }
}
