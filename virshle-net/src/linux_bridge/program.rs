//! What a guest may say on a tap, as programs of classic BPF: what [`Guard`](crate::Guard) is by flows,
//! for a bridge that has none.
//!
//! A program that reads past the end of a frame lets it pass, so each length is looked at first.
//!
//! It is longer than other files: the few instructions and what is written in them are read together.
//!
//! # References
//!
//! `Documentation/networking/filter.rst` of Linux.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{MacAddr, Vlans};

/// One instruction: `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A program that says of each frame whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program(Vec<Instruction>);

/// `TC_ACT_UNSPEC`, for the next filter, and `TC_ACT_SHOT`.
const PASS: u32 = u32::MAX;
const DROP: u32 = 2;

/// Loads of the frame: at a place, and relative to X.
const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
const WORD_AT_X: u16 = 0x40;
const HALF_AT_X: u16 = 0x48;
const BYTE_AT_X: u16 = 0x50;
const LENGTH: u16 = 0x80;
/// Four times the lower half of a byte: the length of an IPv4 header.
const X_HEADER: u16 = 0xb1;
const X_LENGTH: u16 = 0x81;
const X_IMMEDIATE: u16 = 0x01;
/// The cells of memory.
const LOAD: u16 = 0x60;
const STORE: u16 = 0x02;
const X_LOAD: u16 = 0x61;
const X_STORE: u16 = 0x03;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const A_TO_X: u16 = 0x07;
const X_TO_A: u16 = 0x87;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE_X: u16 = 0x2d;
const IF_FROM_X: u16 = 0x3d;
const IF_FROM: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where the kernel keeps a frame's outer tag, which is not in the frame (`SKF_AD_VLAN_TAG_PRESENT`).
const HAS_TAG: u32 = 0xffff_f000 + 48;

/// Cells: the number of the header that follows, and X while it is needed for another thing.
const NEXT: u32 = 0;
const KEPT_X: u32 = 1;
const OPTION_LENGTH: u32 = 2;

const SOURCE: u32 = 6;
const ETHER_TYPE: u32 = 12;
const ARP: u32 = 0x0806;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
const DHCP_SERVER: u32 = 67;
const DHCPV6_SERVER: u32 = 547;
const ROUTER_ADVERTISEMENT: u32 = 134;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;
const REDIRECT: u32 = 137;
/// Hop-by-hop options, routing and destination options: their length is in units of 8 bytes.
const EXTENSIONS: [u32; 3] = [0, 43, 60];
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
/// How many headers, and options of neighbour discovery, are looked at; nobody has more.
const MOST_HEADERS: usize = 6;
const MOST_OPTIONS: usize = 4;
/// fe80::/10.
const LINK_LOCAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

impl Program {
    /// Of the frames that a guest sends: those that it may send. `None` if all are.
    pub(super) fn of_guest(
        mac: MacAddr,
        addresses: &[IpAddr],
        vlans: &Vlans,
        is_trusted: bool,
    ) -> Option<Self> {
        let mut code = match (vlans, is_trusted) {
            (Vlans::Trunk(_), true) => return None,
            (Vlans::Trunk(_), false) => without_tag_in_frame(),
            _ => without_tag(),
        };
        if !is_trusted {
            code.extend(own_frames(mac, addresses));
        }
        Some(Self::ending(code))
    }

    /// Of the frames that a guest gets: those without a tag. `None` if it gets tags.
    pub(super) fn to_guest(vlans: &Vlans) -> Option<Self> {
        match vlans {
            Vlans::Trunk(_) => None,
            _ => Some(Self::ending(without_tag())),
        }
    }

    /// None at all.
    pub(super) fn closed() -> Self {
        Self(vec![give(RETURN, DROP)])
    }

    fn ending(mut code: Code) -> Self {
        code.push(give(RETURN, PASS));
        Self(code)
    }

    /// How many instructions it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// As the kernel takes it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let bytes = |one: &Instruction| {
            let jumps = [one.if_true, one.if_false];
            [&one.code.to_ne_bytes()[..], &jumps, &one.value.to_ne_bytes()].concat()
        };
        self.0.iter().flat_map(bytes).collect()
    }
}

