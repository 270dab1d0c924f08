//! What the switch would do with a packet of one machine to another: what `v net trace` shows.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use virshle_net::ovsdb::Address as Ovsdb;
use virshle_net::{
    Control, Device, MacAddr, Neighbour, SwitchPort, Trace, TraceContent, TracePacket, TraceStep,
};

use crate::address::host_addresses::HostAddresses;
use crate::address::{Address, AddressSource, addresses_among};
use crate::hardware::net::ports::switched;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, text};
use crate::model::selector::Selection;
use crate::observe::error::NetworkError;

/// How long the switch may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The word for the host itself, on its bridge.
const HOST: &str = "host";

/// What is in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceProtocol {
    /// TCP if there is a port, else a ping if both have an address, else a frame.
    #[default]
    Auto,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A ping.
    Ping,
    /// An ARP question.
    Arp,
}

/// Asks what the switch would do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TraceRequest {
    from: String,
    to: String,
    port: Option<u16>,
    protocol: TraceProtocol,
    forged_mac: Option<MacAddr>,
    forged_ip: Option<IpAddr>,
}

impl TraceRequest {
    /// A packet of `from`, a machine or `host`, to `to`: a machine, `host`, a MAC or an IP address; with
    /// `:PORT` behind it, a connection to that port.
    pub fn new(from: &str, to: &str) -> Self {
        let (to, port) = split_port(to);
        Self {
            from: from.into(),
            to: to.into(),
            port,
            protocol: TraceProtocol::Auto,
            forged_mac: None,
            forged_ip: None,
        }
    }

    /// Sets what is in the packet.
    pub fn protocol(mut self, protocol: TraceProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The packet names another sender than the one who sends it: this MAC address.
    pub fn forged_mac(mut self, mac: MacAddr) -> Self {
        self.forged_mac = Some(mac);
        self
    }

    /// The packet names another sender than the one who sends it: this IP address.
    pub fn forged_ip(mut self, ip: IpAddr) -> Self {
        self.forged_ip = Some(ip);
        self
    }
}

/// What comes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TraceVerdict {
    /// It leaves by the port of the one it is for, and by no other.
    Delivered,
    /// It leaves by that port and by others: the switch has not learnt yet where that one is.
    Flooded,
    /// It leaves by other ports alone.
    Elsewhere,
    /// It leaves by none.
    Dropped,
}

/// One of the two ends of a packet's way.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TraceEnd {
    /// The machine; `host`; or the address that was named.
    pub name: String,
    /// The port of the switch; null if it is not known, or has none.
    pub port: Option<String>,
    /// The MAC address.
    #[serde(serialize_with = "text::serialize")]
    pub mac: MacAddr,
    /// The VLANs of its port, for people.
    pub vlans: Option<String>,
    #[serde(skip)]
    addresses: Vec<IpAddr>,
}

/// A port by which a packet leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TraceExit {
    /// The port.
    pub port: String,
    /// The machine that it belongs to; `host` for a bridge's own.
    pub machine: Option<String>,
    /// The VLAN in whose tag it leaves.
    pub tag: Option<u16>,
}

/// What the switch would do with a packet.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NetTrace {
    /// The bridge by which it comes in.
    pub bridge: String,
    /// Who sends it.
    pub from: TraceEnd,
    /// Who is to get it.
    pub to: TraceEnd,
    /// What it is, for people.
    pub packet: String,
    /// What happens to it, for people, in its order.
    pub steps: Vec<String>,
    /// Where it leaves.
    pub exits: Vec<TraceExit>,
    /// What comes of it.
    pub verdict: TraceVerdict,
    /// What the switch would do, in its own words.
    pub actions: String,
}

impl Node {
    /// Asks what the switch would do with a packet. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`NetworkError`].
    pub fn trace(&self, request: &TraceRequest) -> Result<NetTrace, NetworkError> {
        trace(self, request)
    }
}

