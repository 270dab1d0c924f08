//! `[[template.vm.net]]`: a network interface, and what it is plugged into.

use std::net::IpAddr;

use serde::Serialize;
use toml::de::DeValue;

use crate::name;
use crate::network::device;
use crate::section::{Placed, Section, suggest};

/// `[[template.vm.net]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetTemplate {
    /// The name, unique in the template.
    pub name: String,
    /// The kind.
    #[serde(rename = "type")]
    pub kind: NetKind,
    /// The VLAN, from 1 to 4094; untagged if unset.
    pub vlan: Option<u16>,
    /// The largest payload of a frame, in bytes.
    pub mtu: Option<u16>,
    /// The guest's address; a random one for each machine if unset.
    pub mac: Option<String>,
    /// The host's interface below a macvtap; the switch's bridge if unset.
    pub link: Option<String>,
    /// Static addresses of the guest, each with its prefix's length; DHCP if there are none.
    #[serde(rename = "address")]
    pub addresses: Vec<String>,
    /// The guest's gateways.
    #[serde(rename = "gateway")]
    pub gateways: Vec<IpAddr>,
    /// The guest's name servers.
    pub dns: Vec<IpAddr>,
}

/// What a network interface is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetKind {
    /// A vhost-user port of Open vSwitch: the packets never enter the host's kernel.
    Vhost,
    /// A tap device, which is a port of Open vSwitch.
    Tap,
    /// A macvtap device on an interface of the host.
    Macvtap,
}

const KINDS: [(&str, NetKind); 3] =
    [("vhost", NetKind::Vhost), ("tap", NetKind::Tap), ("macvtap", NetKind::Macvtap)];

/// The least and the largest MTU, in bytes: cloud-hypervisor asks for the minimum of IPv6
/// (RFC 8200 §5), and larger frames than jumbo ones no switch forwards.
const MTU: (u64, u64) = (1280, 9216);
/// VLAN ids (IEEE 802.1Q): 0 and 4095 are reserved.
const VLAN: (u64, u64) = (1, 4094);

impl NetTemplate {
    pub(crate) fn read(section: Section<'_>) -> (Self, Placed<String>) {
        let name = name::read(&section);
        let small = |number: Option<Placed<u64>>| {
            number.and_then(|number| u16::try_from(number.value).ok())
        };
        let kind = kind(&section);
        let net = Self {
            name: name.value.clone(),
            kind: kind.unwrap_or(NetKind::Vhost),
            vlan: small(section.integer("vlan", VLAN.0, VLAN.1)),
            mtu: small(section.integer("mtu", MTU.0, MTU.1)),
            mac: mac(&section),
            link: device(&section, "link"),
            addresses: addresses(&section),
            gateways: ips(&section, "gateway"),
            dns: ips(&section, "dns"),
        };
        if section.has("link") && kind.is_some_and(|kind| kind != NetKind::Macvtap) {
            section.wrong(
                section.span.clone(),
                "only a macvtap has a link below it",
                "a vhost or tap is plugged into the bridge of [network]",
            );
        }
        section.finish();
        (net, name)
    }
}

/// The kind: `type = "tap"`, or a table `[template.vm.net.type.tap]`, which is empty.
fn kind(section: &Section<'_>) -> Option<NetKind> {
    let Some(value) = section.get("type") else {
        section.missing("type", "[template.vm.net.type.vhost]");
        return None;
    };
    if matches!(value.get_ref(), DeValue::String(_)) {
        return section.word("type", &KINDS);
    }
    let table = section.section("type", "template.vm.net.type")?;
    let known: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
    let mut found = None;
    for (index, (key, value)) in table.entries().enumerate() {
        if index > 0 {
            section.wrong(key.span, "a second type", "an interface has one");
            continue;
        }
        found = KINDS.iter().find(|(word, _)| *word == key.value).map(|(_, kind)| *kind);
        if found.is_none() {
            let help = suggest(key.value, &known);
            section.wrong(key.span.clone(), format!("unknown type {:?}", key.value), &help);
        }
        match value.get_ref() {
            DeValue::Table(settings) => {
                for key in settings.keys() {
                    let message = format!("unknown key {:?} in the type", key.get_ref());
                    section.wrong(key.span(), message, "vlan, mtu and mac stand beside the type");
                }
            }
            _ => section.wrong(
                value.span(),
                "the type is a table",
                "write [template.vm.net.type.tap]",
            ),
        }
    }
    if table.entries().next().is_none() {
        section.wrong(
            table.span.clone(),
            "no type",
            &format!("expected one of {}", known.join(", ")),
        );
    }
    found
}

/// A unicast MAC address: six bytes in hexadecimal, colons between them.
fn mac(section: &Section<'_>) -> Option<String> {
    let text = section.string("mac")?;
    let bytes: Vec<Option<u8>> = text
        .value
        .split(':')
        .map(|part| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        })
        .collect();
    match bytes[..] {
        [Some(first), Some(_), Some(_), Some(_), Some(_), Some(_)] => {
            // IEEE 802: the lowest bit of the first byte marks a group.
            if first & 1 == 1 {
                section.wrong(text.span, "a multicast address", "the first byte has to be even");
                return None;
            }
            Some(text.value.to_ascii_lowercase())
        }
        _ => {
            let message = format!("{:?} is not a MAC address", text.value);
            section.wrong(text.span, message, "expected for example 52:54:00:12:34:56");
            None
        }
    }
}

fn addresses(section: &Section<'_>) -> Vec<String> {
    let mut addresses = Vec::new();
    for text in section.strings("address") {
        let parsed = text.value.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            (prefix <= if address.is_ipv4() { 32 } else { 128 })
                .then(|| format!("{address}/{prefix}"))
        });
        match parsed {
            Some(address) => addresses.push(address),
            None => section.wrong(
                text.span,
                format!("{:?} is not an address with the length of its prefix", text.value),
                "expected for example 192.0.2.10/24",
            ),
        }
    }
    addresses
}

fn ips(section: &Section<'_>, key: &'static str) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for text in section.strings(key) {
        match text.value.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => section.wrong(
                text.span,
                format!("{:?} is not an IP address", text.value),
                "expected for example 192.0.2.1",
            ),
        }
    }
    ips
}
