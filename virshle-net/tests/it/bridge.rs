use std::time::{Duration, Instant};

use virshle_net::{Change, Datapath, NetError, PortRequest};
use virshle_testkit_macros::test_on;

use crate::{IN_TIME, Lab, PATIENCE};

#[test_on(Ovs)]
fn ovs_a_bridge_is_created_once_and_deleted() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    assert_eq!(switch.bridge("br0").unwrap(), None);
    assert_eq!(switch.ensure_bridge("br0", Datapath::Netdev, PATIENCE).unwrap(), Change::Made);
    assert_eq!(switch.ensure_bridge("br0", Datapath::Netdev, PATIENCE).unwrap(), Change::Unchanged);
    let bridge = switch.require_bridge("br0").unwrap();
    assert_eq!((bridge.datapath, bridge.is_ours), (Datapath::Netdev, true));
    assert_eq!(switch.bridges().unwrap(), [bridge]);
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
    assert!(ovs.vsctl(&["get", "Interface", "br0", "ofport"]).contains("65534"));
    assert_eq!(switch.delete_bridge("br0", PATIENCE).unwrap(), Change::Removed);
    assert_eq!(switch.delete_bridge("br0", PATIENCE).unwrap(), Change::Unchanged);
    assert!(matches!(switch.port_names("br0"), Err(NetError::NoBridge { .. })));
}

#[test_on(Ovs)]
fn ovs_a_bridge_of_another_datapath_is_an_error() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let error = switch.ensure_bridge("br0", Datapath::System, PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "bridge br0 has the netdev datapath, not system");
}

#[test_on(Ovs)]
fn ovs_a_foreign_bridge_is_used_and_never_deleted() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    ovs.vsctl(&["add-br", "vs0", "--", "set", "Bridge", "vs0", "datapath_type=netdev"]);
    assert_eq!(switch.ensure_bridge("vs0", Datapath::Netdev, PATIENCE).unwrap(), Change::Unchanged);
    assert!(!switch.require_bridge("vs0").unwrap().is_ours);
    assert!(matches!(switch.delete_bridge("vs0", PATIENCE), Err(NetError::NotOurs { .. })));
    assert_eq!(ovs.vsctl(&["list-br"]), "vs0\n");
}

#[test_on(Ovs)]
fn ovs_a_bridge_with_ports_is_not_deleted() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let port = PortRequest::internal("in0".parse().unwrap());
    switch.add_ports("br0", &[port], PATIENCE).unwrap();
    let error = switch.delete_bridge("br0", PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "bridge br0 still has 1 ports");
    assert!(switch.bridge("br0").unwrap().is_some());
}

#[test_on(Ovs)]
fn ovs_a_bridge_that_a_device_is_in_the_way_of_is_an_error_and_leaves_nothing() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    let lo = switch.ensure_bridge("lo", Datapath::Netdev, PATIENCE).unwrap_err();
    assert!(matches!(lo, NetError::BridgeTaken { .. }), "{lo}");
    assert_eq!(ovs.vsctl(&["list-br"]), "");
    let long = switch.ensure_bridge("a-name-of-16-byt", Datapath::Netdev, PATIENCE);
    assert!(matches!(long, Err(NetError::InvalidInterfaceName { .. })));
}

#[test_on(Ovs)]
fn ovs_the_kernel_datapath_works_or_names_what_is_missing() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    let made = switch.ensure_bridge("br0", Datapath::System, PATIENCE);
    if std::path::Path::new("/sys/module/openvswitch").exists() {
        assert_eq!(made.unwrap(), Change::Made);
    } else {
        eprintln!("skipped: a bridge with the kernel datapath (no module openvswitch)");
        let error = made.unwrap_err();
        assert!(matches!(error, NetError::BridgeFailed { .. }), "{error}");
        assert!(error.hint().unwrap().contains("modprobe openvswitch"));
        assert_eq!(ovs.vsctl(&["list-br"]), "");
    }
}

#[test_on(Ovs)]
fn ovs_a_dead_vswitchd_is_named_within_the_deadline_and_no_bridge_stays() {
    let Lab { mut switch, mut ovs, _namespace } = Lab::new();
    ovs.kill_vswitchd();
    let begin = Instant::now();
    let error =
        switch.ensure_bridge("br0", Datapath::Netdev, Duration::from_millis(300)).unwrap_err();
    assert!(begin.elapsed() < IN_TIME);
    assert!(error.to_string().starts_with("ovs-vswitchd has not applied the new bridge br0"));
    assert_eq!(switch.bridge("br0").unwrap(), None);
}

/// Regression: the error of a kernel's bridge of that name was the switch's "Invalid argument", and the
/// hint the kernel module of another datapath.
#[test_on(Ovs)]
fn ovs_a_bridge_of_the_kernel_is_named_and_left_alone() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    let made =
        std::process::Command::new("ip").args(["link", "add", "br0", "type", "bridge"]).status();
    assert!(made.unwrap().success());
    let error = switch.ensure_bridge("br0", Datapath::Netdev, PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::BridgeTaken { .. }), "{error:?}");
    let text =
        "br0 is a network device of this host already (bridge), and not a bridge of Open vSwitch";
    assert_eq!(error.to_string(), text);
    assert_eq!(ovs.vsctl(&["list-br"]), "");
}
