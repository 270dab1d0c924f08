//! Checks the configured places of DHCP leases: one that is never understood is a slip.

use crate::address::lease;
use crate::host::check::finding::{Finding, Level, text};
use crate::machine::node::Node;

/// The places of leases that the configuration names. Of the usual ones, most hosts have none.
pub(super) fn check_leases(node: &Node) -> Vec<Finding> {
    let places = &node.config().network.leases;
    let finding = |message: String| {
        let remedy = text(
            "correct [network] leases: the file of dnsmasq (--dhcp-leasefile), Kea's memfile or control \
             socket, or systemd-networkd's file, or a directory of these",
        );
        Finding::bad(Level::Warning, "leases", message, remedy)
    };
    places.iter().filter_map(|place| lease::doubt(place)).map(finding).collect()
}
