//! Network devices of the host, of any kind.

use crate::change::Change;
use crate::netlink::{Link, Request, Verb, attribute};
use crate::{InterfaceName, MacAddr, NetError};

const ENODEV: i32 = 19;

/// A network device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name.
    pub name: InterfaceName,
    /// Its number.
    pub index: u32,
    /// Its driver's name for it: `tun` for a tap, `macvtap`, `veth`; empty for hardware.
    pub kind: String,
    /// Whether it is set up.
    pub is_up: bool,
    /// Its largest frame payload.
    pub mtu_bytes: u32,
    /// Its address, if it has an Ethernet one.
    pub mac: Option<MacAddr>,
    /// What [`set_alias`](Self::set_alias) wrote; empty if nothing.
    pub alias: String,
    /// The number of the device that it is a port of, such as a bridge of the kernel.
    pub master_index: Option<u32>,
}

impl Device {
    /// The device of that name in this network namespace, if there is one.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    #[doc(alias = "RTM_GETLINK")]
    pub fn find(name: &InterfaceName) -> Result<Option<Self>, NetError> {
        match Request::new(Verb::Get, name.as_str()).send() {
            Ok(link) => Ok(link.map(|link| Self::of(name, link))),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            Err(source) => Err(failed("look up", name, source)),
        }
    }

    /// Sets a device up.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_up(name: &InterfaceName) -> Result<(), NetError> {
        change("set up", name, Request::up)
    }

    /// Sets a device's largest frame payload.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`]; each kind of device has its limits.
    pub fn set_mtu(name: &InterfaceName, mtu_bytes: u16) -> Result<(), NetError> {
        let value = u32::from(mtu_bytes).to_ne_bytes();
        change("set the mtu of", name, |request| request.with(attribute::MTU, &value))
    }

    /// Sets a device's address.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_mac(name: &InterfaceName, mac: MacAddr) -> Result<(), NetError> {
        let value = mac.bytes();
        change("set the address of", name, |request| request.with(attribute::ADDRESS, &value))
    }

    /// Writes down whose a device is: a text of 255 bytes at most, which `ip link` shows.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`].
    pub fn set_alias(name: &InterfaceName, alias: &str) -> Result<(), NetError> {
        change("set the alias of", name, |request| request.with(attribute::ALIAS, alias.as_bytes()))
    }

    /// Deletes the device of that name if it is of that kind.
    pub(crate) fn delete(
        name: &InterfaceName,
        kind: &str,
        what: &'static str,
    ) -> Result<Change, NetError> {
        match Self::find(name)? {
            None => return Ok(Change::Unchanged),
            Some(device) if device.kind == kind => {}
            Some(_) => return Err(NetError::DeviceKind { name: name.to_string(), wanted: what }),
        }
        match Request::new(Verb::Delete, name.as_str()).send() {
            Ok(_) => Ok(Change::Removed),
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(Change::Unchanged),
            Err(source) => Err(failed("delete", name, source)),
        }
    }

    fn of(name: &InterfaceName, link: Link) -> Self {
        Self {
            name: name.clone(),
            index: link.index,
            kind: link.kind,
            is_up: link.is_up,
            mtu_bytes: link.mtu_bytes,
            mac: <[u8; 6]>::try_from(link.address).ok().map(MacAddr::new),
            alias: link.alias,
            master_index: Some(link.master).filter(|index| *index != 0),
        }
    }
}

fn change(
    action: &'static str,
    name: &InterfaceName,
    build: impl FnOnce(Request) -> Request,
) -> Result<(), NetError> {
    tracing::debug!(device = %name, action, "network device");
    let request = build(Request::new(Verb::Set, name.as_str()));
    request.send().map(drop).map_err(|source| failed(action, name, source))
}

fn failed(action: &'static str, name: &InterfaceName, source: std::io::Error) -> NetError {
    NetError::Device { action, name: name.to_string(), source }
}