type Code = Vec<Instruction>;

fn give(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

/// Goes past `code`.
fn past(code: &Code) -> Instruction {
    // No program is that long.
    give(JUMP, u32::try_from(code.len()).unwrap_or(u32::MAX))
}

/// Drops the frame unless A is `value`.
fn require(value: u32) -> Code {
    vec![jump(IF_EQUAL, value, 1, 0), give(RETURN, DROP)]
}

/// Drops the frame if A is `value`.
fn refuse(value: u32) -> Code {
    vec![jump(IF_EQUAL, value, 0, 1), give(RETURN, DROP)]
}

/// Takes the steps of `code` if A is `value`.
fn when(value: u32, code: Code) -> Code {
    let head = vec![jump(IF_EQUAL, value, 1, 0), past(&code)];
    [head, code].concat()
}

/// Drops the frame unless it has `bytes` bytes.
fn require_length(bytes: u32) -> Code {
    vec![give(LENGTH, 0), jump(IF_FROM, bytes, 1, 0), give(RETURN, DROP)]
}

/// Drops the frame unless it has `bytes` bytes from X on.
fn require_from_x(bytes: u32) -> Code {
    vec![
        give(X_STORE, KEPT_X),
        give(X_TO_A, 0),
        give(ADD, bytes),
        give(X_LENGTH, 0),
        jump(IF_ABOVE_X, 0, 0, 1),
        give(RETURN, DROP),
        give(X_LOAD, KEPT_X),
    ]
}

/// Drops the frame unless the MAC address at `at` is `mac`.
fn require_mac(word: u16, half: u16, at: u32, mac: MacAddr) -> Code {
    let [a, b, c, d, e, f] = mac.bytes();
    let first = [vec![give(word, at)], require(u32::from_be_bytes([a, b, c, d]))];
    let last = [vec![give(half, at + 4)], require(u32::from_be_bytes([0, 0, e, f]))];
    [first, last].concat().concat()
}

/// Drops the frame unless the IPv6 address, whose words `load` loads, has one of the prefixes.
fn require_address(load: impl Fn(u32) -> Instruction, prefixes: &[(Ipv6Addr, u32)]) -> Code {
    let mut code = vec![give(RETURN, DROP)];
    for (prefix, bits) in prefixes {
        let mut words = Vec::new();
        let bytes = prefix.octets();
        for (place, word) in (0..4).zip(bytes.chunks_exact(4)) {
            let bits = bits.saturating_sub(32 * place).min(32);
            if bits == 0 {
                break;
            }
            let mask = u32::MAX << (32 - bits);
            let word = word.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
            words.push((vec![load(4 * place), give(AND, mask)], word & mask));
        }
        let mut found = vec![past(&code)];
        for (load, word) in words.into_iter().rev() {
            found = [load, when(word, found)].concat();
        }
        code = [found, code].concat();
    }
    code
}

/// Drops a frame that has a tag, or one in the other.
fn without_tag() -> Code {
    [vec![give(WORD, HAS_TAG)], require(0), without_tag_in_frame()].concat()
}

/// Drops a frame that has a tag behind its outer one, which the kernel takes out.
fn without_tag_in_frame() -> Code {
    let mut code = vec![give(HALF, ETHER_TYPE)];
    code.extend(TAGS.into_iter().flat_map(refuse));
    code
}

/// Drops what the machine of this MAC address has no business to say.
fn own_frames(mac: MacAddr, addresses: &[IpAddr]) -> Code {
    let (mut known4, mut known6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => known4.push(*address),
            IpAddr::V6(address) => known6.push(*address),
        }
    }
    let mut code = require_mac(WORD, HALF, SOURCE, mac);
    // Spanning tree and its like: by those a switch shuts the host's own port.
    code.extend([give(HALF, 4), give(AND, 0xfff0), jump(IF_EQUAL, 0, 0, 3)]);
    code.extend([give(WORD, 0), jump(IF_EQUAL, 0x0180_c200, 0, 1), give(RETURN, DROP)]);
    code.push(give(HALF, ETHER_TYPE));
    for (kind, block) in [(ARP, arp(mac, &known4)), (IPV4, ipv4()), (IPV6, ipv6(mac, &known6))] {
        code.extend(when(kind, [block, vec![give(RETURN, PASS)]].concat()));
    }
    code
}

