//! What the host's own IP stack takes of a guest's frames, on a tap of a userspace bridge.

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use virshle_net::{Datapath, Device, InterfaceName, Tap};
use virshle_testkit::{Frame, GuestNic, NetNamespace};
use virshle_testkit_macros::test_on;

use crate::{Lab, PATIENCE};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, 1);
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0);

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().unwrap().success(), "{words:?}");
}

/// Whether the host has a default route by this device.
fn has_router(device: &str) -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
    routes.lines().any(|line| line.starts_with(&"0".repeat(32)) && line.ends_with(device))
        && routes.lines().any(|line| line.starts_with("20010db80bad0000"))
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 6]) && frame.get(21) == Some(&2)
}

/// Regression: one router advertisement of a guest gave the host a default route, and ARP on the tap
/// was answered for any address of the host's.
#[test_on(Root)]
fn root_an_isolated_tap_takes_no_route_and_answers_no_arp() {
    let _namespace = NetNamespace::enter().unwrap();
    ip(&["address", "add", "192.0.2.1/32", "dev", "lo"]);
    let taps = ["open0", "shut0"].map(|text| Tap::create(&name(text)).unwrap());
    Device::isolate(taps[1].name()).unwrap();
    assert_eq!(Device::isolation_lapses(taps[1].name()).unwrap(), [""; 0]);
    assert!(!Device::isolation_lapses(taps[0].name()).unwrap().is_empty());
    taps.iter().for_each(|tap| tap.set_up().unwrap());
    let [open, shut] = [&taps[0], &taps[1]].map(|tap| GuestNic::on(tap.as_fds()[0]).unwrap());

    let (guest, host) = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
    shut.send(&Frame::arp_request(MAC, guest, host));
    open.send(&Frame::arp_request(MAC, guest, host));
    // What would have answered on the one has answered on the other.
    open.receive_until(is_arp_reply);
    assert_eq!(shut.received(), [[0_u8; 0]; 0]);

    shut.send(&Frame::router_advertisement(MAC, ROUTER, PREFIX));
    // A device that is just up may still be looking for itself.
    wait_for(|| {
        open.send(&Frame::router_advertisement(MAC, ROUTER, PREFIX));
        has_router("open0")
    });
    assert!(!has_router("shut0"));
    let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    assert!(!addresses.contains("shut0"), "{addresses}");
}

#[test_on(Root)]
fn root_a_device_that_is_not_there_is_not_taken_for_isolated() {
    let _namespace = NetNamespace::enter().unwrap();
    assert!(Device::isolate(&name("nope0")).is_err());
    assert!(Device::isolation_lapses(&name("nope0")).is_err());
}

/// Regression: the host took a default route from an untagged guest by the bridge's own interface.
#[test_on(Ovs)]
fn ovs_a_closed_bridge_takes_no_route_from_a_machine() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    switch.ensure_bridge("br1", Datapath::Netdev, PATIENCE).unwrap();
    Device::ignore_routers(&name("br0")).unwrap();
    assert_eq!(Device::router_lapses(&name("br0")).unwrap(), [""; 0]);
    let nics = ["br0", "br1"].map(|bridge| {
        Device::set_up(&name(bridge)).unwrap();
        let tap = Tap::create(&name(&format!("{bridge}tap"))).unwrap();
        Device::isolate(tap.name()).unwrap();
        tap.set_up().unwrap();
        let request = virshle_net::PortRequest::tap(tap.name().clone());
        switch.add_ports(bridge, &[request], PATIENCE).unwrap();
        let nic = GuestNic::on(tap.as_fds()[0]).unwrap();
        (nic, tap)
    });
    wait_for(|| {
        for (nic, _) in &nics {
            nic.send(&Frame::router_advertisement(MAC, ROUTER, PREFIX));
        }
        has_router("br1")
    });
    assert!(!has_router("br0"));
}
