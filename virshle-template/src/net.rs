//! `[[template.vm.net]]`: a network interface, and what it is plugged into.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;
use toml::de::DeValue;

use crate::device;
use crate::guest_network::GuestNetwork;
use crate::mac;
use crate::name::{self, Names};
use crate::publish::Publish;
use crate::rate::BitRate;
use crate::section::{Placed, Section};
use crate::static_address::{StaticAddress, hosts, placed_hosts};
use crate::vcpus::Vcpus;

/// `[[template.vm.net]]`: a network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetTemplate {
    /// The name, unique in the template.
    pub name: String,
    /// The kind.
    #[serde(rename = "type")]
    pub kind: NetKind,
    /// The VLAN, from 1 to 4094; untagged if unset. A macvtap has none.
    pub vlan: Option<u16>,
    /// The VLANs whose frames it gets with their tags, instead of one VLAN; 0 stands for frames
    /// without a tag. A macvtap has none.
    pub trunk: Vec<u16>,
    /// Its guest is not kept from speaking as another machine: for routers, and guests with machines
    /// of their own behind the interface.
    pub trust: bool,
    /// The largest payload of a frame, in bytes, from 1280 to 9216.
    pub mtu: Option<u16>,
    /// The guest's MAC address, in lower case; a random one for each machine if unset.
    pub mac: Option<String>,
    /// The bridge of the host's kernel, or the host's interface below a macvtap: the bridge of Open
    /// vSwitch if unset. No other kind has one.
    pub link: Option<String>,
    /// Static addresses of the guest; DHCP if there are none.
    #[serde(rename = "address")]
    pub addresses: Vec<StaticAddress>,
    /// The guest's gateways, at most one of each family. One outside of the addresses' networks is
    /// reached on the link all the same.
    #[serde(rename = "gateway")]
    pub gateways: Vec<IpAddr>,
    /// The guest's name servers.
    pub dns: Vec<IpAddr>,
    /// How much the guest may receive in a second.
    pub rate_in: Option<BitRate>,
    /// How much the guest may send in a second.
    pub rate_out: Option<BitRate>,
    /// How many pairs of queues it has; as many as the machine has vCPUs, up to 8, if unset. A user network
    /// and a macvtap have one.
    pub queues: Option<u16>,
    /// The ports of the host that lead to the guest's: of a user network, or on the managed network.
    pub publish: Vec<Publish>,
    /// The gateway of a user network stands for the host's loopback, so that the guest reaches the
    /// services that listen there.
    pub host_loopback: bool,
}

/// What a network interface is plugged into.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new kind, so adding one is
/// a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

const KINDS: [(&str, NetKind); 5] = [
    ("user", NetKind::User),
    ("vhost", NetKind::Vhost),
    ("tap", NetKind::Tap),
    ("bridge", NetKind::Bridge),
    ("macvtap", NetKind::Macvtap),
];

/// The least and the largest MTU, in bytes: what IPv6 needs (RFC 8200, 5), below which
/// cloud-hypervisor refuses it, and a jumbo frame, beyond which switches drop it.
const MTU: (u64, u64) = (1280, 9216);
/// The VLANs (IEEE 802.1Q): 0 and 4095 are reserved.
const VLAN: (u64, u64) = (1, 4094);
/// Those of a trunk, in which 0 stands for frames without a tag.
const TRUNK: (u64, u64) = (0, 4094);

/// What the nets before it have.
type Before<'a> =
    (&'a mut Names, &'a mut HashMap<String, usize>, &'a mut GuestNetwork, &'a mut Vec<Publish>);

impl NetTemplate {
    /// The interfaces of `template`. What is noted as wrong holds a value all the same.
    pub(crate) fn read_all(template: &Section<'_>, boot_vcpus: Option<u32>) -> Vec<Self> {
        let mut names = Names::default();
        let mut macs = HashMap::new();
        let mut network = GuestNetwork::default();
        let mut published = Vec::new();
        let mut nets = Vec::new();
        for section in template.sections("net", "template.vm.net") {
            let before = (&mut names, &mut macs, &mut network, &mut published);
            nets.push(Self::read(section, boot_vcpus, before));
        }
        nets
    }

