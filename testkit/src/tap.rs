//! A tap device of a test.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// A tap device that is gone when this is dropped and no other process holds a copy of its
/// descriptor.
///
/// It has the flags that cloud-hypervisor wants: no packet information, and a header for
/// offloads.
#[derive(Debug)]
pub struct TestTap {
    name: String,
    device: File,
}

impl TestTap {
    /// Creates a tap with a name of its own, in the current thread's network namespace. Needs root.
    ///
    /// # Errors
    ///
    /// If it can't be created.
    pub fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vt{}x{next}", std::process::id());
        let device = File::options().read(true).write(true).open("/dev/net/tun")?;
        sys::set_tap(&device, &name)?;
        Ok(Self { name, device })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl AsFd for TestTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
