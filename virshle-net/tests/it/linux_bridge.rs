//! Taps as ports of a real bridge of the kernel, and what a guest can't say on one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use virshle_net::{
    Device, DeviceRates, InterfaceName, LinuxBridge, LinuxPort, MacAddr, NetError, Tap,
};
use virshle_testkit::{Frame, GuestNic, NetNamespace};
use virshle_testkit_macros::test_on;

use crate::speech::{
    FORGED, GLOBAL, LINK_LOCAL, Speaker, forged, genuine, names, of_another, passed, v4,
};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {words}");
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

/// A bridge `vmbr0` in a namespace of its own, with these settings.
fn bridge(settings: &str) -> (NetNamespace, LinuxBridge) {
    let namespace = NetNamespace::enter().unwrap();
    // The host says nothing of its own on it.
    for of in ["default", "all"] {
        let path = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
        if std::path::Path::new(&path).exists() {
            std::fs::write(path, "1").unwrap();
        }
    }
    ip(&format!("link add vmbr0 type bridge mcast_snooping 0 {settings}"));
    ip("link set vmbr0 up");
    (namespace, LinuxBridge::find(&name("vmbr0")).unwrap())
}

#[expect(clippy::print_stderr, reason = "as of any part that is absent")]
fn skipped(part: &str) {
    eprintln!("skipped: needs {part}");
}

/// Whether this kernel keeps VLANs apart.
fn filters_vlans() -> bool {
    let _namespace = NetNamespace::enter().unwrap();
    let made = Command::new("ip")
        .args(["link", "add", "vmbr0", "type", "bridge", "vlan_filtering", "1"])
        .output();
    let filters = made.is_ok_and(|made| made.status.success());
    if !filters {
        skipped("a kernel whose bridges filter VLANs");
    }
    filters
}

struct Machine {
    nic: GuestNic,
    number: u8,
    tap: Tap,
}

impl Speaker for Machine {
    fn nic(&self) -> &GuestNic {
        &self.nic
    }

    fn mac(&self) -> [u8; 6] {
        [0x52, 0x54, 0, 0, 0, self.number]
    }

    fn ip(&self) -> Ipv4Addr {
        v4(self.number)
    }
}

impl Machine {
    fn new(number: u8) -> Self {
        let tap = Tap::create(&name(&format!("tap{number}"))).unwrap();
        let nic = GuestNic::on(tap.as_fds()[0]).unwrap();
        Self { nic, number, tap }
    }

    fn port(&self) -> LinuxPort {
        LinuxPort::new(MacAddr::new(self.mac()))
    }

    fn on(self, bridge: &LinuxBridge, port: impl FnOnce(LinuxPort) -> LinuxPort) -> Self {
        let port = port(self.port());
        port.attach(self.tap.name(), bridge).unwrap();
        assert_eq!(port.lapses(self.tap.name(), bridge).unwrap(), [""; 0]);
        self.tap.set_up().unwrap();
        self
    }
}