    fn read(
        section: Section<'_>,
        boot_vcpus: Option<u32>,
        (names, macs, network, published): Before<'_>,
    ) -> Self {
        let name = name::read(&section, "name = \"main\"");
        names.add(&section, "net", &name);
        let kind = kind(&section);
        let mac = mac::read(&section, "mac");
        if let Some(mac) = &mac {
            let line = section.source.line(mac.span.start);
            if let Some(first) = macs.insert(mac.value.clone(), line) {
                let message = format!("a second net with the MAC address {:?}", mac.value);
                section.wrong(mac.span.clone(), message, &format!("line {first} has the first"));
            }
        }
        let publish = Publish::read_all(&section, "publish");
        Publish::refuse_duplicates(&section, &publish, published);
        let addresses = StaticAddress::read_all(&section, "address");
        let gateways = placed_hosts(&section, "gateway");
        network.check(&section, &addresses, &gateways);
        let net = Self {
            name: name.value,
            // What needs nothing set up on the host works everywhere.
            kind: kind.unwrap_or(NetKind::User),
            vlan: narrow(section.integer("vlan", VLAN.0, VLAN.1)),
            trunk: section
                .integers("trunk", TRUNK.0, TRUNK.1)
                .into_iter()
                .filter_map(|vlan| narrow(Some(vlan)))
                .collect(),
            trust: section.boolean("trust").unwrap_or(false),
            mtu: narrow(section.integer("mtu", MTU.0, MTU.1)),
            mac: mac.map(|mac| mac.value),
            link: device::read(&section, "link"),
            addresses: addresses.into_iter().map(|address| address.value).collect(),
            gateways: gateways.into_iter().map(|gateway| gateway.value).collect(),
            dns: hosts(&section, "dns"),
            rate_in: BitRate::read(&section, "rate_in"),
            rate_out: BitRate::read(&section, "rate_out"),
            queues: Vcpus::read_queues(&section, boot_vcpus),
            publish: publish.into_iter().map(|publish| publish.value).collect(),
            host_loopback: section.boolean("host_loopback").unwrap_or(false),
        };
        refuse_misplaced(&section, kind);
        if matches!(kind, Some(NetKind::Vhost | NetKind::Tap)) {
            refuse_unreachable(&section, &net);
        }
        if section.has("vlan") && section.has("trunk") {
            section.wrong(
                section.span_of("trunk"),
                "a net with both a vlan and a trunk",
                "a trunk can have one VLAN; leave one of the two away",
            );
        }
        match kind {
            Some(NetKind::Macvtap) if section.has("vlan") || section.has("trunk") => section.wrong(
                section.span_of(if section.has("vlan") { "vlan" } else { "trunk" }),
                "a macvtap has no VLAN",
                "create the VLAN on the host and name it as the link",
            ),
            Some(NetKind::Macvtap | NetKind::Bridge) if section.has("publish") => section.wrong(
                section.span_of("publish"),
                "a net outside of the managed network publishes no ports",
                "publish ports on a net of type user, vhost or tap",
            ),
            Some(NetKind::Macvtap) if section.has("queues") => section.wrong(
                section.span_of("queues"),
                "a macvtap has one pair of queues",
                "leave it away",
            ),
            Some(NetKind::Macvtap) if section.has("trust") => section.wrong(
                section.span_of("trust"),
                "a macvtap has no guard that it could be trusted without",
                "only ports of the bridge are guarded",
            ),
            Some(NetKind::Vhost | NetKind::Tap) if section.has("link") => section.wrong(
                section.span_of("link"),
                "only a bridge or a macvtap has a link",
                "a vhost or tap is plugged into the bridge of [network]",
            ),
            Some(NetKind::Bridge) if !section.has("link") => section.source.lacks(
                section.span.clone(),
                "a net on a bridge without a link",
                "add link = \"vmbr0\", the bridge of the host's kernel",
            ),
            _ => {}
        }
        section.finish();
        net
    }
}

/// Notes the ports that can't be published on a bridge.
fn refuse_unreachable(section: &Section<'_>, net: &NetTemplate) {
    let span = || section.span_of("publish");
    if net.publish.is_empty() {
        return;
    }
    if section.has("vlan") || section.has("trunk") {
        let help = "the managed network, by which ports are published, has no VLAN";
        section.wrong(span(), "a net in a VLAN publishes no ports", help);
    }
    if net.publish.iter().any(|publish| publish.address == Some(Ipv6Addr::LOCALHOST.into())) {
        let help = "the kernel lets nothing out with that address: publish at 127.0.0.1";
        section.wrong(span(), "no port of a bridge is published at ::1", help);
    }
}

