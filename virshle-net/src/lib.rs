//! Open vSwitch over OVSDB (RFC 7047): bridges, patch links, ports; tap devices; MAC addresses.

mod bridge;
mod capabilities;
mod datapath;
mod deadline;
mod error;
mod interface_name;
mod mac_addr;
pub mod ovsdb;
mod owned_port;
mod owner;
mod patch;
mod port;
mod port_request;
mod switch;

pub use bridge::Bridge;
pub use capabilities::Capabilities;
pub use datapath::Datapath;
pub use error::NetError;
pub use interface_name::InterfaceName;
pub use mac_addr::MacAddr;
pub use owned_port::OwnedPort;
pub use owner::Owner;
pub use port::{PendingPorts, Port};
pub use port_request::{PortKind, PortRequest};
pub use switch::{Change, Switch};