fn trace(node: &Node, request: &TraceRequest) -> Result<NetTrace, NetworkError> {
    let mut switch = node.switch(TIMEOUT)?;
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |source| NetworkError::Switch { doing, source }
    };
    let ports = switch.ports(TIMEOUT).map_err(failed("list the ports of the switch"))?;
    let world = World { node, ports: &ports, known: &node.host_addresses() };
    let (bridge, from) = world.sender(&request.from)?;
    let to = world.target(&request.to, &bridge)?;
    let content = content(request, &from, &to)?;
    let port = from.port.clone().unwrap_or_else(|| bridge.clone());
    let mac = request.forged_mac.unwrap_or(from.mac);
    let target = if let TraceContent::Arp(_) = content { MacAddr::new([0xff; 6]) } else { to.mac };
    let packet = TracePacket::new(&port, mac, target, content);
    let ovsdb: Ovsdb = node.config().network.ovsdb.parse().map_err(failed("find the switch"))?;
    let found = Control::connect(&ovsdb, TIMEOUT)
        .and_then(|mut control| control.trace(&bridge, &packet))
        .map_err(failed("ask the switch what it would do"))?;
    let exits: Vec<TraceExit> = found.outputs.iter().map(|out| world.exit(out)).collect();
    let reaches = exits.iter().any(|exit| Some(&exit.port) == to.port.as_ref());
    let verdict = match (exits.len(), reaches) {
        (0, _) => TraceVerdict::Dropped,
        (1, true) => TraceVerdict::Delivered,
        (_, true) => TraceVerdict::Flooded,
        (_, false) => TraceVerdict::Elsewhere,
    };
    let as_whom = match request.forged_mac {
        Some(mac) => format!(" (sent as {mac})"),
        None => String::new(),
    };
    let steps = words(&found, &from.name);
    let packet = format!("{content}{as_whom}");
    Ok(NetTrace { bridge, from, to, packet, steps, exits, verdict, actions: found.actions })
}

/// What is in the packet, by what is known of both ends.
fn content(
    request: &TraceRequest,
    from: &TraceEnd,
    to: &TraceEnd,
) -> Result<TraceContent, NetworkError> {
    let forged: Vec<IpAddr> = request.forged_ip.into_iter().collect();
    let senders = if forged.is_empty() { &from.addresses } else { &forged };
    let pair = senders.iter().find_map(|a| {
        let same = |b: &&IpAddr| a.is_ipv4() == b.is_ipv4();
        to.addresses.iter().find(same).map(|b| (*a, *b))
    });
    let need = |what| {
        let who = if senders.is_empty() { from } else { to };
        let who = who.name.clone();
        pair.ok_or(NetworkError::NoAddress { who, family: "common", what })
    };
    Ok(match (request.protocol, request.port) {
        (TraceProtocol::Auto | TraceProtocol::Tcp, Some(port)) => {
            let (a, b) = need("a connection")?;
            TraceContent::Tcp(a, b, port)
        }
        (TraceProtocol::Udp, port) => {
            let (a, b) = need("UDP")?;
            TraceContent::Udp(a, b, port.unwrap_or(9))
        }
        (TraceProtocol::Tcp, None) => {
            let (a, b) = need("a connection")?;
            TraceContent::Tcp(a, b, 80)
        }
        (TraceProtocol::Ping, _) => {
            let (a, b) = need("a ping")?;
            TraceContent::Ping(a, b)
        }
        (TraceProtocol::Arp, _) => {
            let ip = senders.iter().find(|ip| ip.is_ipv4()).copied();
            let who = from.name.clone();
            let what = "ARP";
            TraceContent::Arp(ip.ok_or(NetworkError::NoAddress { who, family: "IPv4", what })?)
        }
        (TraceProtocol::Auto, None) => {
            pair.map_or(TraceContent::Frame, |(a, b)| TraceContent::Ping(a, b))
        }
    })
}

/// What is known of the switch and of the host, while a trace is made.
struct World<'a> {
    node: &'a Node,
    ports: &'a [SwitchPort],
    known: &'a HostAddresses,
}