/// Notes the keys that a net of that kind has not.
fn refuse_misplaced(section: &Section<'_>, kind: Option<NetKind>) {
    // A kind that is not known may well have them.
    if section.has("type") && kind.is_none() {
        return;
    }
    let is_user = kind.is_none_or(|kind| kind == NetKind::User);
    let refuse = |key: &str, message: &str, help: &str| {
        if section.has(key) {
            section.wrong(section.span_of(key), message, help);
        }
    };
    if is_user {
        let message = "a user network has no VLAN";
        refuse("vlan", message, "machines that share a VLAN are plugged into a bridge");
        refuse(
            "trust",
            "a user network has no guard",
            "leave it away: its frames reach passt alone",
        );
        let help = "passt has none; a net on a bridge has one";
        refuse("rate_in", "a user network has no rates", help);
        refuse("rate_out", "a user network has no rates", help);
        refuse("queues", "a user network has one pair of queues", "leave it away");
        let help = "it goes out by the host's own routes; a bridge and a macvtap have a link";
        refuse("link", "a user network has no link below it", help);
    } else {
        let help = "a machine on a bridge reaches the host by the bridge's address";
        refuse("host_loopback", "only a user network leads to the host's loopback", help);
    }
}

fn narrow(number: Option<Placed<u64>>) -> Option<u16> {
    u16::try_from(number?.value).ok()
}

/// The kind: a table `[template.vm.net.type.tap]`, which is empty, or short `type = "tap"`.
fn kind(section: &Section<'_>) -> Option<NetKind> {
    let value = section.get("type")?;
    match value.get_ref() {
        DeValue::String(_) => section.word("type", &KINDS),
        DeValue::Table(table) => {
            let table = Section::new(
                section.source,
                "template.vm.net.type",
                table,
                section.span_of("type"),
            );
            kind_of_table(&table)
        }
        _ => {
            section.wrong_type("type", value, "[template.vm.net.type.tap], or type = \"tap\"");
            None
        }
    }
}

