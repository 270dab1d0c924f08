//! What the switch would do with a packet: `ofproto/trace`, asked and read.

use std::fmt;
use std::net::IpAddr;

use crate::guard::GuardId;
use crate::{Control, MacAddr, NetError};

/// A packet that is imagined to come in at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TracePacket {
    port: String,
    from: MacAddr,
    to: MacAddr,
    content: TraceContent,
}

/// What is in such a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceContent {
    /// A frame of which nothing more is known.
    Frame,
    /// An ARP question of the sender, whose IP address this is.
    Arp(IpAddr),
    /// A ping from one address to the other.
    Ping(IpAddr, IpAddr),
    /// The first packet of a TCP connection to this port.
    Tcp(IpAddr, IpAddr, u16),
    /// A UDP packet to this port.
    Udp(IpAddr, IpAddr, u16),
}

impl TracePacket {
    /// A packet that comes in at the port called `port`, with these MAC addresses.
    pub fn new(port: &str, from: MacAddr, to: MacAddr, content: TraceContent) -> Self {
        Self { port: port.into(), from, to, content }
    }

    /// As `ofproto/trace` takes it (`ovs-fields(7)`).
    fn flow(&self) -> String {
        let Self { port, from, to, content } = self;
        let address = |from: &IpAddr, to: &IpAddr| match from {
            IpAddr::V4(_) => format!("nw_src={from},nw_dst={to}"),
            IpAddr::V6(_) => format!("ipv6_src={from},ipv6_dst={to}"),
        };
        let six = |ip: &IpAddr| if ip.is_ipv6() { "6" } else { "" };
        let content = match content {
            TraceContent::Frame => String::new(),
            TraceContent::Arp(ip) => format!(",arp,arp_op=1,arp_spa={ip},arp_sha={from}"),
            TraceContent::Ping(a, b) if a.is_ipv6() => {
                format!(",icmp6,icmpv6_type=128,icmpv6_code=0,nw_ttl=64,{}", address(a, b))
            }
            TraceContent::Ping(a, b) => {
                format!(",icmp,icmp_type=8,icmp_code=0,nw_ttl=64,{}", address(a, b))
            }
            TraceContent::Tcp(a, b, port) => {
                let flags = "tcp_src=40000,tcp_flags=2,nw_ttl=64";
                format!(",tcp{},{flags},tcp_dst={port},{}", six(a), address(a, b))
            }
            TraceContent::Udp(a, b, port) => {
                format!(",udp{},udp_src=40000,nw_ttl=64,udp_dst={port},{}", six(a), address(a, b))
            }
        };
        format!("in_port={port},dl_src={from},dl_dst={to}{content}")
    }
}

/// What the switch would do with a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The flows that it would meet, in their order.
    pub steps: Vec<TraceStep>,
    /// Where it would leave the switch; nowhere if it is dropped.
    pub outputs: Vec<TraceOutput>,
    /// Everything that would be done with it, in the switch's own words.
    pub actions: String,
}

/// A flow that a packet meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceStep {
    /// The bridge.
    pub bridge: String,
    /// The table.
    pub table: u32,
    /// Its priority; none where no flow matched.
    pub priority: Option<u16>,
    /// Its cookie.
    pub cookie: u64,
    /// What it matches.
    pub matches: String,
    /// What it does, line by line: actions, and what the switch says of them.
    pub notes: Vec<String>,
}

impl TraceStep {
    /// Whether the flow is one of a guard.
    pub fn is_guard(&self) -> bool {
        GuardId::is_cookie(self.cookie)
    }

    /// Whether the packet ends here.
    pub fn drops(&self) -> bool {
        self.notes.iter().any(|note| note == "drop" || note.ends_with(", dropping"))
    }
}

/// Where a packet leaves the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceOutput {
    /// The port.
    pub port: String,
    /// The VLAN in whose tag it leaves.
    pub tag: Option<u16>,
}

impl Control {
    /// Asks what `bridge` would do with a packet. Nothing is sent, and the switch learns nothing of it.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Self::call): [`NetError::ControlRefused`] where there is no such bridge or
    /// port.
    #[doc(alias = "ofproto/trace")]
    pub fn trace(&mut self, bridge: &str, packet: &TracePacket) -> Result<Trace, NetError> {
        let text = self.call("ofproto/trace", &["--names", bridge, &packet.flow()])?;
        Ok(text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}))
    }
}

impl std::str::FromStr for Trace {
    type Err = std::convert::Infallible;

    /// Reads the text that `ofproto/trace` prints. What is not understood is passed over: it is for
    /// people, and not the same in all versions.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut trace = Self::default();
        let mut bridge = String::new();
        for line in text.lines() {
            let bare = line.trim();
            if let Some(name) =
                bare.strip_prefix("bridge(\"").and_then(|name| name.strip_suffix("\")"))
            {
                name.clone_into(&mut bridge);
            } else if let Some(actions) = bare.strip_prefix("Datapath actions:") {
                let actions = actions.trim();
                let mut tag = None;
                outputs(actions, 0, &mut tag, &mut trace.outputs);
                if !trace.actions.is_empty() {
                    trace.actions.push_str(", then ");
                }
                trace.actions.push_str(actions);
            } else if let Some(step) = step(line, &bridge) {
                trace.steps.push(step);
            } else if line.starts_with("    ") && !bare.is_empty() {
                if let Some(step) = trace.steps.last_mut() {
                    step.notes.push(bare.into());
                }
            }
        }
        Ok(trace)
    }
}

