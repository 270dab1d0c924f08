//! The ioctls of the kernel's tap driver.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{IntegerSetter, Opcode, Setter, ioctl, opcode};

use crate::InterfaceName;

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<i32>(b'T', 203);
const TUNSETOWNER: Opcode = opcode::write::<i32>(b'T', 204);

/// `struct ifreq` of `linux/if.h`, as far as the tap driver uses it.
#[derive(Debug)]
#[repr(C)]
struct InterfaceRequest {
    name: [u8; InterfaceName::MAX_LEN + 1],
    flags: u16,
    rest: [u8; 22],
}

/// Makes `file`, an open `/dev/net/tun`, a queue of the interface `name`.
pub(crate) fn set_interface(
    file: BorrowedFd<'_>,
    name: &InterfaceName,
    flags: u16,
) -> io::Result<()> {
    let mut request =
        InterfaceRequest { name: [0; InterfaceName::MAX_LEN + 1], flags, rest: [0; 22] };
    request.name[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    // SAFETY: TUNSETIFF reads (and writes back) a `struct ifreq` of 40 bytes, which
    // `InterfaceRequest` is in size and layout on 64-bit Linux: 16 bytes of name that end with a
    // NUL, for `InterfaceName` has 15 at most, then a union that begins with the flags. `Setter`
    // owns the request for the call and passes a pointer to it. A file that is no tap driver's
    // answers ENOTTY.
    unsafe { ioctl(file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?;
    Ok(())
}

/// Lets the interface stay when its last descriptor is closed, or not.
pub(crate) fn set_persistent(file: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value and touches no memory of ours.
    unsafe {
        ioctl(file, IntegerSetter::<TUNSETPERSIST>::new_usize(usize::from(persistent)))?;
    }
    Ok(())
}

/// Lets the user `uid` open the interface without CAP_NET_ADMIN.
pub(crate) fn set_owner(file: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    let uid = usize::try_from(uid).map_err(io::Error::other)?;
    // SAFETY: TUNSETOWNER takes its argument by value and touches no memory of ours.
    unsafe { ioctl(file, IntegerSetter::<TUNSETOWNER>::new_usize(uid)) }?;
    Ok(())
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40, "struct ifreq of 64-bit Linux");