#[test_on(Root)]
fn root_a_machine_on_a_bridge_of_the_kernel_speaks_for_itself_alone() {
    let (_namespace, bridge) = bridge("");
    let trusted = |port: LinuxPort| port.trusted(true);
    let [one, two] = [1, 2].map(|number| Machine::new(number).on(&bridge, trusted));
    // Two tags aside all of it passes: these frames are what they are taken for.
    let mut all = [genuine(&one), forged(&one), of_another(&one)].concat();
    all.retain(|(what, _)| *what != "arp in a tag in a tag");
    assert_eq!(passed(&one, &two, &all), names(&all));
    assert_eq!(passed(&one, &two, &forged(&one)).len(), forged(&one).len() - 1);

    one.port().attach(one.tap.name(), &bridge).unwrap();
    let unknown = [genuine(&one), of_another(&one)].concat();
    assert_eq!(passed(&one, &two, &unknown), names(&unknown));
    let before = LinuxPort::dropped_frames(one.tap.name()).unwrap().unwrap();
    assert_eq!(passed(&one, &two, &forged(&one)), [""; 0]);
    let after = LinuxPort::dropped_frames(one.tap.name()).unwrap().unwrap();
    assert_eq!(after - before, forged(&one).len() as u64);

    let known = one.port().addresses([IpAddr::V4(one.ip()), IpAddr::V6(GLOBAL)]);
    let lapses = known.lapses(one.tap.name(), &bridge).unwrap();
    assert_eq!(lapses, ["tap tap1 is not guarded"]);
    known.attach(one.tap.name(), &bridge).unwrap();
    assert_eq!(known.lapses(one.tap.name(), &bridge).unwrap(), [""; 0]);
    assert_eq!(passed(&one, &two, &genuine(&one)), names(&genuine(&one)));
    let forgeries = [forged(&one), of_another(&one)].concat();
    assert_eq!(passed(&one, &two, &forgeries), [""; 0]);
    assert_eq!(passed(&two, &one, &genuine(&two)), names(&genuine(&two)));
}

/// What a guest hides in headers and pieces, where a look at a fixed place would not find it.
#[test_on(Root)]
fn root_what_is_hidden_behind_headers_is_found() {
    let (_namespace, bridge) = bridge("");
    let one = Machine::new(1).on(&bridge, |port| port.addresses([IpAddr::V6(GLOBAL)]));
    let two = Machine::new(2).on(&bridge, |port| port);
    let mac = one.mac();
    let router = || Frame::router_advertisement(mac, LINK_LOCAL, GLOBAL);
    let claim = |of: Ipv6Addr| Frame::neighbour_advertisement(mac, LINK_LOCAL, of);
    let dhcp = |port| Frame::udp6(mac, (LINK_LOCAL, port), (GLOBAL, 546), b"!");
    let another: Ipv6Addr = "2001:db8::2".parse().unwrap();
    let frames = [
        ("router behind options", router().behind(&[0])),
        ("router behind many", router().behind(&[60, 0, 43, 60])),
        ("router behind too many", router().behind(&[60; 7])),
        ("router in the first piece", router().behind(&[44])),
        ("router behind a signature", router().behind(&[51, 60])),
        ("claim behind options", claim(another).behind(&[60, 60])),
        ("dhcp behind options", dhcp(547).behind(&[60])),
        ("cut claim", claim(GLOBAL).cut(70)),
        ("cut dhcp", dhcp(546).cut(55)),
        ("cut headers", dhcp(546).behind(&[60, 60]).cut(63)),
        (
            "spanning tree",
            Frame::udp4(mac, (v4(1), 1), (v4(2), 2), b"").sent_to([1, 0x80, 0xc2, 0, 0, 0]),
        ),
    ];
    assert_eq!(passed(&one, &two, &frames), [""; 0]);
    let genuine = [
        ("own claim behind options", claim(GLOBAL).behind(&[60, 43])),
        ("own claim behind six", claim(GLOBAL).behind(&[60; 6])),
        ("udp behind options", dhcp(546).behind(&[0, 60])),
        ("udp in the first piece", dhcp(546).behind(&[44])),
        ("udp behind a signature", dhcp(546).behind(&[51])),
        ("without a next header", dhcp(546).behind(&[60]).next_header(59)),
    ];
    assert_eq!(passed(&one, &two, &genuine), names(&genuine));
}

