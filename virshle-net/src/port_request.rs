//! A request for a port.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::burst::burst_bytes;
use crate::ovsdb::{Row, Value};
use crate::owner::{Owner, Role};
use crate::{InterfaceName, MacAddr, NetError, Vlans};

/// What a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortKind {
    /// A vhost-user socket to which Open vSwitch connects: `dpdkvhostuserclient`.
    VhostUser,
    /// A network device of the host, created by another process: a tap, for one.
    Tap,
    /// A network device of the host that `ovs-vswitchd` creates.
    Internal,
    /// One end of a link between two bridges.
    Patch,
    /// Something else.
    Other,
}

impl PortKind {
    /// The kind that the database's type stands for.
    pub(crate) fn of(interface_type: &str) -> Self {
        match interface_type {
            "dpdkvhostuserclient" => Self::VhostUser,
            "" | "system" => Self::Tap,
            "internal" => Self::Internal,
            "patch" => Self::Patch,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::VhostUser => "vhost-user",
            Self::Tap => "tap",
            Self::Internal => "internal",
            Self::Patch => "patch",
            Self::Other => "other",
        })
    }
}

/// The rates that a port is kept to, in thousands of bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortRates {
    /// What its machine may receive.
    pub in_kbits: Option<u64>,
    /// What its machine may send.
    pub out_kbits: Option<u64>,
}

impl PortRates {
    /// Those of the rows in Port and Interface.
    pub(crate) fn of(port: &Row, interface: &Row) -> Self {
        let has_qos = port.get("qos").is_some_and(|qos| qos.as_uuid().is_some());
        let written = port.get("external_ids").and_then(|ids| ids.text_of(RATE));
        let out = interface.get("ingress_policing_rate").and_then(Value::as_i64);
        Self {
            in_kbits: written.filter(|_| has_qos).and_then(|text| text.parse().ok()),
            out_kbits: out.and_then(|kbits| u64::try_from(kbits).ok()).filter(|kbits| *kbits > 0),
        }
    }
}

/// The port that a row in QoS is for, in its `external_ids`.
const PORT: &str = "virshle-port";
/// What the rate of a port with a row in QoS is, in the port's `external_ids`.
const RATE: &str = "virshle-rate-in";

/// A port to be added to a bridge.
///
/// It belongs to the network without tags unless a VLAN or a trunk is asked for: a tagged frame
/// passes in no direction.
///
/// # References
///
/// `ovs-vswitchd.conf.db(5)`, tables Port (`tag`, `vlan_mode`, `trunks`) and Interface (`type`, `options`,
/// `mtu_request`, `external_ids`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct PortRequest {
    pub(crate) name: String,
    pub(crate) kind: PortKind,
    socket: Option<PathBuf>,
    vlan: Option<u16>,
    trunk: BTreeSet<u16>,
    mtu_bytes: Option<u16>,
    mac: Option<MacAddr>,
    queues: u16,
    rate_in: Option<u64>,
    rate_out: Option<u64>,
    pub(crate) owner: Option<Owner>,
}

impl PortRequest {
    fn new(name: String, kind: PortKind) -> Self {
        Self {
            name,
            kind,
            socket: None,
            vlan: None,
            trunk: BTreeSet::new(),
            mtu_bytes: None,
            mac: None,
            queues: 1,
            rate_in: None,
            rate_out: None,
            owner: None,
        }
    }

    /// A port called `name` that connects to the vhost-user socket `socket`, which its server
    /// makes; Open vSwitch tries again until it is there. The name only has to be unique in the
    /// database.
    pub fn vhost_user(name: &str, socket: &Path) -> Self {
        Self { socket: Some(socket.into()), ..Self::new(name.into(), PortKind::VhostUser) }
    }

    /// A port for the tap (or any other network device) called `name`, which must exist.
    pub fn tap(name: InterfaceName) -> Self {
        Self::new(name.into(), PortKind::Tap)
    }

    /// A port with a network device called `name` that the switch makes.
    pub fn internal(name: InterfaceName) -> Self {
        Self::new(name.into(), PortKind::Internal)
    }

