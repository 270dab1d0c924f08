//! Macvtap devices: a machine's NIC directly on a network device of the host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::netlink::{Request, Verb, attribute, encode};
use crate::{Change, Device, InterfaceName, MacAddr, NetError};

const MACVLAN_MODE_BRIDGE: u32 = 4;

/// A macvtap device in bridge mode, up, and its descriptor.
///
/// Machines on the same lower device reach each other and the network behind it, but not the host.
/// The device stays until [`delete`](Self::delete) or until its lower device is gone.
///
/// # Limitations
///
/// One queue. Its character device `/dev/tapN` comes from devtmpfs, which a container may lack.
#[derive(Debug)]
pub struct Macvtap {
    name: InterfaceName,
    descriptor: OwnedFd,
}

impl Macvtap {
    /// Creates a macvtap called `name` on the device `lower`, with the machine's address `mac`.
    ///
    /// # Errors
    ///
    /// [`NetError::CreateMacvtap`], also when a device of that name exists;
    /// [`NetError::OpenMacvtap`]. Nothing is left behind.
    #[doc(alias = "RTM_NEWLINK")]
    pub fn create(name: &InterfaceName, lower: &str, mac: MacAddr) -> Result<Self, NetError> {
        let lower = InterfaceName::new(lower)?;
        let failed = |source: io::Error| NetError::CreateMacvtap {
            name: name.to_string(),
            lower: lower.to_string(),
            source,
        };
        let below = Device::find(&lower)?;
        let below = below.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let mode = encode(attribute::MACVLAN_MODE, &MACVLAN_MODE_BRIDGE.to_ne_bytes());
        let info = [encode(attribute::INFO_KIND, b"macvtap"), encode(attribute::INFO_DATA, &mode)];
        Request::new(Verb::Create, name.as_str())
            .with(attribute::LINK, &below.index.to_ne_bytes())
            .with(attribute::ADDRESS, &mac.bytes())
            .with(attribute::INFO, &info.concat())
            .up()
            .send()
            .map_err(failed)?;
        let opened = Self::open(name);
        if let Some(Err(error)) = opened.is_err().then(|| Self::delete(name)) {
            tracing::warn!(device = %name, %error, "the failed macvtap is left behind");
        }
        opened
    }

    /// Opens the macvtap of that name, which exists.
    ///
    /// # Errors
    ///
    /// [`NetError::DeviceKind`], [`NetError::OpenMacvtap`].
    pub fn open(name: &InterfaceName) -> Result<Self, NetError> {
        let device = Device::find(name)?.filter(|device| device.kind == "macvtap");
        let device = device
            .ok_or_else(|| NetError::DeviceKind { name: name.to_string(), wanted: "macvtap" })?;
        let path = PathBuf::from(format!("/dev/tap{}", device.index));
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        match File::options().read(true).write(true).custom_flags(nonblocking).open(&path) {
            Ok(file) => Ok(Self { name: name.clone(), descriptor: file.into() }),
            Err(source) => Err(NetError::OpenMacvtap { name: name.to_string(), path, source }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// Deletes the macvtap of that name, even while another process holds it.
    ///
    /// # Errors
    ///
    /// [`NetError::DeviceKind`] if it is something else; [`NetError::Device`].
    pub fn delete(name: &InterfaceName) -> Result<Change, NetError> {
        Device::delete(name, "macvtap", "macvtap")
    }
}

impl AsFd for Macvtap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl From<Macvtap> for OwnedFd {
    fn from(macvtap: Macvtap) -> Self {
        macvtap.descriptor
    }
}
