//! What guests say, genuine and forged, and what of it is heard.

use std::net::{Ipv4Addr, Ipv6Addr};

use virshle_testkit::{Frame, GuestNic};

pub(crate) const FORGED: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xbb];
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ANOTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Whoever speaks: its interface and its addresses.
pub(crate) trait Speaker {
    fn nic(&self) -> &GuestNic;
    fn mac(&self) -> [u8; 6];
    fn ip(&self) -> Ipv4Addr;

    /// A request for 192.0.2.`marker`.
    fn marked(&self, marker: u8) -> Frame {
        Frame::arp_request(self.mac(), self.ip(), v4(marker))
    }
}

/// The frames of these that reach `to`: a request that may pass is sent behind each.
pub(crate) fn passed(
    from: &impl Speaker,
    to: &impl Speaker,
    frames: &[(&'static str, Frame)],
) -> Vec<&'static str> {
    to.nic().received();
    let mut passed = Vec::new();
    for (what, frame) in frames {
        from.nic().send(frame);
        from.nic().send(&from.marked(99));
        let heard = to.nic().receive_until(|frame| frame[..] == from.marked(99).bytes()[..]);
        if heard.len() > 1 {
            passed.push(*what);
        }
    }
    passed
}

pub(crate) fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

/// What a machine has to be able to say.
pub(crate) fn genuine(machine: &impl Speaker) -> Vec<(&'static str, Frame)> {
    let (mac, all) = (machine.mac(), Ipv4Addr::BROADCAST);
    let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    vec![
        ("arp request", Frame::arp_request(mac, machine.ip(), v4(9))),
        ("arp reply", Frame::arp_reply(mac, machine.ip())),
        ("arp probe", Frame::arp_request(mac, Ipv4Addr::UNSPECIFIED, machine.ip())),
        ("dhcp question", Frame::udp4(mac, (Ipv4Addr::UNSPECIFIED, 68), (all, 67), b"?")),
        ("dhcpv6 question", Frame::udp6(mac, (LINK_LOCAL, 546), (nodes, 547), b"?")),
        ("udp", Frame::udp4(mac, (machine.ip(), 53), (v4(9), 5000), b"x")),
        ("nd of its own", Frame::neighbour_advertisement(mac, GLOBAL, GLOBAL)),
        ("nd link-local", Frame::neighbour_advertisement(mac, LINK_LOCAL, LINK_LOCAL)),
    ]
}

/// What no machine may say.
pub(crate) fn forged(machine: &impl Speaker) -> Vec<(&'static str, Frame)> {
    let (mac, ip) = (machine.mac(), machine.ip());
    vec![
        ("mac", Frame::udp4(mac, (ip, 1), (v4(9), 2), b"x").sent_as(FORGED)),
        ("mac in arp", Frame::arp_request(mac, ip, v4(9)).sent_as(FORGED)),
        ("arp sender", Frame::arp_reply(mac, ip).arp_sender(FORGED)),
        ("dhcp answer", Frame::udp4(mac, (ip, 67), (Ipv4Addr::BROADCAST, 68), b"!")),
        ("dhcpv6 answer", Frame::udp6(mac, (LINK_LOCAL, 547), (GLOBAL, 546), b"!")),
        ("router", Frame::router_advertisement(mac, LINK_LOCAL, GLOBAL)),
        ("nd for another mac", Frame::neighbour_advertisement(FORGED, GLOBAL, GLOBAL).sent_as(mac)),
        ("arp in a tag in a tag", Frame::arp_reply(mac, v4(2)).tagged_twice(0)),
    ]
}

/// What a machine whose addresses are known may not say either.
pub(crate) fn of_another(machine: &impl Speaker) -> Vec<(&'static str, Frame)> {
    let mac = machine.mac();
    vec![
        ("another's arp", Frame::arp_reply(mac, v4(2))),
        ("another's nd", Frame::neighbour_advertisement(mac, GLOBAL, ANOTHER)),
    ]
}

pub(crate) fn names(frames: &[(&'static str, Frame)]) -> Vec<&'static str> {
    frames.iter().map(|(name, _)| *name).collect()
}
