#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! Open vSwitch over OVSDB (RFC 7047): bridges, patch links, ports; tap devices; MAC addresses; the
//! kernel's neighbour table.
//!
//! For programs that plug virtual machines into Open vSwitch and want to know that it worked:
//! without running `ovs-vsctl`, without an async runtime, with a deadline on every call.
//!
//! # The model
//!
//! - A [`Switch`] is a connection to Open vSwitch's database. What is asked for there,
//!   `ovs-vswitchd` makes; calls wait until it has, and read its errors back.
//! - A bridge ([`Switch::ensure_bridge`]) may be linked to another ([`Switch::ensure_patch`]).
//! - A [`PortRequest`] says what a port is: a vhost-user socket, a [`Tap`], an internal device.
//!   All the ports of a machine are one transaction, done or undone together.
//! - An [`Owner`] marks whose a port is. What has no mark of ours is never touched.
//! - A [`PasstRequest`] asks for a network in user space instead, which needs neither root nor a
//!   switch; a [`Passt`] is one that runs.
//! - A [`ManagedNetwork`] is what a host itself serves on a bridge: addresses and names by dnsmasq, the way
//!   out and published ports by nftables.
//! - [`Neighbour::list`] reads which addresses the host's kernel has seen on its links.
//! - A [`LinuxPort`] makes a tap a port of a bridge of the host's kernel instead ([`LinuxBridge`]), and
//!   [`DeviceRates`] limit a device by the kernel's traffic control.
//! - A [`Guard`] keeps a machine from speaking as another one: flows of its port ([`Guards`]).
//! - A [`Control`] is the way to `ovs-vswitchd` itself: what it would do with a packet ([`Trace`]).
//! - A [`Capture`] is a copy of all that passes a port; [`FrameWords`] shows a frame.
//! - Below it, [`ovsdb`] is a complete client for any OVSDB server, useful by itself.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//! use virshle_net::ovsdb::Address;
//! use virshle_net::{Datapath, Device, MacAddr, NetError, Owner, PortRequest, Switch, Tap};
//!
//! fn plug() -> Result<Tap, NetError> {
//!     let timeout = Duration::from_secs(5);
//!     let mut switch = Switch::connect(&Address::default(), timeout)?;
//!     switch.ensure_bridge("br0", Datapath::Netdev, timeout)?;
//!
//!     // Its descriptors go to the virtual machine monitor, with which it vanishes.
//!     let tap = Tap::create(&"vm1-main".parse()?)?;
//!     Device::isolate(tap.name())?;
//!     tap.set_up()?;
//!
//!     let owner = Owner::new("0f8c2a5e-6d1b-4f6e-9a53-0c5b0e1f7a11", "buzz_matala");
//!     let mac: MacAddr = "52:54:00:12:34:56".parse()?;
//!     let request = PortRequest::tap(tap.name().clone()).vlan(12).mac(mac).owner(owner);
//!     for port in switch.add_ports("br0", &[request], timeout)? {
//!         println!("{} is port {} of {}", port.name, port.ofport, port.bridge);
//!     }
//!     Ok(tap)
//! }
//!
//! if let Err(error) = plug() {
//!     eprintln!("{error}");
//!     if let Some(hint) = error.hint() {
//!         eprintln!("{hint}");
//!     }
//! }
//! ```
//!
//! # Limitations
//!
//! Linux on 64-bit machines. Flows only as far as a guard needs them; of quality of service only rates of
//! ports; no tunnels: `ovs-ofctl` and `ovs-vsctl` do those, beside this crate and undisturbed by it. No TLS to the
//! database. A machine's vhost-user socket is created by the monitor; only its switch's side is
//! here.

mod access_list;
mod bridge;
mod burst;
mod capabilities;
mod capture;
mod change;
mod control;
mod datapath;
mod deadline;
mod device;
mod device_rates;
mod dpdk;
mod error;
mod file_access;
mod frame_words;
mod guard;
mod host_address;
mod host_stack;
mod interface_name;
mod linux_bridge;
mod mac_addr;
mod macvtap;
mod managed;
mod neighbour;
mod netlink;
pub mod openflow;
pub mod ovsdb;
mod owned_port;
mod owner;
mod passt;
mod patch;
mod port;
mod port_request;
mod socket_access;
mod switch;
mod switch_port;
#[expect(unsafe_code, reason = "the tap driver is reached by ioctl alone")]
mod sys;
mod tap;
mod trace;
mod traffic_control;
mod vlans;

pub use bridge::Bridge;
pub use capabilities::Capabilities;
pub use capture::Capture;
pub use change::Change;
pub use control::Control;
pub use datapath::Datapath;
pub use device::Device;
pub use device_rates::DeviceRates;
pub use dpdk::DPDK_RECIPE;
pub use error::NetError;
pub use file_access::{AccessRights, Asking, FileAccess};
pub use frame_words::{FrameTerm, FrameWords, InvalidFrameTerm};
pub use guard::{Guard, GuardId, GuardState, Guards};
pub use host_address::{HostAddress, Route};
pub use interface_name::InterfaceName;
pub use linux_bridge::{LinuxBridge, LinuxPort};
pub use mac_addr::MacAddr;
pub use macvtap::Macvtap;
pub use managed::{
    Account, Conflict, Dnsmasq, Forwarding, ManagedError, ManagedNetwork, Obstacle, PublishedPort,
    Ruleset, RulesetState, ServedSubnet, check_dnsmasq, check_nft, conflicts, obstacles,
};
pub use neighbour::{Neighbour, NeighbourWatch};
pub use owned_port::OwnedPort;
pub use owner::Owner;
pub use passt::{
    Forward, ForwardProtocol, Holder, Passt, PasstError, PasstRequest, PasstVersion, StartingPasst,
    check_passt, host_resolver,
};
pub use port::{PendingPorts, Port};
pub use port_request::{PortKind, PortRates, PortRequest};
pub use socket_access::grant_socket_access;
pub use switch::Switch;
pub use switch_port::SwitchPort;
pub use tap::Tap;
pub use trace::{Trace, TraceContent, TraceOutput, TracePacket, TraceStep};
pub use vlans::Vlans;
