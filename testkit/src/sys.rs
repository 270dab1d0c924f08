//! The calls that Rust can't check.

pub(crate) mod tracing;

use std::io;

/// Gives the current thread a network namespace of its own.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: only CLONE_NEWNET is passed. `unshare_unsafe` is unsafe for CLONE_FILES, which would
    // split the table of descriptors that the other threads rely on; this flag touches no memory
    // and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Gives the current thread a mount namespace of its own, and with it a current directory and a umask.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    let flags = rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS;
    // SAFETY: neither flag is CLONE_FILES, for which `unshare_unsafe` is unsafe; they touch no memory
    // and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Makes the device of an open `/dev/net/tun` a tap of this name.
pub(crate) fn set_tap(device: &std::fs::File, name: &str) -> io::Result<()> {
    const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
    const IFF_TAP: u16 = 0x0002;
    const IFF_NO_PI: u16 = 0x1000;
    const IFF_VNET_HDR: u16 = 0x4000;
    /// `struct ifreq`: a name, and a union of 24 bytes that begins with the flags.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let mut request =
        Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, rest: [0; 22] };
    if name.len() >= request.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, 40 bytes on 64-bit hosts, which
    // `Request` is laid out as; its name ends in a NUL.
    let call = unsafe { rustix::ioctl::Updater::<{ TUNSETIFF }, Request>::new(&mut request) };
    // SAFETY: the opcode and its argument belong together, see above.
    unsafe { rustix::ioctl::ioctl(device, call) }?;
    Ok(())
}

/// The bytes that stand before each frame of a tap.
pub(crate) fn tap_header(tap: &std::os::fd::OwnedFd) -> io::Result<usize> {
    const TUNGETVNETHDRSZ: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<i32>(b'T', 215);
    // SAFETY: TUNGETVNETHDRSZ writes an `int`, which the getter has room for.
    let call = unsafe { rustix::ioctl::Getter::<{ TUNGETVNETHDRSZ }, i32>::new() };
    // SAFETY: the opcode and its argument belong together, see above; another file answers ENOTTY.
    let size = unsafe { rustix::ioctl::ioctl(tap, call) }?;
    usize::try_from(size).map_err(io::Error::other)
}
