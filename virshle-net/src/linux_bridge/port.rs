//! A tap as a port of a bridge of the kernel.

use std::io;
use std::net::IpAddr;

use crate::linux_bridge::program::Program;
use crate::linux_bridge::{LinuxBridge, vlan};
use crate::netlink::{Request, Verb, attribute};
use crate::traffic_control::{self as filter, Direction};
use crate::{Device, InterfaceName, MacAddr, NetError, Vlans};

/// What a machine's tap is on a bridge of the host's kernel, and what its guest may say there.
///
/// Unless it is [trusted](Self::trusted), its guest speaks for itself alone, as by a
/// [`Guard`](crate::Guard) on Open vSwitch: the kernel drops, on the tap, frames from another MAC address,
/// ARP and neighbour discovery for another machine, answers of DHCP servers, router advertisements,
/// redirects, and what only switches say to each other. A tagged frame passes in no direction, unless the
/// port is a trunk.
///
/// Everything is the tap's own and goes with it: nothing has to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct LinuxPort {
    mac: MacAddr,
    vlans: Vlans,
    addresses: Vec<IpAddr>,
    is_trusted: bool,
}

impl LinuxPort {
    /// The port of a machine with this MAC address, in the network without tags.
    pub fn new(mac: MacAddr) -> Self {
        Self { mac, vlans: Vlans::Untagged, addresses: Vec::new(), is_trusted: false }
    }

