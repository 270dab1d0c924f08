//! Tests of the crate as its users see it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod bridge;
mod capture;
mod client;
mod fault;
mod frames;
mod guard;
mod host_stack;
mod linux_bridge;
mod macvtap;
mod passt;
mod patch;
mod port;
mod socket_access;
mod speech;
mod switch;
mod tap;
mod trace;
mod vhost_user;

use std::time::Duration;

use virshle_net::{Datapath, Switch};
use virshle_testkit::{NetNamespace, OpenVswitch};

/// What every wait that must succeed is given: only what has gone wrong takes that long, however busy
/// the host is.
const PATIENCE: Duration = Duration::from_secs(120);
/// What keeps a deadline far below [`PATIENCE`] has ended by then, on a busy host too.
const IN_TIME: Duration = Duration::from_secs(30);

/// A private Open vSwitch, a connection to it, and the namespace of its bridges.
struct Lab {
    switch: Switch,
    ovs: OpenVswitch,
    _namespace: NetNamespace,
}

impl Lab {
    fn new() -> Self {
        let namespace = NetNamespace::enter().unwrap();
        Self::around(OpenVswitch::start(), namespace)
    }

    fn with_dpdk() -> Self {
        let namespace = NetNamespace::enter().unwrap();
        Self::around(OpenVswitch::with_dpdk(), namespace)
    }

    fn around(ovs: OpenVswitch, namespace: NetNamespace) -> Self {
        let switch = Switch::connect(&ovs.address().parse().unwrap(), PATIENCE).unwrap();
        Self { switch, ovs, _namespace: namespace }
    }

    /// With a userspace bridge `br0`.
    fn bridged(mut self) -> Self {
        self.switch.ensure_bridge("br0", Datapath::Netdev, PATIENCE).unwrap();
        self
    }
}
