//! Creates and deletes tap devices.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

use crate::{Change, Device, InterfaceName, MacAddr, NetError, sys};

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;

/// A tap device created by us, and the descriptors of its queues.
///
/// It is gone when the last descriptor is closed: hand them to the VMM, drop this, and the device
/// lives exactly as long as the VMM. [`persist`](Self::persist) makes it stay.
///
/// Frames carry a virtio-net header and nothing else, as VMMs want it.
///
/// # References
///
/// `Documentation/networking/tuntap.rst` of Linux.
#[derive(Debug)]
#[must_use = "the device vanishes with it"]
pub struct Tap {
    name: InterfaceName,
    queues: Vec<OwnedFd>,
}

impl Tap {
    /// Creates a tap with one queue, down.
    ///
    /// # Errors
    ///
    /// [`NetError::CreateTap`], also when a device of that name exists.
    #[doc(alias = "TUNSETIFF")]
    pub fn create(name: &InterfaceName) -> Result<Self, NetError> {
        Self::create_queues(name, 1, 0)
    }

    /// Creates a tap with `queues` queues, down. Even one queue counts as several here: the user of
    /// the descriptors must say so too.
    ///
    /// # Errors
    ///
    /// [`NetError::CreateTap`], also when a device of that name exists.
    #[doc(alias = "IFF_MULTI_QUEUE")]
    pub fn create_multi_queue(name: &InterfaceName, queues: u16) -> Result<Self, NetError> {
        Self::create_queues(name, queues.max(1), IFF_MULTI_QUEUE)
    }

    fn create_queues(name: &InterfaceName, queues: u16, flags: u16) -> Result<Self, NetError> {
        let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags;
        let open = |flags| {
            let file = File::options()
                .read(true)
                .write(true)
                .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?)
                .open("/dev/net/tun")?;
            sys::set_interface(file.as_fd(), name, flags)?;
            Ok(OwnedFd::from(file))
        };
        // Only the first queue makes the device; without the flag it would join one that is there.
        let queues = (0..queues)
            .map(|queue| open(if queue == 0 { flags | IFF_TUN_EXCL } else { flags }))
            .collect::<io::Result<_>>()
            .map_err(|source| NetError::CreateTap { name: name.to_string(), source })?;
        tracing::debug!(device = %name, "tap created");
        Ok(Self { name: name.clone(), queues })
    }

    /// Its name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// The descriptors of its queues.
    pub fn as_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().map(AsFd::as_fd).collect()
    }

    /// The descriptors of its queues, to keep.
    pub fn into_fds(self) -> Vec<OwnedFd> {
        self.queues
    }

    /// Sets it up. One that is down makes Open vSwitch complain and drops every frame.
    ///
    /// From then on the host's IP stack takes its frames as well: [`Device::isolate`] it first.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_up(&self) -> Result<(), NetError> {
        Device::set_up(&self.name)
    }

    /// Sets the largest frame payload.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_mtu(&self, mtu_bytes: u16) -> Result<(), NetError> {
        Device::set_mtu(&self.name, mtu_bytes)
    }

    /// Sets the address of the host's side; the machine's NIC has its own.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), NetError> {
        Device::set_mac(&self.name, mac)
    }

    /// Lets the user `uid` open it by its name without CAP_NET_ADMIN.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    #[doc(alias = "TUNSETOWNER")]
    pub fn set_owner(&self, uid: u32) -> Result<(), NetError> {
        self.each("set the owner of", |queue| sys::set_owner(queue, uid))
    }

    /// Makes it stay when the last descriptor is closed, until [`delete`](Self::delete).
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    #[doc(alias = "TUNSETPERSIST")]
    pub fn persist(&self) -> Result<(), NetError> {
        self.each("make persistent", |queue| sys::set_persistent(queue, true))
    }

    /// Deletes the tap of that name, even while another process holds it.
    ///
    /// # Errors
    ///
    /// [`NetError::DeviceKind`] if it is something else; [`NetError::Device`].
    pub fn delete(name: &InterfaceName) -> Result<Change, NetError> {
        Device::delete(name, "tun", "tap")
    }

    fn each(
        &self,
        action: &'static str,
        call: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<(), NetError> {
        // What is set on one queue is set on the device.
        let first = self.queues.first().map_or(Ok(()), |queue| call(queue.as_fd()));
        first.map_err(|source| NetError::Device { action, name: self.name.to_string(), source })
    }
}