    /// In this VLAN, whose tag the machine does not see.
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlans = Vlans::Access(vlan);
        self
    }

    /// In these VLANs, with their tags; 0 stands for frames without one. Empty: not a trunk.
    pub fn trunk(mut self, vlans: impl IntoIterator<Item = u16>) -> Self {
        let vlans: std::collections::BTreeSet<u16> = vlans.into_iter().collect();
        if !vlans.is_empty() {
            self.vlans = Vlans::Trunk(vlans);
        }
        self
    }

    /// The addresses that the machine has, if they are known.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// Lets the guest say what it likes, or not.
    pub fn trusted(mut self, is_trusted: bool) -> Self {
        self.is_trusted = is_trusted;
        self
    }

    /// Refuses a bridge that can't keep the port to its VLANs. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`NetError::NoVlanFiltering`], [`NetError::NoDefaultVlan`].
    pub fn check(&self, bridge: &LinuxBridge) -> Result<(), NetError> {
        if !bridge.filters_vlans && self.vlans != Vlans::Untagged {
            let (bridge, vlans) = (bridge.name.to_string(), self.vlans.to_string());
            return Err(NetError::NoVlanFiltering { bridge, vlans });
        }
        self.membership(bridge).map(drop)
    }

    /// Makes `tap` this port of `bridge`, wherever it was before; may run again. Until it is kept to its
    /// VLANs, no frame passes.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); [`NetError::BridgePort`], [`NetError::TrafficControl`],
    /// [`NetError::Device`].
    pub fn attach(&self, tap: &InterfaceName, bridge: &LinuxBridge) -> Result<(), NetError> {
        self.check(bridge)?;
        let wanted = self.membership(bridge)?;
        let device = find(tap)?;
        let filtered = |action| {
            let device = tap.to_string();
            move |source| NetError::TrafficControl { action, device, source }
        };
        filter::prepare(device.index).map_err(filtered("filter the frames of"))?;
        let port_failed = |action| {
            let (device, bridge) = (tap.to_string(), bridge.name.to_string());
            move |source| NetError::BridgePort { action, device, bridge, source }
        };
        let has = match device.master_index == Some(bridge.index) {
            true if bridge.filters_vlans => {
                vlan::read(device.index).map_err(port_failed("read the VLANs of"))?
            }
            true => vlan::Membership::new(),
            false => {
                if device.is_up {
                    for direction in [Direction::In, Direction::Out] {
                        set(device.index, direction, &Program::closed())
                            .map_err(filtered("close"))?;
                    }
                }
                enslave(tap, bridge).map_err(port_failed("put"))?;
                // What a new port is given.
                self::initial(bridge)
            }
        };
        vlan::apply(device.index, &has, &wanted).map_err(port_failed("set the VLANs of"))?;
        for (direction, program) in self.programs() {
            match program {
                Some(program) => set(device.index, direction, &program),
                None => filter::clear(device.index, direction),
            }
            .map_err(filtered("filter the frames of"))?;
        }
        Ok(())
    }

    /// What is not as it should be on a tap that is to be this port of `bridge`, for people. Nothing
    /// that can't be put right by [`attach`](Self::attach) is among it.
    ///
    /// # Errors
    ///
    /// [`NetError::BridgePort`], [`NetError::TrafficControl`], [`NetError::Device`].
    pub fn lapses(
        &self,
        tap: &InterfaceName,
        bridge: &LinuxBridge,
    ) -> Result<Vec<String>, NetError> {
        let device = find(tap)?;
        if device.master_index != Some(bridge.index) {
            return Ok(vec![format!("tap {tap} is not on bridge {}", bridge.name)]);
        }
        let mut lapses = Vec::new();
        if bridge.filters_vlans {
            let has = vlan::read(device.index).map_err(|source| NetError::BridgePort {
                action: "read the VLANs of",
                device: tap.to_string(),
                bridge: bridge.name.to_string(),
                source,
            })?;
            if has != self.membership(bridge)? {
                lapses.push(format!("tap {tap} is not {}", self.vlans));
            }
        }
        for (direction, program) in self.programs() {
            let wanted = program.as_ref().map(Program::bytes).unwrap_or_default();
            let has = filter::read(device.index, direction).map_err(|source| {
                let device = tap.to_string();
                NetError::TrafficControl { action: "read the filters of", device, source }
            })?;
            if has != wanted {
                lapses.push(match direction {
                    Direction::In => format!("tap {tap} is not guarded"),
                    Direction::Out => format!("tap {tap} is open to tagged frames"),
                });
            }
        }
        Ok(lapses)
    }

    /// How many frames the kernel has dropped on a tap, those of its guest and those to it; `None` if
    /// nothing is filtered there.
    ///
    /// # Errors
    ///
    /// [`NetError::TrafficControl`], [`NetError::Device`].
    pub fn dropped_frames(tap: &InterfaceName) -> Result<Option<u64>, NetError> {
        let device = find(tap)?;
        filter::dropped(device.index).map_err(|source| {
            let device = tap.to_string();
            NetError::TrafficControl { action: "read the filters of", device, source }
        })
    }

    fn membership(&self, bridge: &LinuxBridge) -> Result<vlan::Membership, NetError> {
        let bridge_name = || bridge.name.to_string();
        vlan::membership(&self.vlans, bridge)
            .ok_or_else(|| NetError::NoDefaultVlan { bridge: bridge_name() })
    }

    fn programs(&self) -> [(Direction, Option<Program>); 2] {
        let of_guest = Program::of_guest(self.mac, &self.addresses, &self.vlans, self.is_trusted);
        [(Direction::In, of_guest), (Direction::Out, Program::to_guest(&self.vlans))]
    }
}

/// The VLANs that the kernel gives to a new port.
fn initial(bridge: &LinuxBridge) -> vlan::Membership {
    let default = bridge.default_vlan.filter(|_| bridge.filters_vlans);
    vlan::membership(&default.map_or(Vlans::Untagged, Vlans::Access), bridge).unwrap_or_default()
}

fn find(tap: &InterfaceName) -> Result<Device, NetError> {
    let gone = || NetError::DeviceKind { name: tap.to_string(), wanted: "tap" };
    Device::find(tap)?.filter(|device| device.kind == "tun").ok_or_else(gone)
}

fn set(index: u32, direction: Direction, program: &Program) -> io::Result<()> {
    filter::set(index, direction, program.len(), &program.bytes())
}

fn enslave(tap: &InterfaceName, bridge: &LinuxBridge) -> io::Result<()> {
    let master = bridge.index.to_ne_bytes();
    Request::new(Verb::Set, tap.as_str()).with(attribute::MASTER, &master).send().map(drop)
}