fn arp(mac: MacAddr, known: &[Ipv4Addr]) -> Code {
    let mut code = require_length(42);
    // Of Ethernet and IPv4: in another form the addresses are elsewhere.
    code.extend([vec![give(WORD, 14)], require(0x0001_0800)].concat());
    code.extend([vec![give(HALF, 18)], require(0x0604)].concat());
    code.extend(require_mac(WORD, HALF, 22, mac));
    if !known.is_empty() {
        code.push(give(WORD, 28));
        // A probe for a double comes from no address yet (RFC 5227).
        let all = known.iter().copied().chain([Ipv4Addr::UNSPECIFIED]);
        code.extend(all.flat_map(|ip| when(ip.into(), vec![give(RETURN, PASS)])));
        code.push(give(RETURN, DROP));
    }
    code
}

fn ipv4() -> Code {
    let udp = [
        vec![give(HALF, 20), give(AND, 0x1fff)],
        // A later piece has no ports.
        when(
            0,
            [
                vec![give(X_HEADER, 14)],
                require_from_x(16),
                vec![give(HALF_AT_X, 14)],
                refuse(DHCP_SERVER),
            ]
            .concat(),
        ),
    ];
    [require_length(34), vec![give(BYTE, 23)], when(UDP, udp.concat())].concat()
}

fn ipv6(mac: MacAddr, known: &[Ipv6Addr]) -> Code {
    let start =
        [require_length(54), vec![give(BYTE, 20), give(STORE, NEXT), give(X_IMMEDIATE, 54)]];
    let udp = [require_from_x(2), vec![give(HALF_AT_X, 0)], refuse(DHCPV6_SERVER)];
    let upper = [
        vec![give(LOAD, NEXT)],
        when(UDP, [udp.concat(), vec![give(RETURN, PASS)]].concat()),
        when(ICMPV6, icmpv6(mac, known)),
    ];
    [start.concat(), headers(), upper.concat()].concat()
}

/// Goes past the extension headers: the number of what follows is in its cell then, its place in X.
fn headers() -> Code {
    let mut code = vec![give(LOAD, NEXT)];
    code.extend(EXTENSIONS.into_iter().chain([FRAGMENT, AUTHENTICATION]).flat_map(refuse));
    for _ in 0..MOST_HEADERS {
        // The number of the next one, and A times `1 << shift`, with `more`, further on.
        let extension = |shift: u32, more: u32| {
            [
                require_from_x(2),
                vec![give(BYTE_AT_X, 0), give(STORE, NEXT), give(BYTE_AT_X, 1)],
                vec![give(ADD, more), give(SHIFT_LEFT, shift), give(ADD_X, 0), give(A_TO_X, 0)],
            ]
            .concat()
        };
        let fragment = [
            require_from_x(8),
            vec![give(HALF_AT_X, 2), give(AND, 0xfff8)],
            // What this says is in an earlier piece.
            vec![jump(IF_EQUAL, 0, 1, 0), give(RETURN, PASS)],
            vec![give(BYTE_AT_X, 0), give(STORE, NEXT)],
            vec![give(X_TO_A, 0), give(ADD, 8), give(A_TO_X, 0)],
        ]
        .concat();
        let kinds = EXTENSIONS.map(|kind| (kind, extension(3, 1)));
        let others = [(FRAGMENT, fragment), (AUTHENTICATION, extension(2, 2))];
        // After one of them the step ends; with none, the headers do.
        let mut step = vec![past(&code)];
        for (kind, block) in kinds.into_iter().chain(others) {
            let block = [block, vec![past(&step)]].concat();
            step = [when(kind, block), step].concat();
        }
        code = [vec![give(LOAD, NEXT)], step, code].concat();
    }
    code
}