fn kind_of_table(table: &Section<'_>) -> Option<NetKind> {
    let known = KINDS.map(|(word, _)| word);
    let mut found = None;
    for (index, (key, value)) in table.entries().into_iter().enumerate() {
        let kind = KINDS.iter().find(|(word, _)| *word == key.value).map(|(_, kind)| *kind);
        if kind.is_none() {
            table.source.unknown(key.span.clone(), "type", key.value, &known);
        } else if index > 0 {
            table.wrong(key.span.clone(), "a second type of the same net", "leave one away");
        }
        found = found.or(kind);
        let DeValue::Table(settings) = value.get_ref() else {
            let expected = format!("[template.vm.net.type.{}]", known[0]);
            table.wrong_type("type", value, &expected);
            continue;
        };
        let settings = Section::new(table.source, "type", settings, value.span());
        for (setting, _) in settings.entries() {
            let message = format!("the type has a key {:?}", setting.value);
            let help = "the keys of the net stand above the header of its type";
            table.wrong(setting.span, message, help);
        }
    }
    if table.entries().is_empty() {
        let help = format!("expected one of {}", known.join(", "));
        table.source.lacks(table.span.clone(), "a net without a type", &help);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn all(section: &Section<'_>) -> Option<Vec<NetTemplate>> {
        Some(NetTemplate::read_all(section, Some(2)))
    }

    #[test]
    fn each_spelling_of_the_type_is_understood() {
        for (text, kind) in [
            ("", NetKind::User),
            ("type = 'user'\npublish = '8080:80'\nhost_loopback = true", NetKind::User),
            ("[net.type.user]", NetKind::User),
            ("type = 'tap'", NetKind::Tap),
            ("type.vhost = {}", NetKind::Vhost),
            ("type = { macvtap = {} }", NetKind::Macvtap),
            ("[net.type.tap]", NetKind::Tap),
            ("[net.type]\nvhost = {}", NetKind::Vhost),
            ("type = 'bridge'\nlink = 'vmbr0'\nvlan = 12\ntrust = true", NetKind::Bridge),
            ("link = 'vmbr0'\ntrunk = [0, 12]\n[net.type.bridge]", NetKind::Bridge),
        ] {
            let nets = read(&format!("[[net]]\nname = 'a'\n{text}"), all).unwrap();
            assert_eq!(nets[0].kind, kind, "{text}");
        }
    }

    #[test]
    fn what_is_no_net_is_refused() {
        for (text, message) in [
            ("typ = 'tap'", "unknown key \"typ\", did you mean \"type\"?"),
            ("type = {}", "a net without a type"),
            ("type = 3", "\"type\" is a whole number"),
            ("type = 'bridge'", "a net on a bridge without a link"),
            ("type = 'bridge'\nlink = 'vm br'", "\"vm br\" cannot be a network device: it has ' '"),
            ("type = 'bond'", "unknown type \"bond\""),
            ("type = 'tep'", "unknown type \"tep\", did you mean \"tap\"?"),
            ("type.vhots = {}", "unknown type \"vhots\", did you mean \"vhost\"?"),
            ("type.tap = {}\ntype.macvtap = {}", "a second type of the same net"),
            ("type.tap = true", "\"type\" is true or false"),
            ("[net.type.tap]\nvlan = 12", "the type has a key \"vlan\""),
            ("type = 'tap'\nvlan = 0", "\"vlan\" is out of range"),
            ("type = 'tap'\nvlan = 4095", "\"vlan\" is out of range"),
            ("type = 'tap'\nvlan = '12'", "\"vlan\" is a text"),
            ("type = 'tap'\nmtu = 1279", "\"mtu\" is out of range"),
            ("type = 'tap'\nmtu = 9217", "\"mtu\" is out of range"),
            ("type = 'tap'\nmtu = 99999999999999999999", "\"mtu\" is out of range"),
            ("type = 'tap'\nlink = 'eth0'", "only a bridge or a macvtap has a link"),
            (
                "type = 'macvtap'\nlink = 'enp0s31f6.1234567'",
                "\"enp0s31f6.1234567\" cannot be a network device: it has 17 bytes, and 15 is the most",
            ),
            ("type = 'macvtap'\nvlan = 12", "a macvtap has no VLAN"),
            ("type = 'user'\nvlan = 12", "a user network has no VLAN"),
            ("link = 'eth0'", "a user network has no link below it"),
            (
                "type = 'macvtap'\npublish = '1:1'",
                "a net outside of the managed network publishes no ports",
            ),
            ("type = 'tap'\nvlan = 12\npublish = '1:1'", "a net in a VLAN publishes no ports"),
            ("type = 'tap'\npublish = '[::1]:1:1'", "no port of a bridge is published at ::1"),
            (
                "type = 'vhost'\nhost_loopback = true",
                "only a user network leads to the host's loopback",
            ),
            (
                "publish = ['80']",
                "\"80\" does not publish a port: it needs the host's port and the guest's",
            ),
            ("publish = [80]", "\"publish\" is a whole number"),
            (
                "publish = ['8080:80', '127.0.0.1:8080:80']",
                "the host's port 127.0.0.1:8080 is published twice",
            ),
            (
                "publish = ['127.0.0.2:8080:80', '127.0.0.1:8080:81']",
                "the host's port 8080 leads to two ports",
            ),
            ("type = 'macvtap'\ntrunk = [12]", "a macvtap has no VLAN"),
            ("type = 'macvtap'\nqueues = 1", "a macvtap has one pair of queues"),
            ("queues = 1", "a user network has one pair of queues"),
            ("rate_in = '1Mbit/s'", "a user network has no rates"),
            ("type = 'user'\nrate_out = '1Mbit/s'", "a user network has no rates"),
            ("type = 'tap'\nqueues = 3", "3 queues for 2 vCPUs"),
            ("type = 'tap'\nrate_in = 100", "\"rate_in\" is a whole number"),
            ("type = 'tap'\nrate_in = '100M'", "\"M\" is not a unit of a rate"),
            ("type = 'tap'\nrate_out = '1bit/s'", "\"1bit/s\" is beyond what a rate can be"),
            (
                "type = 'macvtap'\ntrust = true",
                "a macvtap has no guard that it could be trusted without",
            ),
            ("type = 'tap'\ntrust = 1", "\"trust\" is a whole number"),
            ("type = 'tap'\nvlan = 12\ntrunk = [12]", "a net with both a vlan and a trunk"),
            ("type = 'tap'\ntrunk = [12, 4095]", "\"trunk\" is out of range"),
            ("type = 'tap'\ntrunk = 'all'", "\"trunk\" is a text"),
            ("type = 'tap'\ntrunk = []", "\"trunk\" is empty"),
        ] {
            let text = format!("[[net]]\nname = 'a'\n{text}");
            assert_eq!(mistakes(&text, all), [message], "{text}");
        }
        let twice = "net = [{name = 'a', type = 'tap'}, {name = 'a', type = 'tap'}]";
        assert_eq!(mistakes(twice, all), ["a second net with the name \"a\""]);
        let twice = "net = [{name = 'a', publish = '1:1'}, {name = 'b', publish = '1:2'}]";
        assert_eq!(mistakes(twice, all), ["the host's port 1 is published twice"]);
        let twice = "net = [{name = 'a', type = 'tap', mac = '52:54:00:00:00:0a'},\n\
                     {name = 'b', type = 'tap', mac = '52:54:00:00:00:0A'}]";
        assert_eq!(
            mistakes(twice, all),
            ["a second net with the MAC address \"52:54:00:00:00:0a\""]
        );
    }
}
