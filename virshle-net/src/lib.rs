//! Open vSwitch over OVSDB (RFC 7047): bridges, patch links, ports; tap devices; MAC addresses.

mod access_list;
mod bridge;
mod capabilities;
mod datapath;
mod deadline;
mod device;
mod error;
mod interface_name;
mod mac_addr;
mod macvtap;
mod netlink;
pub mod ovsdb;
mod owned_port;
mod owner;
mod patch;
mod port;
mod port_request;
mod socket_access;
mod switch;
#[expect(unsafe_code, reason = "the tap driver is reached by ioctl alone")]
mod sys;
mod tap;

pub use bridge::Bridge;
pub use capabilities::Capabilities;
pub use datapath::Datapath;
pub use device::Device;
pub use error::NetError;
pub use interface_name::InterfaceName;
pub use mac_addr::MacAddr;
pub use macvtap::Macvtap;
pub use owned_port::OwnedPort;
pub use owner::Owner;
pub use port::{PendingPorts, Port};
pub use port_request::{PortKind, PortRequest};
pub use socket_access::grant_socket_access;
pub use switch::{Change, Switch};
pub use tap::Tap;
