use std::time::{Duration, Instant};

use virshle_net::ovsdb::Address;
use virshle_net::{Change, Datapath, NetError, Owner, PortRequest, Switch, Tap};
use virshle_testkit_macros::test_on;

use crate::{IN_TIME, Lab, PATIENCE};

#[test]
fn an_absent_database_is_named_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("db.sock"));
    let error = Switch::connect(&address, PATIENCE).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to the Open vSwitch database at {address}")
    );
    assert!(error.hint().unwrap().contains("openvswitch-switch"));
}

#[test_on(Ovs)]
fn ovs_its_capabilities_are_reported() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new();
    let found = switch.capabilities().unwrap();
    assert!(found.version.as_deref().is_some_and(|version| version.contains('.')), "{found:?}");
    assert!(found.can_datapath(Datapath::Netdev) && found.settled);
    assert!(found.iface_types.iter().any(|kind| kind == "tap"));
    assert_eq!(switch.peer_uid_gid(), Some((0, 0)));
}

#[test_on(Ovs)]
fn ovs_vhost_user_without_dpdk_is_refused_before_anything_is_created() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let error = switch.capabilities().unwrap().require_vhost_user().unwrap_err();
    assert!(error.hint().unwrap().contains("openvswitch-switch-dpdk"));
    let port = PortRequest::vhost_user("vm1-main", "/nowhere/main.sock".as_ref());
    let begin = Instant::now();
    let error = switch.add_ports("br0", &[port], PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::NoDpdk), "{error}");
    assert!(begin.elapsed() < IN_TIME);
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
}

#[test_on(Ovs)]
fn ovs_a_living_vswitchd_answers_and_a_dead_one_does_not() {
    let Lab { mut switch, mut ovs, _namespace } = Lab::new();
    switch.ping_vswitchd(PATIENCE).unwrap();
    ovs.freeze_vswitchd();
    let short = Duration::from_millis(200);
    assert!(matches!(switch.ping_vswitchd(short), Err(NetError::SwitchSilent { .. })));
    assert!(!switch.capabilities().unwrap().settled);
    ovs.thaw_vswitchd();
    switch.ping_vswitchd(PATIENCE).unwrap();
    ovs.kill_vswitchd();
    assert!(matches!(switch.ping_vswitchd(short), Err(NetError::SwitchSilent { .. })));
}

#[test_on(Ovs)]
fn ovs_no_timeout_is_too_long() {
    let Lab { ovs, _namespace, .. } = Lab::new();
    let mut switch = Switch::connect(&ovs.address().parse().unwrap(), Duration::MAX).unwrap();
    for bridge in ["br0", "br1"] {
        switch.ensure_bridge(bridge, Datapath::Netdev, Duration::MAX).unwrap();
    }
    switch.ensure_patch("br0", "br1", Duration::MAX).unwrap();
    switch.ping_vswitchd(Duration::MAX).unwrap();
    let name = "tap0".parse().unwrap();
    let tap = Tap::create(&name).unwrap();
    tap.set_up().unwrap();
    let port = PortRequest::tap(name).owner(Owner::new("u", "web"));
    switch.add_ports("br0", std::slice::from_ref(&port), Duration::MAX).unwrap();
    switch.wait_for_link(&["tap0"], Duration::MAX).unwrap();
    assert_eq!(switch.remove_port("tap0", Duration::MAX).unwrap(), Change::Removed);
    let pending = switch.submit_ports("br0", &[port], Duration::MAX).unwrap();
    switch.confirm_ports(pending, Duration::MAX).unwrap();
    assert_eq!(switch.remove_port("tap0", Duration::MAX).unwrap(), Change::Removed);
    switch.delete_bridge("br1", Duration::MAX).unwrap();
}

#[test_on(Ovs)]
fn ovs_a_link_is_waited_for_and_its_absence_reported() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let tap = Tap::create(&"tap0".parse().unwrap()).unwrap();
    let port = PortRequest::tap("tap0".parse().unwrap()).owner(Owner::new("u", "web"));
    let made = switch.add_ports("br0", &[port], PATIENCE).unwrap();
    assert!(!made[0].link_up);
    let begin = Instant::now();
    let error = switch.wait_for_link(&["tap0"], Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.to_string(), "port tap0 has no link after 300ms");
    assert!(begin.elapsed() < IN_TIME);
    tap.set_up().unwrap();
    switch.wait_for_link(&["tap0"], PATIENCE).unwrap();
}