impl World<'_> {
    /// Who sends, and the bridge that hears it.
    fn sender(&self, word: &str) -> Result<(String, TraceEnd), NetworkError> {
        if word == HOST {
            let bridge = self.node.config().network.bridge.clone();
            let end = self.host(&bridge)?;
            return Ok((bridge, end));
        }
        let (vm, net) = self.machine(word)?;
        let end = self.end_of(&vm, net.as_deref())?;
        if self.port_of(&end).is_none() {
            let state = vm.state();
            return Err(vm.wrong_state("trace a packet of", state).into());
        }
        let (net, _) = net_of(&vm, net.as_deref())?;
        Ok((net.bridge.clone(), end))
    }

    /// Who is to get it.
    fn target(&self, word: &str, bridge: &str) -> Result<TraceEnd, NetworkError> {
        if word == HOST {
            return self.host(bridge);
        }
        if let Ok(mac) = word.parse::<MacAddr>() {
            return Ok(self.unknown(word, mac, Vec::new()));
        }
        match word.parse::<IpAddr>() {
            Ok(ip) => self.by_address(word, ip, bridge),
            Err(_) => {
                let (vm, net) = self.machine(word)?;
                self.end_of(&vm, net.as_deref())
            }
        }
    }

    /// The machine of a word, which may name one of its interfaces behind a slash.
    fn machine(&self, word: &str) -> Result<(Vm, Option<String>), NetworkError> {
        let (name, net) = match word.split_once('/') {
            Some((name, net)) => (name, Some(net.to_owned())),
            None => (word, None),
        };
        let mut found = self.node.select(&Selection::word(name))?;
        let vm = found.pop().ok_or_else(|| NetworkError::NoTarget {
            word: word.into(),
            bridge: self.node.config().network.bridge.clone(),
        })?;
        Ok((vm, net))
    }

    fn end_of(&self, vm: &Vm, net: Option<&str>) -> Result<TraceEnd, NetworkError> {
        let (net, uuid) = net_of(vm, net)?;
        let mine = |port: &&SwitchPort| {
            port.name == net.port && port.owner.as_ref().is_some_and(|owner| owner.uuid == uuid)
        };
        let port = self.ports.iter().find(mine);
        let addresses = addresses_among(vm, self.known);
        let of_net = addresses.iter().filter(|address| address.net == net.name);
        Ok(TraceEnd {
            name: vm.name().to_string(),
            port: port.map(|port| port.name.clone()),
            mac: net.mac,
            vlans: port.map(|port| port.vlans.to_string()),
            addresses: of_net.filter(|address| is_usable(address)).map(|one| one.ip).collect(),
        })
    }

    /// The host, by the bridge's own interface.
    fn host(&self, bridge: &str) -> Result<TraceEnd, NetworkError> {
        let failed = |source| MachineError::Switch {
            doing: format!("look at the interface of bridge {bridge}"),
            source,
        };
        let device = bridge.parse().and_then(|name| Device::find(&name)).map_err(failed)?;
        let mac = device
            .and_then(|device| device.mac)
            .ok_or_else(|| NetworkError::NoTarget { word: HOST.into(), bridge: bridge.into() })?;
        Ok(TraceEnd {
            name: HOST.into(),
            port: Some(bridge.into()),
            mac,
            vlans: None,
            addresses: Vec::new(),
        })
    }

    /// Whoever has this address: a machine of this node, or what the host's kernel has seen.
    fn by_address(&self, word: &str, ip: IpAddr, bridge: &str) -> Result<TraceEnd, NetworkError> {
        for vm in self.node.select(&Selection::all())? {
            let addresses = addresses_among(&vm, self.known);
            let has = |address: &&Address| address.ip == ip && is_usable(address);
            let Some(address) = addresses.iter().find(has) else { continue };
            if let Ok(mut end) = self.end_of(&vm, Some(&address.net)) {
                end.addresses = vec![ip];
                return Ok(end);
            }
        }
        let seen = |seen: &&Neighbour| seen.ip == ip;
        match self.known.neighbours.iter().find(seen) {
            Some(seen) => Ok(self.unknown(word, seen.mac, vec![ip])),
            None => Err(NetworkError::NoTarget { word: word.into(), bridge: bridge.into() }),
        }
    }

    /// An end of which the switch alone knows where it is.
    fn unknown(&self, word: &str, mac: MacAddr, addresses: Vec<IpAddr>) -> TraceEnd {
        TraceEnd { name: word.into(), port: None, mac, vlans: None, addresses }
    }

    fn port_of(&self, end: &TraceEnd) -> Option<&SwitchPort> {
        let name = end.port.as_ref()?;
        self.ports.iter().find(|port| port.name == *name && port.ofport.is_some())
    }

    fn exit(&self, output: &virshle_net::TraceOutput) -> TraceExit {
        let port = self.ports.iter().find(|port| port.name == output.port);
        let machine = port.and_then(|port| match &port.owner {
            Some(owner) => Some(owner.name.clone()),
            None => (port.name == port.bridge).then(|| HOST.into()),
        });
        TraceExit { port: output.port.clone(), machine, tag: output.tag }
    }
}