    /// Puts the port into one VLAN, 1 to 4094, whose tag is taken off before the machine sees it.
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Gives the port frames of several VLANs, with their tags: 1 to 4094, and 0 for frames without
    /// one.
    pub fn trunk(mut self, vlans: impl IntoIterator<Item = u16>) -> Self {
        self.trunk = vlans.into_iter().collect();
        self
    }

    /// The VLANs it belongs to.
    pub fn vlans(&self) -> Vlans {
        match self.vlan {
            Some(vlan) => Vlans::Access(vlan),
            None if self.trunk.is_empty() => Vlans::Untagged,
            None => Vlans::Trunk(self.trunk.clone()),
        }
    }

    /// Sets the largest frame payload, in bytes; Open vSwitch picks one otherwise.
    pub fn mtu_bytes(mut self, mtu_bytes: u16) -> Self {
        self.mtu_bytes = Some(mtu_bytes);
        self
    }

    /// Records the address of the machine's NIC (`attached-mac`).
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets the number of receive queues, as many as the machine's NIC has pairs.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    /// Sets how many bits the machine may receive in a second (`egress-policer` of a vhost-user port,
    /// `linux-htb` of a tap).
    pub fn rate_in_bits(mut self, bits_per_second: Option<u64>) -> Self {
        self.rate_in = bits_per_second;
        self
    }

    /// Sets how many bits the machine may send in a second (`ingress_policing_rate`).
    ///
    /// Of a tap on a bridge of the userspace datapath it has no effect: `ovs-vswitchd` reads the frames
    /// before the kernel polices them. A [`Guard`](crate::Guard) has a rate for that.
    pub fn rate_out_bits(mut self, bits_per_second: Option<u64>) -> Self {
        self.rate_out = bits_per_second;
        self
    }

    /// The rates that it is kept to.
    pub fn rates(&self) -> PortRates {
        let known = |rate: Option<u64>| rate.map(|bits| bits / 1000);
        PortRates { in_kbits: known(self.rate_in), out_kbits: known(self.rate_out) }
    }

    /// The row in QoS, if it has one.
    pub(crate) fn qos(&self) -> Option<Row> {
        let bits = self.rate_in?;
        let (kind, settings) = match self.kind {
            PortKind::VhostUser => {
                let bytes = bits / 8;
                let burst = burst_bytes(bytes);
                let settings = vec![("cir", bytes.to_string()), ("cbs", burst.to_string())];
                ("egress-policer", settings)
            }
            _ => ("linux-htb", vec![("max-rate", bits.to_string())]),
        };
        let mut ids = vec![Role::Qos.mark(), (PORT, self.name.clone())];
        ids.extend(self.owner.iter().flat_map(Owner::marks));
        Some(Row::from([
            ("type".into(), kind.into()),
            ("other_config".into(), Value::map(settings)),
            ("external_ids".into(), Value::map(ids)),
        ]))
    }

    /// What `external_ids` of its row in QoS includes, and of no other's.
    pub(crate) fn qos_mark(&self) -> Value {
        Value::map([Role::Qos.mark(), (PORT, self.name.clone())])
    }