#[test_on(Root)]
fn root_a_tap_that_was_taken_off_its_bridge_is_put_back() {
    let (_namespace, bridge) = bridge("");
    let [one, two] = [1, 2].map(|number| Machine::new(number).on(&bridge, |port| port));
    let (tap, port) = (one.tap.name().clone(), one.port());
    let tagged = [("tagged", Frame::arp_request(one.mac(), one.ip(), v4(7)).tagged(12))];
    assert_eq!(passed(&one, &two, &tagged), [""; 0]);

    ip("link set tap1 nomaster");
    let lapses = port.lapses(&tap, &bridge).unwrap();
    assert_eq!(lapses, ["tap tap1 is not on bridge vmbr0"]);
    port.attach(&tap, &bridge).unwrap();
    assert_eq!(port.lapses(&tap, &bridge).unwrap(), [""; 0]);
    assert_eq!(passed(&one, &two, &genuine(&one)), names(&genuine(&one)));
    assert_eq!(passed(&one, &two, &forged(&one)), [""; 0]);

    // A bridge that was deleted, and another one of its name.
    ip("link del vmbr0");
    assert!(matches!(LinuxBridge::find(&bridge.name), Err(NetError::NoLinuxBridge { .. })));
    ip("link add vmbr0 type bridge");
    ip("link set vmbr0 up");
    let again = LinuxBridge::find(&bridge.name).unwrap();
    assert_eq!(port.lapses(&tap, &again).unwrap(), ["tap tap1 is not on bridge vmbr0"]);
    for machine in [&one, &two] {
        machine.port().attach(machine.tap.name(), &again).unwrap();
    }
    assert_eq!(passed(&one, &two, &genuine(&one)), names(&genuine(&one)));

    // Filters that were taken away.
    assert!(
        Command::new("tc")
            .args(["qdisc", "del", "dev", "tap1", "clsact"])
            .status()
            .unwrap()
            .success()
    );
    let lapses = port.lapses(&tap, &again).unwrap();
    assert_eq!(lapses, ["tap tap1 is not guarded", "tap tap1 is open to tagged frames"]);
    port.attach(&tap, &again).unwrap();
    assert_eq!(port.lapses(&tap, &again).unwrap(), [""; 0]);
    assert_eq!(
        passed(&one, &two, &[("forged", genuine(&one)[0].1.clone().sent_as(FORGED))]),
        [""; 0]
    );
}

#[test_on(Root)]
fn root_a_tagged_frame_reaches_none_but_its_trunk() {
    if !filters_vlans() {
        return;
    }
    let (_namespace, bridge) = bridge("vlan_filtering 1");
    assert_eq!((bridge.filters_vlans, bridge.default_vlan), (true, Some(1)));
    let untagged = Machine::new(1).on(&bridge, |port| port);
    let twelve = Machine::new(2).on(&bridge, |port| port.vlan(12));
    let trunk = Machine::new(3).on(&bridge, |port| port.trunk([12, 13]));
    let other = Machine::new(4).on(&bridge, |port| port);
    let thirteen = Machine::new(5).on(&bridge, |port| port.vlan(13));
    let tag = |frame: &[u8]| {
        (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]) & 0xfff)
    };
    let marker = move |frame: &[u8]| frame[if tag(frame).is_some() { 45 } else { 41 }];
    let heard = |at: &Machine, last: u8| -> Vec<(Option<u16>, u8)> {
        let frames = at.nic.receive_until(|frame| frame.len() >= 46 && marker(frame) == last);
        frames.iter().map(|frame| (tag(frame), marker(frame))).collect()
    };

    untagged.nic.send(&untagged.marked(101).tagged(12));
    untagged.nic.send(&untagged.marked(102).tagged(1));
    untagged.nic.send(&untagged.marked(103));
    assert_eq!(heard(&other, 103), [(None, 103)]);
    twelve.nic.send(&twelve.marked(104).tagged(13));
    twelve.nic.send(&twelve.marked(105));
    assert_eq!(heard(&trunk, 105), [(Some(12), 105)]);
    trunk.nic.send(&trunk.marked(106).tagged(14));
    trunk.nic.send(&trunk.marked(107));
    trunk.nic.send(&trunk.marked(111).tagged_twice(12));
    trunk.nic.send(&trunk.marked(108).tagged(12));
    trunk.nic.send(&trunk.marked(109).tagged(13));
    assert_eq!(heard(&twelve, 108), [(None, 108)]);
    assert_eq!(heard(&thirteen, 109), [(None, 109)]);
    other.nic.send(&other.marked(110));
    assert_eq!(heard(&untagged, 110), [(None, 110)]);

    // A VLAN that was changed by hand is found, and put right.
    let (tap, port) = (twelve.tap.name(), twelve.port().vlan(12));
    assert!(
        Command::new("bridge")
            .args("vlan add vid 13 dev tap2".split(' '))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(port.lapses(tap, &bridge).unwrap(), ["tap tap2 is not VLAN 12"]);
    port.attach(tap, &bridge).unwrap();
    assert_eq!(port.lapses(tap, &bridge).unwrap(), [""; 0]);
}