/// A line such as ` 0. in_port="vm1-main", priority 65010, cookie 0x7653…`, or ` 0. No match.`.
fn step(line: &str, bridge: &str) -> Option<TraceStep> {
    let (table, rest) = line.trim().split_once(". ")?;
    let table = table.parse().ok()?;
    let mut step = TraceStep { bridge: bridge.into(), table, ..TraceStep::default() };
    let mut matches = Vec::new();
    for part in rest.split(", ") {
        if let Some(priority) = part.strip_prefix("priority ") {
            step.priority = priority.parse().ok();
        } else if let Some(cookie) = part.strip_prefix("cookie 0x") {
            step.cookie = u64::from_str_radix(cookie, 16).unwrap_or(0);
        } else {
            matches.push(part);
        }
    }
    step.matches = matches.join(", ");
    Some(step)
}

/// How deep actions are looked into: deeper than the switch nests them.
const MOST_DEPTH: usize = 16;

/// The ports among the actions of a datapath (`ovs-actions(7)`), with the tag that is on the packet then.
fn outputs(actions: &str, depth: usize, tag: &mut Option<u16>, found: &mut Vec<TraceOutput>) {
    if depth > MOST_DEPTH {
        return;
    }
    for action in split(actions) {
        match action.split_once('(') {
            Some(("push_vlan", inside)) => {
                let vid = inside.split([',', ')']).find_map(|part| part.strip_prefix("vid="));
                *tag = vid.and_then(|vid| vid.parse().ok());
            }
            // A copy goes its own way.
            Some(("clone" | "sample" | "check_pkt_len", inside)) => {
                let inside = inside.strip_suffix(')').unwrap_or(inside);
                outputs(inside, depth + 1, &mut tag.clone(), found);
            }
            Some(_) => {}
            None if action == "pop_vlan" => *tag = None,
            None if action == "drop" || action.is_empty() || action.contains('=') => {}
            None => {
                let port = action.trim_matches('"').into();
                found.push(TraceOutput { port, tag: *tag });
            }
        }
    }
}

/// The parts of a list that stand between its commas, those in brackets left out.
fn split(actions: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    actions
        .split(move |character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .map(str::trim)
}

impl fmt::Display for TraceContent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame => formatter.write_str("a frame"),
            Self::Arp(ip) => write!(formatter, "an ARP question of {ip}"),
            Self::Ping(from, to) => write!(formatter, "a ping from {from} to {to}"),
            Self::Tcp(from, to, port) => {
                write!(formatter, "TCP from {from} to {}", std::net::SocketAddr::new(*to, *port))
            }
            Self::Udp(from, to, port) => {
                write!(formatter, "UDP from {from} to {}", std::net::SocketAddr::new(*to, *port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOODED: &str = r#"Flow: tcp,in_port="vm3-main",vlan_tci=0x0000

bridge("br0")
-------------
 0. reg15=0,in_port="vm3-main",dl_src=52:54:00:00:00:01, priority 65020, cookie 0x7653000000001001
    set_field:0x76530001->reg15
    resubmit(,0)
 0. priority 0
    NORMAL
     -> no learned MAC for destination, flooding

bridge("vs0")
-------------
 0. No match.
    drop

Final flow: unchanged
Megaflow: recirc_id=0,eth
Datapath actions: "vm1-main",push_vlan(vid=12,pcp=0),br0,clone(pop_vlan,vm2-main),vs0,pop_vlan,meter(0),3
"#;

    #[test]
    fn a_trace_is_read() {
        let trace: Trace = FLOODED.parse().unwrap();
        let [guard, normal, last] = &trace.steps[..] else { panic!("{trace:?}") };
        assert!(guard.is_guard() && !guard.drops() && guard.priority == Some(65020));
        assert_eq!(guard.matches, "reg15=0,in_port=\"vm3-main\",dl_src=52:54:00:00:00:01");
        assert_eq!((normal.priority, normal.notes.len(), normal.is_guard()), (Some(0), 2, false));
        assert_eq!((last.bridge.as_str(), last.priority, last.drops()), ("vs0", None, true));
        let outputs: Vec<_> =
            trace.outputs.iter().map(|out| (out.port.as_str(), out.tag)).collect();
        let expected = [
            ("vm1-main", None),
            ("br0", Some(12)),
            ("vm2-main", None),
            ("vs0", Some(12)),
            ("3", None),
        ];
        assert_eq!(outputs, expected);
    }

    #[test]
    fn what_is_no_trace_never_panics() {
        for text in ["", "Datapath actions: drop", " 0. ", "((((,,,)", "Datapath actions: clone((("]
        {
            let trace: Trace = text.parse().unwrap();
            assert!(trace.outputs.is_empty(), "{trace:?}");
        }
        let deep = format!("Datapath actions: {}", "clone(".repeat(10_000));
        let trace: Trace = deep.parse().unwrap();
        assert!(trace.outputs.is_empty());
    }

    #[test]
    fn a_packet_is_written_as_the_switch_takes_it() {
        let [from, to] = ["52:54:00:00:00:01", "52:54:00:00:00:02"].map(|mac| mac.parse().unwrap());
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let packet = TracePacket::new("vm1-main", from, to, TraceContent::Tcp(a, b, 80));
        let expected = "in_port=vm1-main,dl_src=52:54:00:00:00:01,dl_dst=52:54:00:00:00:02,tcp,\
                        tcp_src=40000,tcp_flags=2,nw_ttl=64,tcp_dst=80,nw_src=192.0.2.1,\
                        nw_dst=192.0.2.2";
        assert_eq!(packet.flow(), expected);
        let six = "2001:db8::1".parse().unwrap();
        let packet = TracePacket::new("p", from, to, TraceContent::Ping(six, six));
        assert!(packet.flow().contains(",icmp6,icmpv6_type=128"), "{}", packet.flow());
    }
}