    /// Records the machine that the port belongs to. Without one it can't be removed again by
    /// [`Switch::remove_ports_of`](crate::Switch::remove_ports_of).
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Fails where the switch would accept nonsense without an error.
    pub(crate) fn check(&self) -> Result<(), NetError> {
        let reason = if self.name.is_empty() {
            "it has no name"
        } else if self.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            "a VLAN is a number from 1 to 4094"
        } else if self.trunk.iter().any(|vlan| *vlan > 4094) {
            "a VLAN of a trunk is a number from 0 to 4094"
        } else if self.vlan.is_some() && !self.trunk.is_empty() {
            "it has both a VLAN and a trunk"
        } else if self.mtu_bytes.is_some_and(|mtu| mtu < 68) {
            "an MTU is 68 bytes at least"
        } else if self.queues == 0 {
            "it has no queue"
        } else if self.socket.as_ref().is_some_and(|socket| socket.to_str().is_none()) {
            "its socket's path is not UTF-8, as the database wants it"
        } else {
            return Ok(());
        };
        Err(NetError::InvalidPort { port: self.name.clone(), reason })
    }

    /// The row in Interface.
    pub(crate) fn interface(&self) -> Row {
        let mut row = Row::from([("name".into(), Value::from(&self.name))]);
        let kind = match self.kind {
            PortKind::VhostUser => "dpdkvhostuserclient",
            PortKind::Internal => "internal",
            _ => "",
        };
        row.insert("type".into(), kind.into());
        let mut options = Vec::new();
        if let Some(socket) = self.socket.as_ref().and_then(|socket| socket.to_str()) {
            options.push(("vhost-server-path", socket.to_owned()));
        }
        if self.queues > 1 {
            options.push(("n_rxq", self.queues.to_string()));
        }
        row.insert("options".into(), Value::map(options));
        if let Some(bits) = self.rate_out {
            let burst = burst_bytes(bits / 8) / 125;
            row.insert("ingress_policing_rate".into(), number(bits / 1000));
            row.insert("ingress_policing_burst".into(), number(burst));
        }
        if let Some(mtu) = self.mtu_bytes {
            row.insert("mtu_request".into(), mtu.into());
        }
        let mut ids = self.ids();
        if let Some(mac) = self.mac {
            ids.push(("attached-mac", mac.to_string()));
        }
        if let Some(owner) = &self.owner {
            ids.push(("iface-id", format!("{}/{}", owner.uuid, self.name)));
            ids.push(("vm-id", owner.uuid.clone()));
        }
        row.insert("external_ids".into(), Value::map(ids));
        row
    }

    /// The row in Port, but for its interface.
    pub(crate) fn port(&self) -> Row {
        let mut row = Row::from([("name".into(), Value::from(&self.name))]);
        let vlans = self.vlans();
        row.extend(vlans.columns().into_iter().map(|(column, value)| (column.into(), value)));
        let mut ids = self.ids();
        if let Some(bits) = self.rate_in {
            ids.push((RATE, (bits / 1000).to_string()));
        }
        row.insert("external_ids".into(), Value::map(ids));
        row
    }

    fn ids(&self) -> Vec<(&'static str, String)> {
        let mut ids = vec![Role::Port.mark()];
        ids.extend(self.owner.iter().flat_map(Owner::marks));
        ids
    }
}

/// A column of whole numbers.
fn number(number: u64) -> Value {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_carry_every_mark() {
        let request = PortRequest::vhost_user("vm1-main", Path::new("/run/main.sock"))
            .vlan(12)
            .mtu_bytes(1500)
            .mac("52:54:00:00:00:01".parse().unwrap())
            .owner(Owner::new("u-1", "web").node("/var/lib/virshle"));
        request.check().unwrap();
        let interface = request.interface();
        assert_eq!(interface["options"].text_of("vhost-server-path"), Some("/run/main.sock"));
        assert_eq!(interface["mtu_request"].as_i64(), Some(1500));
        let ids = &interface["external_ids"];
        for (key, value) in [
            ("virshle-uuid", "u-1"),
            ("virshle-name", "web"),
            ("virshle-node", "/var/lib/virshle"),
            ("iface-id", "u-1/vm1-main"),
            ("attached-mac", "52:54:00:00:00:01"),
            ("vm-id", "u-1"),
        ] {
            assert_eq!(ids.text_of(key), Some(value), "{key}");
        }
        let port = request.port();
        assert_eq!(port["tag"].as_i64(), Some(12));
        assert_eq!(port["vlan_mode"].as_str(), Some("access"));
        assert_eq!(Owner::of(&port), request.owner);
    }

    #[test]
    fn nonsense_is_refused() {
        let tap = || PortRequest::tap("tap0".parse().unwrap());
        for request in [
            tap().vlan(0),
            tap().vlan(4095),
            tap().trunk([4095]),
            tap().vlan(12).trunk([12]),
            tap().mtu_bytes(67),
            tap().queues(0),
        ] {
            assert!(matches!(request.check(), Err(NetError::InvalidPort { .. })), "{request:?}");
        }
    }
}
