//! The guard of a port: flows that keep a machine from speaking as another one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::burst::burst_bytes;
use crate::openflow::{Client, Flow, FlowStats, Match, Meter};
use crate::ovsdb::Address;
use crate::{MacAddr, NetError};

/// The upper 16 bits of a cookie of ours: the letters `vS`.
const MAGIC: u64 = 0x7653 << 48;
const MAGIC_MASK: u64 = 0xffff << 48;
/// The lower bits of a cookie, which show which flows were meant.
const DIGEST_BITS: u32 = 12;
const DIGEST_MASK: u64 = (1 << DIGEST_BITS) - 1;
const ID_MASK: u64 = !DIGEST_MASK;

/// The register in which a packet that may pass is marked: the last, for others begin with the first.
const REGISTER: u8 = 15;
/// The mark.
const PASSED: u32 = 0x7653_0001;

/// What passes at once; what is dropped unless it was; what is left; and the rest.
const EXACT: u16 = 65_040;
const FORBIDDEN: u16 = 65_030;
const OWN: u16 = 65_020;
const REST: u16 = 65_010;

const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// A tag behind a tag: what is further inside is not looked at.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;
/// fe80::/10.
const LINK_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
const NO_MAC: MacAddr = MacAddr::new([0; 6]);

/// Which port a guard is of: it is the same for a machine's port of that name, whatever number the
/// switch gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuardId(u64);

impl GuardId {
    /// The port called `port` of the machine `owner_uuid`.
    pub fn of(owner_uuid: &str, port: &str) -> Self {
        let text = [owner_uuid.as_bytes(), b"/", port.as_bytes()].concat();
        Self(MAGIC | hash(&text) & !MAGIC_MASK & ID_MASK)
    }

    /// Whether the flow with this cookie is one of a guard.
    pub(crate) fn is_cookie(cookie: u64) -> bool {
        cookie & MAGIC_MASK == MAGIC
    }

    fn of_cookie(cookie: u64) -> Self {
        Self(cookie & ID_MASK)
    }

    fn cookie(self, digest: u64) -> u64 {
        self.0 | digest & DIGEST_MASK
    }
}

/// What a machine may say on its port.
///
/// - Frames have the machine's MAC address as their sender, in ARP and neighbour discovery, too.
/// - ARP and neighbour discovery claim the machine's addresses alone, as far as they are known: for a
///   family of which none is, and for link-local ones, the MAC address alone is looked at.
/// - No answers of a DHCP server, no router advertisements, no redirects.
/// - Nothing to 127.0.0.0/8, the loopback of the host.
/// - No tag within a tag.
///
/// What passes goes the bridge's way as without a guard: its own flows, or `NORMAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Guard {
    id: GuardId,
    ofport: u32,
    mac: MacAddr,
    addresses: Vec<IpAddr>,
    is_trusted: bool,
    rate_kbits: Option<u64>,
}

impl Guard {
    /// The guard of the port `id`, whose number on the bridge is `ofport`, of a machine with this MAC
    /// address.
    pub fn new(id: GuardId, ofport: u32, mac: MacAddr) -> Self {
        let addresses = Vec::new();
        Self { id, ofport, mac, addresses, is_trusted: false, rate_kbits: None }
    }

    /// Lets the machine say what it likes: all that is left is its rate.
    pub fn trusted(mut self, is_trusted: bool) -> Self {
        self.is_trusted = is_trusted;
        self
    }

    /// How many bits the machine may send in a second, by a meter: for a tap, which `ovs-vswitchd` can't
    /// police on the userspace datapath. ARP and neighbour discovery are not counted.
    pub fn rate_bits(mut self, bits_per_second: Option<u64>) -> Self {
        self.rate_kbits = bits_per_second.map(|bits| bits / 1000);
        self
    }

    /// Whether there is nothing that it does.
    pub fn is_empty(&self) -> bool {
        self.is_trusted && self.rate_kbits.is_none()
    }

    fn meter(&self) -> Option<Meter> {
        let kbits = self.rate_kbits?;
        let most = |kbits: u64| u32::try_from(kbits).unwrap_or(u32::MAX);
        let burst_kbits = most(burst_bytes(kbits.saturating_mul(125)) / 125);
        Some(Meter { number: meter_number(self.ofport), kbits: most(kbits), burst_kbits })
    }

    fn digest(&self, flows: &[Flow]) -> u64 {
        match self.rate_kbits {
            Some(kbits) => hash(&[digest(flows).to_be_bytes(), kbits.to_be_bytes()].concat()),
            None => digest(flows),
        }
    }

    /// The addresses that the machine has, if they are known.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// Whether this is what the switch has.
    pub fn is(&self, state: Option<&GuardState>) -> bool {
        let flows = self.flows();
        state.is_some_and(|state| {
            state.cookie == Some(self.id.cookie(self.digest(&flows)))
                && state.flows == flows.len()
                && state.ofport == Some(self.ofport)
        })
    }

