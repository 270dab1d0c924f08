use std::os::unix::net::UnixListener;
use std::time::Duration;

use virshle_net::{Change, NetError, Owner, PortKind, PortRequest};
use virshle_testkit_macros::test_on;

use crate::{Lab, PATIENCE};

#[test_on(Dpdk)]
fn dpdk_a_vhost_user_port_connects_to_its_socket() {
    let Lab { mut switch, ovs, _namespace } = Lab::with_dpdk().bridged();
    let found = switch.capabilities().unwrap();
    found.require_vhost_user().unwrap();
    assert!(found.dpdk_version.unwrap().contains("DPDK"));

    let socket = ovs.directory().join("main.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let request = || {
        PortRequest::vhost_user("vm1-a-name-longer-than-15-bytes", &socket)
            .vlan(3)
            .owner(Owner::new("u", "web"))
    };
    let ports = switch.add_ports("br0", &[request()], PATIENCE).unwrap();
    assert_eq!(ports[0].kind, PortKind::VhostUser);
    assert!(ports[0].ofport > 0);
    let (_connection, _) = listener.accept().unwrap();

    // Connected, but no machine has set up its queues.
    let error = switch.wait_for_link(&[&ports[0].name], Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, NetError::NoLink { .. }), "{error}");
    let owned = switch.owned_ports().unwrap();
    assert_eq!(owned[0].socket.as_deref(), Some(socket.as_path()));
    assert_eq!((owned[0].kind, owned[0].link_up), (PortKind::VhostUser, Some(false)));

    // The same machine once more, as after a crash.
    assert!(switch.add_ports("br0", &[request()], PATIENCE).unwrap()[0].ofport > 0);
    assert_eq!(switch.remove_ports_of("u", PATIENCE).unwrap(), Change::Removed);
    switch.ping_vswitchd(PATIENCE).unwrap();
}

#[test_on(Dpdk)]
fn dpdk_a_vhost_user_port_on_a_kernel_bridge_is_refused() {
    let Lab { mut switch, ovs, _namespace } = Lab::with_dpdk();
    ovs.vsctl(&["--no-wait", "add-br", "vs0"]);
    let port = PortRequest::vhost_user("vm1", "/nowhere.sock".as_ref());
    let error = switch.add_ports("vs0", &[port], PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "bridge vs0 has the system datapath, not netdev");
    assert!(matches!(error, NetError::BridgeDatapath { wanted: "netdev", .. }));
}
