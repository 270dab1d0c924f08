//! The bridges of the switch and their ports, by machine: what `v net ls` shows.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;
use virshle_net::{Bridge, GuardState, PortKind, SwitchPort, Vlans};

use crate::address::host_addresses::HostAddresses;
use crate::address::{Address, AddressSource, addresses_among};
use crate::hardware::net::guard::{GuardBook, guard_of, id_of};
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, text};
use crate::observe::error::NetworkError;

/// How long the switch may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A bridge of the switch, with its ports.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BridgeInfo {
    /// Its name.
    pub name: String,
    /// `netdev` or `system`.
    #[serde(serialize_with = "text::serialize")]
    pub datapath: virshle_net::Datapath,
    /// Whether it is the one that the node's machines are on.
    pub of_node: bool,
    /// Its ports, its own among them.
    pub ports: Vec<PortInfo>,
}

/// Whose a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PortRole {
    /// A machine's, of this node or of another one.
    Machine,
    /// The bridge's own, by which the host is on it.
    Host,
    /// A link to another bridge.
    Link,
    /// Anything else.
    Other,
}

/// A port of a bridge.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PortInfo {
    /// Its name.
    pub port: String,
    /// `tap`, `vhost-user`, `internal`, `patch` or `other`.
    #[serde(rename = "type", serialize_with = "text::serialize")]
    pub kind: PortKind,
    /// Whose it is.
    pub role: PortRole,
    /// The machine.
    pub machine: Option<String>,
    /// The machine's interface; null for a machine of another node.
    pub net: Option<String>,
    /// The bridge at the other end of a link.
    pub peer: Option<String>,
    /// The VLAN, if it is in just one.
    pub vlan: Option<u16>,
    /// The VLANs that it has with their tags; 0 stands for frames without one.
    pub trunk: Vec<u16>,
    /// Whether it has every VLAN, as a port of which nothing else was asked.
    pub every_vlan: bool,
    /// The addresses of the machine's interface.
    pub addresses: Vec<Address>,
    /// Whether it has a link; null if the switch does not report it.
    pub link: Option<bool>,
    /// Why it does not work.
    pub error: Option<String>,
    /// The most that the machine may send, in bits per second.
    pub from_machine_bits: Option<u64>,
    /// The most that the machine may get, in bits per second.
    pub to_machine_bits: Option<u64>,
    /// What it has carried.
    pub traffic: Traffic,
    /// The guard of a machine's port.
    pub guard: Option<GuardInfo>,
}

/// What a port has carried, as the switch counts it: "rx" came in by the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in.
    pub rx_packets: u64,
    /// Packets that came in and were dropped.
    pub rx_dropped: u64,
    /// Bytes that left.
    pub tx_bytes: u64,
    /// Packets that left.
    pub tx_packets: u64,
    /// Packets that were to leave and were dropped.
    pub tx_dropped: u64,
}

/// The guard of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuardInfo {
    /// How it is.
    pub state: GuardCondition,
    /// How many packets it has dropped, since it was put there.
    pub dropped: u64,
}

/// How a guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GuardCondition {
    /// As it should be.
    On,
    /// The machine is trusted: it has none.
    Trusted,
    /// It is missing, or not as it should be.
    Missing,
    /// This user may not ask.
    Unknown,
}

impl Node {
    /// The bridges of the switch, the node's own first, each with its ports.
    ///
    /// # Errors
    ///
    /// [`MachineError::Switch`](crate::MachineError::Switch) if the switch gives no answer.
    pub fn networks(&self) -> Result<Vec<BridgeInfo>, NetworkError> {
        networks(self)
    }
}

fn networks(node: &Node) -> Result<Vec<BridgeInfo>, NetworkError> {
    let mut switch = node.switch(TIMEOUT)?;
    let failed =
        |source| NetworkError::Switch { doing: "list the ports of the switch".into(), source };
    let mut bridges = switch.bridges().map_err(failed)?;
    let ports = switch.ports(TIMEOUT).map_err(failed)?;
    let own = &node.config().network.bridge;
    bridges.sort_by_key(|bridge| (bridge.name != *own, bridge.name.clone()));
    let known = node.host_addresses();
    let mut owners = Owners { node, known: &known, machines: HashMap::new() };
    let mut book = GuardBook::new(node, TIMEOUT);
    let mut found = Vec::new();
    for Bridge { name, datapath, .. } in bridges {
        let of_bridge = ports.iter().filter(|port| port.bridge == name);
        let peers = |peer: &str| ports.iter().find(|port| port.name == peer);
        let ports = of_bridge
            .map(|port| {
                let peer = port.peer.as_deref().and_then(peers).map(|peer| peer.bridge.clone());
                port_info(port, peer, &mut owners, &mut book)
            })
            .collect();
        let of_node = name == *own;
        found.push(BridgeInfo { name, datapath, of_node, ports });
    }
    Ok(found)
}

