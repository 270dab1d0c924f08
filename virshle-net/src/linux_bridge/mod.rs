//! Bridges of the host's kernel, which were made by others: a tap is made a port of one, kept to its
//! VLANs, and its guest from speaking as another machine.

mod port;
mod program;
mod vlan;

pub use port::LinuxPort;

use crate::netlink::{Request, Verb, attributes, piece};
use crate::{Device, InterfaceName, NetError};

/// `IFLA_BR_…` of `linux/if_link.h`.
const STP_STATE: u16 = 5;
const VLAN_FILTERING: u16 = 7;
const VLAN_DEFAULT_PVID: u16 = 39;

/// A bridge of the host's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinuxBridge {
    /// Its name.
    pub name: InterfaceName,
    /// Its number.
    pub index: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// The largest frame payload that it forwards.
    pub mtu_bytes: u32,
    /// Whether it keeps VLANs apart.
    pub filters_vlans: bool,
    /// The VLAN of frames without a tag, if a port is given no other.
    pub default_vlan: Option<u16>,
    /// Whether it speaks the spanning tree protocol: a new port then forwards nothing for a while.
    pub has_spanning_tree: bool,
}

impl LinuxBridge {
    /// The bridge of that name in this network namespace.
    ///
    /// # Errors
    ///
    /// [`NetError::NoLinuxBridge`]; [`NetError::NotALinuxBridge`] if it is another kind of device, such
    /// as a bridge of Open vSwitch; [`NetError::Device`].
    pub fn find(name: &InterfaceName) -> Result<Self, NetError> {
        let Some(device) = Device::find(name)? else {
            return Err(NetError::NoLinuxBridge { bridge: name.to_string() });
        };
        if device.kind != "bridge" {
            let what = what_is(&device.kind);
            return Err(NetError::NotALinuxBridge { device: name.to_string(), what });
        }
        let failed =
            |source| NetError::Device { action: "look up", name: name.to_string(), source };
        let link = Request::new(Verb::Get, name.as_str()).send().map_err(failed)?;
        let mut bridge = Self {
            name: name.clone(),
            index: device.index,
            is_up: device.is_up,
            mtu_bytes: device.mtu_bytes,
            filters_vlans: false,
            default_vlan: None,
            has_spanning_tree: false,
        };
        for (kind, value) in attributes(&link.unwrap_or_default().info_data) {
            match kind {
                STP_STATE => {
                    bridge.has_spanning_tree = piece(value, 0).map(u32::from_ne_bytes) != Some(0);
                }
                VLAN_FILTERING => bridge.filters_vlans = value.first() == Some(&1),
                VLAN_DEFAULT_PVID => {
                    let vlan = piece(value, 0).map(u16::from_ne_bytes);
                    bridge.default_vlan = vlan.filter(|vlan| *vlan != 0);
                }
                _ => {}
            }
        }
        Ok(bridge)
    }
}

/// A device that is no bridge, for people.
fn what_is(kind: &str) -> String {
    match kind {
        "" => "hardware".into(),
        "openvswitch" => "a device of Open vSwitch".into(),
        // A bridge of Open vSwitch in user space has one.
        "tun" => "a tap, or a bridge of Open vSwitch in user space".into(),
        kind => format!("a {kind}"),
    }
}