/// The interface that is meant, and its owner's uuid: the first that has a port, if none is named.
fn net_of<'a>(vm: &'a Vm, name: Option<&str>) -> Result<(&'a NetDefinition, String), NetworkError> {
    let net = switched(vm).find(|net| name.is_none_or(|name| net.name == name));
    let net = net
        .ok_or_else(|| NetworkError::NoPort { vm: vm.name().clone(), net: name.map(Into::into) })?;
    Ok((net, vm.definition().uuid.to_string()))
}

/// Whether a packet may well have it: a guest may have another one than follows from its MAC address.
fn is_usable(address: &Address) -> bool {
    address.source != AddressSource::Mac && !address.is_link_local()
}

/// `TO:PORT`, where TO may be an IPv6 address or a MAC address, both full of colons.
fn split_port(text: &str) -> (&str, Option<u16>) {
    if text.parse::<IpAddr>().is_ok() || text.parse::<MacAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':').map(|(to, port)| (to, port.parse())) {
        Some((to, Ok(port))) => {
            (to.strip_prefix('[').and_then(|to| to.strip_suffix(']')).unwrap_or(to), Some(port))
        }
        _ => (text, None),
    }
}

/// The steps of a trace in words.
fn words(trace: &Trace, from: &str) -> Vec<String> {
    trace.steps.iter().map(|step| step_in_words(step, from)).collect()
}

fn step_in_words(step: &TraceStep, from: &str) -> String {
    let bridge = &step.bridge;
    if step.is_guard() {
        return if step.drops() {
            format!("the guard of {from} drops it: {}", why_dropped(&step.matches))
        } else {
            format!("the guard of {from} lets it pass")
        };
    }
    let says = |what: &str| step.notes.iter().any(|note| note.contains(what));
    if step.drops() {
        let reason =
            step.notes.iter().find(|note| note.contains("dropping") || note.contains(">>"));
        return match reason {
            Some(reason) => format!("{bridge} drops it: {}", bare(reason)),
            None if step.priority.is_none() => format!("{bridge} drops it: no flow matches"),
            None => format!("a flow of {bridge} drops it: {}", step.matches),
        };
    }
    if says("no learned MAC") {
        format!("{bridge} has not learnt where the receiver is: it floods the VLAN")
    } else if says("multicast") || says("flooding") {
        format!("{bridge} floods the VLAN")
    } else if says("forwarding to learned port") {
        format!("{bridge} has learnt where the receiver is")
    } else if step.notes.iter().any(|note| note == "NORMAL") {
        let reason = step.notes.iter().find(|note| note.starts_with("->") || note.contains(">>"));
        let reason = reason.map(|reason| format!(": {}", bare(reason))).unwrap_or_default();
        format!("{bridge} switches it by MAC address{reason}")
    } else {
        format!("a flow of {bridge} ({}): {}", step.matches, step.notes.join(", "))
    }
}

/// A remark of the switch without its arrows.
fn bare(note: &str) -> &str {
    note.trim_matches(['-', '>', '<', ' '])
}

/// What a flow of a guard is for, by what it matches.
fn why_dropped(matches: &str) -> &'static str {
    let has =
        |what: &str| matches.split([',', ' ']).any(|part| part == what || part.starts_with(what));
    if has("arp") {
        "ARP that claims an address which is not the machine's"
    } else if has("icmp_type=134") {
        "a router advertisement"
    } else if has("icmp_type=137") {
        "a redirect"
    } else if has("icmp6") {
        "neighbour discovery that claims an address which is not the machine's"
    } else if has("tp_src=67") || has("tp_src=547") || has("udp_src=67") || has("udp_src=547") {
        "an answer of a DHCP server"
    } else if has("dl_type=0x8100") || has("dl_type=0x88a8") {
        "a tag within a tag"
    } else {
        "its sender's MAC address is not the machine's"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stands_behind_the_last_colon() {
        for (text, expected) in [
            ("web", ("web", None)),
            ("web:80", ("web", Some(80))),
            ("192.0.2.1:80", ("192.0.2.1", Some(80))),
            ("2001:db8::1", ("2001:db8::1", None)),
            ("[2001:db8::1]:80", ("2001:db8::1", Some(80))),
            ("52:54:00:00:00:01", ("52:54:00:00:00:01", None)),
            ("web:http", ("web:http", None)),
            ("web:99999", ("web:99999", None)),
        ] {
            assert_eq!(split_port(text), expected, "{text}");
        }
    }
}
