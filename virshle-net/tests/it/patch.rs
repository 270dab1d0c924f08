use virshle_net::{Change, Datapath, NetError};
use virshle_testkit_macros::test_on;

use crate::{Lab, PATIENCE};

#[test_on(Ovs)]
fn ovs_two_bridges_are_linked_once_and_unlinked() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    ovs.vsctl(&["add-br", "vs0", "--", "set", "Bridge", "vs0", "datapath_type=netdev"]);
    assert!(!switch.is_patched("br0", "vs0").unwrap());
    assert_eq!(switch.ensure_patch("br0", "vs0", PATIENCE).unwrap(), Change::Made);
    assert!(switch.is_patched("br0", "vs0").unwrap() && switch.is_patched("vs0", "br0").unwrap());
    assert_eq!(switch.ensure_patch("vs0", "br0", PATIENCE).unwrap(), Change::Unchanged);
    assert_eq!(switch.port_names("vs0").unwrap(), ["patch-vs0-br0", "vs0"]);
    let ports = ovs.appctl(&["dpif/show"]);
    assert!(ports.contains("patch: peer=patch-vs0-br0"), "{ports}");
    assert_eq!(switch.remove_patch("br0", "vs0").unwrap(), Change::Removed);
    assert_eq!(switch.remove_patch("br0", "vs0").unwrap(), Change::Unchanged);
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
}

#[test_on(Ovs)]
fn ovs_half_a_link_is_completed() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    switch.ensure_bridge("vs0", Datapath::Netdev, PATIENCE).unwrap();
    switch.ensure_patch("br0", "vs0", PATIENCE).unwrap();
    ovs.vsctl(&["del-port", "patch-vs0-br0"]);
    assert!(!switch.is_patched("br0", "vs0").unwrap());
    assert_eq!(switch.ensure_patch("br0", "vs0", PATIENCE).unwrap(), Change::Made);
    assert!(switch.is_patched("br0", "vs0").unwrap());
    // Its own patch ports do not keep a bridge from being deleted.
    assert_eq!(switch.delete_bridge("vs0", PATIENCE).unwrap(), Change::Removed);
}

#[test_on(Ovs)]
fn ovs_a_foreign_link_is_good_enough_and_never_removed() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    switch.ensure_bridge("vs0", Datapath::Netdev, PATIENCE).unwrap();
    let end = |bridge: &str, name: &str, peer: &str| {
        let peer = format!("options:peer={peer}");
        ovs.vsctl(&["add-port", bridge, name, "--", "set", "Interface", name, "type=patch", &peer]);
    };
    end("br0", "left", "right");
    // A loose end of the name that ours would have.
    end("br0", "patch-br0-vs0", "nowhere");
    let error = switch.ensure_patch("br0", "vs0", PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::PortTaken { .. }), "{error}");
    end("vs0", "right", "left");
    assert_eq!(switch.ensure_patch("br0", "vs0", PATIENCE).unwrap(), Change::Unchanged);
    assert!(matches!(switch.remove_patch("br0", "vs0"), Err(NetError::NotOurs { .. })));
}

#[test_on(Ovs)]
fn ovs_an_absent_bridge_is_not_linked() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let error = switch.ensure_patch("br0", "vs0", PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "there is no bridge vs0");
    assert!(!switch.is_patched("br0", "vs0").unwrap());
}

#[test_on(Ovs)]
fn ovs_bridges_of_two_datapaths_are_not_linked() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    // Without the kernel module it never works, but it is in the database.
    ovs.vsctl(&["--no-wait", "add-br", "vs0"]);
    let error = switch.ensure_patch("br0", "vs0", PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "cannot link bridge br0 (netdev) to bridge vs0 (system)");
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
}