/// The machines that ports belong to, each read once.
struct Owners<'a> {
    node: &'a Node,
    known: &'a HostAddresses,
    machines: HashMap<Uuid, Option<(Vm, Vec<Address>)>>,
}

impl Owners<'_> {
    /// The machine of this node that a port belongs to, its interface, and that one's addresses.
    fn find(&mut self, port: &SwitchPort) -> Option<(&Vm, &NetDefinition, Vec<Address>)> {
        let owner = port.owner.as_ref().filter(|owner| owner.node == self.node.mark())?;
        let uuid: Uuid = owner.uuid.parse().ok()?;
        let (node, known) = (self.node, self.known);
        let found = self.machines.entry(uuid).or_insert_with(|| {
            let vm = node.vm(uuid).ok()?;
            let addresses = addresses_among(&vm, known);
            Some((vm, addresses))
        });
        let (vm, addresses) = found.as_ref()?;
        let net = vm.definition().nets.iter().find(|net| net.port == port.name)?;
        let certain = |address: &&Address| {
            address.net == net.name
                && !matches!(address.source, AddressSource::Mac | AddressSource::Guest)
        };
        Some((vm, net, addresses.iter().filter(certain).cloned().collect()))
    }
}

fn port_info(
    port: &SwitchPort,
    peer: Option<String>,
    owners: &mut Owners<'_>,
    book: &mut GuardBook<'_>,
) -> PortInfo {
    let role = match (&port.owner, port.kind) {
        (Some(_), _) => PortRole::Machine,
        (None, PortKind::Patch) => PortRole::Link,
        (None, _) if port.name == port.bridge => PortRole::Host,
        (None, _) => PortRole::Other,
    };
    let mut info = PortInfo {
        port: port.name.clone(),
        kind: port.kind,
        role,
        machine: port.owner.as_ref().map(|owner| owner.name.clone()),
        net: None,
        peer,
        vlan: match port.vlans {
            Vlans::Access(vlan) => Some(vlan),
            _ => None,
        },
        trunk: match &port.vlans {
            Vlans::Trunk(vlans) => vlans.iter().copied().collect(),
            _ => Vec::new(),
        },
        every_vlan: port.vlans == Vlans::Every,
        addresses: Vec::new(),
        link: port.link_up,
        error: port.error.clone(),
        from_machine_bits: port.rate_in_bits,
        to_machine_bits: port.rate_out_bits,
        traffic: traffic(port),
        guard: None,
    };
    if let Some((vm, net, addresses)) = owners.find(port) {
        info.machine = Some(vm.name().to_string());
        info.net = Some(net.name.clone());
        // What it is kept to may be a matter of its guard, or of its device.
        info.from_machine_bits = net.rate_out_bits.or(info.from_machine_bits);
        info.to_machine_bits = net.rate_in_bits.or(info.to_machine_bits);
        info.addresses = addresses;
        info.guard = port.ofport.map(|ofport| guard_info(vm, net, ofport, book));
    }
    info
}

fn guard_info(vm: &Vm, net: &NetDefinition, ofport: u32, book: &mut GuardBook<'_>) -> GuardInfo {
    let state = book.state(&net.bridge, id_of(vm, net)).ok().flatten();
    let dropped =
        |state: &Option<GuardState>| state.as_ref().map_or(0, |state| state.dropped_packets);
    let condition = match (guard_of(vm, net, ofport), &state) {
        (None, _) => GuardCondition::Trusted,
        (Some(_), None) => GuardCondition::Unknown,
        (Some(guard), Some(state)) if guard.is(state.as_ref()) => GuardCondition::On,
        (Some(_), Some(_)) => GuardCondition::Missing,
    };
    GuardInfo { state: condition, dropped: state.as_ref().map_or(0, dropped) }
}

fn traffic(port: &SwitchPort) -> Traffic {
    let count = |name: &str| port.counters.get(name).copied().unwrap_or(0);
    Traffic {
        rx_bytes: count("rx_bytes"),
        rx_packets: count("rx_packets"),
        rx_dropped: count("rx_dropped"),
        tx_bytes: count("tx_bytes"),
        tx_packets: count("tx_packets"),
        tx_dropped: count("tx_dropped"),
    }
}
