//! Which frames pass between ports, written to taps and read from them.

use std::net::Ipv4Addr;

use virshle_net::{Device, Port, PortRequest, Tap, Vlans};
use virshle_testkit::{Frame, GuestNic};
use virshle_testkit_macros::test_on;

use crate::speech::Speaker;
use crate::{Lab, PATIENCE};

/// A machine: its tap, and what stands in for its guest.
pub(crate) struct Machine {
    pub(crate) nic: GuestNic,
    pub(crate) mac: [u8; 6],
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: Port,
    _tap: Tap,
}

impl Machine {
    pub(crate) fn new(
        lab: &mut Lab,
        number: u8,
        ask: impl FnOnce(PortRequest) -> PortRequest,
    ) -> Self {
        let tap = Tap::create(&format!("tap{number}").parse().unwrap()).unwrap();
        Device::isolate(tap.name()).unwrap();
        tap.set_up().unwrap();
        let request = ask(PortRequest::tap(tap.name().clone()));
        let port = lab.switch.add_ports("br0", &[request], PATIENCE).unwrap().remove(0);
        let nic = GuestNic::on(tap.as_fds()[0]).unwrap();
        let (mac, ip) = ([0x52, 0x54, 0, 0, 0, number], Ipv4Addr::new(192, 0, 2, number));
        Self { nic, mac, ip, port, _tap: tap }
    }

    /// Asks everybody, and whether another machine is `heard`.
    fn asks(&self) -> Frame {
        Frame::arp_request(self.mac, self.ip, Ipv4Addr::new(192, 0, 2, 200))
    }
}

/// What has come from `from`, up to its frame with the marker: `(tag, marker)` of each.
fn heard(at: &Machine, marker: u8) -> Vec<(Option<u16>, u8)> {
    let tag = |frame: &[u8]| {
        (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]) & 0xfff)
    };
    let marker_of = |frame: &[u8]| frame[if tag(frame).is_some() { 45 } else { 41 }];
    let frames = at.nic.receive_until(|frame| frame.len() >= 46 && marker_of(frame) == marker);
    frames.iter().map(|frame| (tag(frame), marker_of(frame))).collect()
}

impl Speaker for Machine {
    fn nic(&self) -> &GuestNic {
        &self.nic
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn ip(&self) -> Ipv4Addr {
        self.ip
    }
}

/// Regression: a port without a VLAN was a trunk of every VLAN, both ways.
#[test_on(Ovs)]
fn ovs_a_tagged_frame_reaches_none_but_its_trunk() {
    let mut lab = Lab::new().bridged();
    let untagged = Machine::new(&mut lab, 1, |port| port);
    let twelve = Machine::new(&mut lab, 2, |port| port.vlan(12));
    let trunk = Machine::new(&mut lab, 3, |port| port.trunk([12, 13]));
    let other = Machine::new(&mut lab, 4, |port| port);
    let thirteen = Machine::new(&mut lab, 5, |port| port.vlan(13));

    // Of an untagged machine: what is tagged stops, what isn't goes to its own kind alone.
    untagged.nic.send(&untagged.marked(101).tagged(12));
    untagged.nic.send(&untagged.marked(102).tagged(13));
    untagged.nic.send(&untagged.marked(103));
    assert_eq!(heard(&other, 103), [(None, 103)]);

    // Of a machine in a VLAN: to the trunk with its tag, and not to those without.
    twelve.nic.send(&twelve.marked(104).tagged(13));
    twelve.nic.send(&twelve.marked(105));
    assert_eq!(heard(&trunk, 105), [(Some(12), 105)]);

    // Of the trunk: by tag; an untagged frame and another VLAN's stop.
    trunk.nic.send(&trunk.marked(106).tagged(14));
    trunk.nic.send(&trunk.marked(107));
    trunk.nic.send(&trunk.marked(108).tagged(12));
    trunk.nic.send(&trunk.marked(109).tagged(13));
    assert_eq!(heard(&twelve, 108), [(None, 108)]);
    assert_eq!(heard(&thirteen, 109), [(None, 109)]);

    untagged.nic.send(&untagged.asks());
    other.nic.send(&other.marked(110));
    assert_eq!(heard(&untagged, 110), [(None, 110)]);
    let vlans: Vec<_> =
        lab.switch.owned_ports().unwrap().into_iter().map(|port| port.vlans).collect();
    let trunked = Vlans::Trunk([12, 13].into());
    let expected =
        [Vlans::Untagged, Vlans::Access(12), trunked, Vlans::Untagged, Vlans::Access(13)];
    assert_eq!(vlans, expected);
}
