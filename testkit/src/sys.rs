//! The one call that Rust can't check.

use std::io;

/// Gives the current thread a network namespace of its own.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: only CLONE_NEWNET is passed. `unshare_unsafe` is unsafe for CLONE_FILES, which would
    // split the table of descriptors that the other threads rely on; this flag touches no memory
    // and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}