/// What the kernel lets out, and what it lets in as far as this kernel has policers.
#[test_on(Root)]
fn root_a_tap_is_kept_to_its_rates() {
    let (_namespace, bridge) = bridge("");
    let [one, two] = [1, 2].map(|number| Machine::new(number).on(&bridge, |port| port));
    let large = Frame::udp4(one.mac(), (one.ip(), 1), (v4(9), 2), &[7; 1400]);
    // 800 frames are 9.2 Mbit.
    let frames_of_800 = || {
        two.nic.received();
        let mut passed = 0;
        for _ in 0..40 {
            (0..20).for_each(|_| one.nic.send(&large));
            passed += two.nic.received().len();
        }
        passed
    };
    assert!(frames_of_800() > 700);
    let slow = DeviceRates::default().outgoing_bits(Some(64_000));
    assert!(!slow.hold(two.tap.name()).unwrap());
    slow.apply(two.tap.name()).unwrap();
    slow.apply(two.tap.name()).unwrap();
    assert!(slow.hold(two.tap.name()).unwrap());
    let passed = frames_of_800();
    assert!((50..500).contains(&passed), "{passed}");
    let fast = DeviceRates::default().outgoing_bits(Some(40_000_000_000));
    assert!(!fast.hold(two.tap.name()).unwrap());
    fast.apply(two.tap.name()).unwrap();
    assert!(fast.hold(two.tap.name()).unwrap());
    two.nic.received();
    assert!(frames_of_800() > 700);

    let slow = DeviceRates::default().incoming_bits(Some(64_000));
    match slow.apply(one.tap.name()) {
        Ok(()) => {
            assert!(slow.hold(one.tap.name()).unwrap());
            let passed = frames_of_800();
            assert!((50..500).contains(&passed), "{passed}");
        }
        Err(error) => {
            skipped("a kernel with policers");
            assert!(error.hint().unwrap().contains("act_police"), "{error:?}");
            assert!(!slow.hold(one.tap.name()).unwrap());
        }
    }
    assert_eq!(one.port().lapses(one.tap.name(), &bridge).unwrap(), [""; 0]);
}

#[test_on(Root)]
fn root_what_is_no_bridge_of_the_kernel_is_refused() {
    let (_namespace, bridge) = bridge("");
    let tap = Tap::create(&name("tap1")).unwrap();
    for (link, message) in [
        ("nothing", "there is no bridge nothing on this host"),
        ("lo", "lo is no bridge of the kernel: it is hardware"),
        (
            "tap1",
            "tap1 is no bridge of the kernel: it is a tap, or a bridge of Open vSwitch in user space",
        ),
    ] {
        let error = LinuxBridge::find(&name(link)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.hint().is_some());
    }
    let port = LinuxPort::new(MacAddr::new([0x52, 0x54, 0, 0, 0, 1]));
    for port in [port.clone().vlan(12), port.trunk([12, 13])] {
        let error = port.attach(tap.name(), &bridge).unwrap_err();
        assert!(matches!(error, NetError::NoVlanFiltering { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("vlan_filtering 1"));
    }
    assert_eq!(Device::find(tap.name()).unwrap().unwrap().master_index, None);
}