fn icmpv6(mac: MacAddr, known: &[Ipv6Addr]) -> Code {
    // Which link-local address a guest takes is not known.
    let prefixes: Vec<_> = known.iter().map(|ip| (*ip, 128)).chain([LINK_LOCAL]).collect();
    // To find a double it is asked from no address (RFC 4862).
    let sources: Vec<_> = prefixes.iter().copied().chain([(Ipv6Addr::UNSPECIFIED, 128)]).collect();
    let (mut source, mut target) = (Code::new(), Code::new());
    if !known.is_empty() {
        source = require_address(|place| give(WORD, 22 + place), &sources);
        target = require_address(|place| give(WORD_AT_X, 8 + place), &prefixes);
    }
    let neighbour = |address: Code| [require_from_x(24), address, options(mac)].concat();
    [
        require_from_x(1),
        vec![give(BYTE_AT_X, 0)],
        refuse(ROUTER_ADVERTISEMENT),
        refuse(REDIRECT),
        when(SOLICITATION, neighbour(source)),
        when(ADVERTISEMENT, neighbour(target)),
    ]
    .concat()
}

/// Passes a message of neighbour discovery whose options name this MAC address, or none.
fn options(mac: MacAddr) -> Code {
    let at_end = || {
        // A is X here, and X is the length.
        vec![
            give(X_STORE, KEPT_X),
            give(X_TO_A, 0),
            give(X_LENGTH, 0),
            jump(IF_FROM_X, 0, 0, 1),
            give(RETURN, PASS),
            give(X_LOAD, KEPT_X),
        ]
    };
    let mut code = vec![give(X_TO_A, 0), give(ADD, 24), give(A_TO_X, 0)];
    for _ in 0..MOST_OPTIONS {
        let own = require_mac(WORD_AT_X, HALF_AT_X, 2, mac);
        code.extend(
            [
                at_end(),
                require_from_x(8),
                vec![give(BYTE_AT_X, 1)],
                refuse(0),
                vec![give(STORE, OPTION_LENGTH), give(BYTE_AT_X, 0)],
                // The sender's and the target's link-layer address.
                when(1, [own.clone(), vec![give(BYTE_AT_X, 0)]].concat()),
                when(2, own),
                vec![give(LOAD, OPTION_LENGTH), give(SHIFT_LEFT, 3), give(ADD_X, 0)],
                vec![give(A_TO_X, 0)],
            ]
            .concat(),
        );
    }
    [code, at_end(), vec![give(RETURN, DROP)]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel takes of one program (`BPF_MAXINSNS`).
    const MOST: usize = 4096;

    #[test]
    fn programs_of_many_addresses_are_taken_and_every_jump_ends_within() {
        let v4 = (1..=30).map(|last| IpAddr::from([192, 0, 2, last]));
        let v6 = (1..=30).map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        let addresses: Vec<IpAddr> = v4.chain(v6).collect();
        let mac = MacAddr::new([0x52, 0x54, 0, 0, 0, 1]);
        for vlans in [Vlans::Untagged, Vlans::Access(12), Vlans::Trunk([0, 12].into())] {
            let guest = Program::of_guest(mac, &addresses, &vlans, false).unwrap();
            for program in [Some(guest), Program::to_guest(&vlans)].into_iter().flatten() {
                assert!(program.len() < MOST, "{}", program.len());
                assert_eq!(program.bytes().len(), 8 * program.len());
                for (place, one) in program.0.iter().enumerate() {
                    let longest = match one.code {
                        JUMP => usize::try_from(one.value).unwrap(),
                        _ => one.if_true.max(one.if_false).into(),
                    };
                    assert!(place + longest + 1 < program.len() || one.code == RETURN, "{place}");
                }
            }
        }
    }

    #[test]
    fn who_is_trusted_with_tags_is_not_looked_at() {
        let (mac, trunk) = (MacAddr::new([2; 6]), Vlans::Trunk([12].into()));
        assert_eq!(Program::of_guest(mac, &[], &trunk, true), None);
        assert_eq!(Program::to_guest(&trunk), None);
        let untagged = Program::of_guest(mac, &[], &Vlans::Untagged, true);
        assert_eq!(untagged, Program::to_guest(&Vlans::Untagged));
    }
}
