//! A network interface of a machine, in its definition.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use virshle_net::MacAddr;

use crate::model::definition::flag::is_false;
use crate::model::definition::{ManagedNet, UserNet, text};

/// The kind of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetKind {
    /// A network in user space, by passt: it needs neither root nor a switch.
    User,
    /// A vhost-user port of Open vSwitch: the packets never enter the host's kernel.
    Vhost,
    /// A tap device, which is a port of Open vSwitch.
    Tap,
    /// A tap device, which is a port of a bridge of the host's kernel.
    Bridge,
    /// A macvtap device on an interface of the host.
    Macvtap,
}

impl NetKind {
    /// Whether its frames go through a vhost-user socket, whose peer reads and writes the guest's memory.
    pub(crate) fn is_vhost_user(self) -> bool {
        match self {
            Self::User | Self::Vhost => true,
            Self::Tap | Self::Bridge | Self::Macvtap => false,
        }
    }

    /// Whether its other end is a port of the switch.
    pub(crate) fn is_switched(self) -> bool {
        match self {
            Self::Vhost | Self::Tap => true,
            Self::User | Self::Bridge | Self::Macvtap => false,
        }
    }

    /// Whether its other end is a tap.
    pub(crate) fn is_tap(self) -> bool {
        match self {
            Self::Tap | Self::Bridge => true,
            Self::User | Self::Vhost | Self::Macvtap => false,
        }
    }
}

impl From<virshle_template::NetKind> for NetKind {
    fn from(kind: virshle_template::NetKind) -> Self {
        use virshle_template::NetKind as Asked;
        match kind {
            Asked::User => Self::User,
            Asked::Vhost => Self::Vhost,
            Asked::Tap => Self::Tap,
            Asked::Bridge => Self::Bridge,
            Asked::Macvtap => Self::Macvtap,
        }
    }
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetDefinition {
    /// The name, unique in the machine.
    #[serde(deserialize_with = "text::file_name")]
    pub name: String,
    /// The kind.
    pub kind: NetKind,
    /// The MAC address that the guest sees.
    #[serde(with = "text")]
    pub mac: MacAddr,
    /// The bridge it is connected to, of Open vSwitch or of the host's kernel; for a macvtap the interface below it; empty for a user network.
    pub bridge: String,
    /// The name of its port on the bridge, and of its device in the host's kernel if it has one; empty
    /// for a user network.
    pub port: String,
    /// The VLAN, from 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The VLANs whose frames it gets with their tags, instead of one VLAN; 0 stands for frames
    /// without a tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<u16>,
    /// Its guest is not kept from speaking as another machine: for routers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trust: bool,
    /// The largest payload of a frame, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u16>,
    /// How many bits the guest may receive in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_in_bits: Option<u64>,
    /// How many bits the guest may send in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_out_bits: Option<u64>,
    /// How many pairs of queues it has; as many as there are vCPUs, up to 8, if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Static addresses, each with the length of its prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InterfaceAddress>,
    /// What passt gives to the guest, for a user network.
    // A table: it stands last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserNet>,
    /// What the managed network gives to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedNet>,
}

impl NetDefinition {
    /// Whether a managed network of its bridge is for it: it sees the network without tags.
    pub(crate) fn can_be_managed(&self) -> bool {
        self.kind.is_switched() && self.vlan.is_none() && self.trunk.is_empty()
    }
}

/// An address of an interface, with the length of its network's prefix: `192.0.2.10/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the network's.
    pub prefix_len: u8,
}

/// A text that is no address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address with the length of its prefix, such as 192.0.2.10/24")]
pub struct InvalidInterfaceAddress {
    /// The text.
    pub text: String,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}/{}", self.ip, self.prefix_len))
    }
}

impl FromStr for InterfaceAddress {
    type Err = InvalidInterfaceAddress;

    fn from_str(text: &str) -> Result<Self, InvalidInterfaceAddress> {
        let read = || -> Option<Self> {
            let (ip, bits) = text.split_once('/')?;
            let ip: IpAddr = ip.parse().ok()?;
            let most = if ip.is_ipv4() { 32 } else { 128 };
            let prefix_len = bits.parse().ok().filter(|bits| *bits <= most)?;
            Some(Self { ip, prefix_len })
        };
        read().ok_or_else(|| InvalidInterfaceAddress { text: text.to_owned() })
    }
}

impl TryFrom<String> for InterfaceAddress {
    type Error = InvalidInterfaceAddress;

    fn try_from(text: String) -> Result<Self, InvalidInterfaceAddress> {
        text.parse()
    }
}

impl From<InterfaceAddress> for String {
    fn from(address: InterfaceAddress) -> Self {
        address.to_string()
    }
}

impl From<&virshle_template::StaticAddress> for InterfaceAddress {
    fn from(address: &virshle_template::StaticAddress) -> Self {
        Self { ip: address.ip, prefix_len: address.prefix_len }
    }
}