    /// The flows, with the cookie that shows which they are.
    fn cookied(&self) -> Vec<Flow> {
        let flows = self.flows();
        let cookie = self.id.cookie(self.digest(&flows));
        flows.into_iter().map(|flow| flow.with_cookie(cookie)).collect()
    }

    fn flows(&self) -> Vec<Flow> {
        let all = || Match::any().in_port(self.ofport).register(REGISTER, 0);
        let own = || all().eth_src(self.mac);
        let pass = |matching| Flow::mark_and_resubmit(0, EXACT, matching, (REGISTER, PASSED));
        let forbid = |matching| Flow::drop(0, FORBIDDEN, matching);
        let last = |matching| {
            let flow = Flow::mark_and_resubmit(0, OWN, matching, (REGISTER, PASSED));
            match self.rate_kbits {
                Some(_) => flow.through_meter(meter_number(self.ofport)),
                None => flow,
            }
        };
        if self.is_empty() {
            return Vec::new();
        }
        if self.is_trusted {
            return vec![last(all())];
        }
        let mut flows = Vec::new();

        let arp = || own().arp().arp_sha(self.mac);
        let (known4, known6) = self.by_family();
        if known4.is_empty() {
            flows.push(pass(arp()));
        } else {
            // A probe for a double comes from no address yet (RFC 5227).
            let known4 = known4.into_iter().chain([Ipv4Addr::UNSPECIFIED]);
            flows.extend(known4.map(|ip| pass(arp().arp_spa(ip))));
        }
        flows.push(forbid(all().arp()));

        // An option that names no MAC address is read as zeros.
        for mac in [self.mac, NO_MAC] {
            let advertisement = || own().neighbour(ADVERTISEMENT);
            let solicitation = || own().neighbour(SOLICITATION);
            if known6.is_empty() {
                flows.push(pass(advertisement().nd_tll(mac)));
                flows.push(pass(solicitation().nd_sll(mac)));
                continue;
            }
            // Which link-local address a guest takes is not known.
            let prefixes = known6.iter().map(|ip| (*ip, 128)).chain([LINK_LOCAL]);
            for (ip, bits) in prefixes.clone() {
                flows.push(pass(advertisement().nd_target(ip, bits).nd_tll(mac)));
            }
            // To find a double it is asked from no address (RFC 4862).
            for (ip, bits) in prefixes.chain([(Ipv6Addr::UNSPECIFIED, 128)]) {
                flows.push(pass(solicitation().ipv6_src(ip, bits).nd_sll(mac)));
            }
        }
        for kind in [SOLICITATION, ADVERTISEMENT, ROUTER_ADVERTISEMENT, REDIRECT] {
            flows.push(forbid(all().icmp6(kind)));
        }

        flows.push(forbid(all().udp4_src(DHCP_SERVER)));
        flows.push(forbid(all().udp6_src(DHCPV6_SERVER)));
        // The host's interface on the bridge may take them, for ports that are published there.
        flows.push(forbid(all().ipv4_dst(Ipv4Addr::LOCALHOST, 8)));
        flows.extend(TAGS.map(|tag| forbid(all().eth_type(tag))));
        flows.push(last(own()));
        flows.push(Flow::drop(0, REST, all()));
        flows
    }

    fn by_family(&self) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in &self.addresses {
            match ip {
                IpAddr::V4(ip) => v4.push(*ip),
                IpAddr::V6(ip) => v6.push(*ip),
            }
        }
        (v4, v6)
    }
}

/// What the switch has of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardState {
    /// How many flows it consists of.
    pub flows: usize,
    /// The number of the port that they are for; none if they are for several.
    pub ofport: Option<u32>,
    /// How many packets it has dropped.
    pub dropped_packets: u64,
    /// The cookie, if all have one.
    cookie: Option<u64>,
}

/// The guards of a bridge's ports, by a connection to its management socket.
///
/// Only flows with a cookie of ours are ever changed; a bridge may have others.
#[derive(Debug)]
pub struct Guards {
    client: Client,
}

impl Guards {
    /// Where the bridge's management socket is: beside the database's, in the directory of Open vSwitch's
    /// run-time files.
    pub fn socket(ovsdb: &Address, bridge: &str) -> PathBuf {
        let name = format!("{bridge}.mgmt");
        match ovsdb {
            Address::Unix(path) => path.with_file_name(name),
            _ => PathBuf::from("/run/openvswitch").join(name),
        }
    }

    /// Connects to the bridge whose database is at `ovsdb`. `timeout` is for this, and for each call.
    ///
    /// # Errors
    ///
    /// [`NetError::Management`]; [`NetError::OpenFlowRefused`].
    pub fn connect(ovsdb: &Address, bridge: &str, timeout: Duration) -> Result<Self, NetError> {
        let socket = Self::socket(ovsdb, bridge);
        Ok(Self { client: Client::connect(&socket, timeout)? })
    }

    /// Gives ports their guards, each in place of the one that it had: all of them, or none.
    ///
    /// # Errors
    ///
    /// Those of [`Client::replace`].
    pub fn apply(&mut self, guards: &[Guard]) -> Result<(), NetError> {
        let ids: Vec<u64> = guards.iter().map(|guard| guard.id.0).collect();
        let flows: Vec<Flow> = guards.iter().flat_map(Guard::cookied).collect();
        let meters: Vec<Meter> = guards.iter().filter_map(Guard::meter).collect();
        self.client.add_meters(&meters)?;
        self.client.replace(&ids, ID_MASK, &flows)?;
        tracing::debug!(guards = guards.len(), flows = flows.len(), "guarded");
        Ok(())
    }

    /// Takes the guards of these ports away.
    ///
    /// # Errors
    ///
    /// Those of [`Client::replace`].
    pub fn remove(&mut self, ids: &[GuardId]) -> Result<(), NetError> {
        let mut meters = Vec::new();
        for id in ids {
            let state = self.find(*id)?;
            meters.extend(state.and_then(|state| state.ofport).map(meter_number));
        }
        let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
        self.client.replace(&ids, ID_MASK, &[])?;
        self.client.delete_meters(&meters)
    }

    /// What the bridge has of the guard `id`, with its counters.
    ///
    /// # Errors
    ///
    /// Those of [`Client::flows`].
    pub fn find(&mut self, id: GuardId) -> Result<Option<GuardState>, NetError> {
        Ok(self.read(id.0, ID_MASK)?.remove(&id))
    }

    /// Every guard that the bridge has, with its counters.
    ///
    /// # Errors
    ///
    /// Those of [`Client::flows`].
    pub fn list(&mut self) -> Result<BTreeMap<GuardId, GuardState>, NetError> {
        self.read(MAGIC, MAGIC_MASK)
    }

    fn read(&mut self, value: u64, mask: u64) -> Result<BTreeMap<GuardId, GuardState>, NetError> {
        let mut guards = BTreeMap::new();
        for flow in self.client.flows(value, mask)? {
            let state = GuardState {
                flows: 0,
                ofport: flow.in_port,
                dropped_packets: 0,
                cookie: Some(flow.cookie),
            };
            guards.entry(GuardId::of_cookie(flow.cookie)).or_insert(state).add(&flow);
        }
        Ok(guards)
    }
}

impl GuardState {
    fn add(&mut self, flow: &FlowStats) {
        self.flows += 1;
        self.ofport = self.ofport.filter(|ofport| flow.in_port == Some(*ofport));
        self.cookie = self.cookie.filter(|cookie| *cookie == flow.cookie);
        if flow.drops {
            self.dropped_packets = self.dropped_packets.saturating_add(flow.packets);
        }
    }
}

/// The meter of a port: from above, as others number theirs from below.
fn meter_number(ofport: u32) -> u32 {
    65_535_u32.saturating_sub(ofport).max(1)
}

/// What distinguishes these flows from those of another number, address or version of this file.
fn digest(flows: &[Flow]) -> u64 {
    let bytes: Vec<u8> = flows.iter().flat_map(Flow::encode).collect();
    let hash = hash(&bytes);
    hash ^ hash >> 24 ^ hash >> 48
}

/// FNV-1a of 64 bits: it stays as it is, across versions and machines.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(ofport: u32) -> Guard {
        let id = GuardId::of("6a6f1bc4-3c26-4a0e-a4a5-6a5d1c4e9c01", "vm1-main");
        Guard::new(id, ofport, "52:54:00:00:00:01".parse().unwrap())
    }

    #[test]
    fn a_guard_is_told_from_what_is_left_of_it_or_of_another() {
        let one = guard(7);
        let state = GuardState {
            flows: one.flows().len(),
            ofport: Some(7),
            dropped_packets: 3,
            cookie: Some(one.id.cookie(digest(&one.flows()))),
        };
        assert!(one.is(Some(&state)));
        assert!(!one.is(None));
        assert!(!guard(8).is(Some(&state)));
        assert!(!one.clone().addresses(["192.0.2.1".parse().unwrap()]).is(Some(&state)));
        assert!(!one.is(Some(&GuardState { flows: 3, ..state })));
    }

    #[test]
    fn a_cookie_names_its_port_and_its_flows() {
        let id = GuardId::of("u", "vm1-main");
        assert_eq!(GuardId::of_cookie(id.cookie(u64::MAX)), id);
        assert_eq!(id.cookie(5) & MAGIC_MASK, MAGIC);
        assert_ne!(id, GuardId::of("u", "vm1-side"));
    }

    #[test]
    fn the_socket_is_beside_the_databases() {
        let beside = Guards::socket(&"unix:/run/ovs/db.sock".parse().unwrap(), "br0");
        assert_eq!(beside, PathBuf::from("/run/ovs/br0.mgmt"));
        let remote = Guards::socket(&"tcp:host:6640".parse().unwrap(), "br0");
        assert_eq!(remote, PathBuf::from("/run/openvswitch/br0.mgmt"));
    }
}
