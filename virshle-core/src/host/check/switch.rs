//! Checks Open vSwitch: its database, its daemon, the bridge, DPDK.

use virshle_net::{Bridge, DPDK_RECIPE, Switch};
use virshle_template::NetKind;

use crate::failure::Remedy;
use crate::hardware::net::bridge::lapses;
use crate::hardware::net::config::datapath;
use crate::hardware::net::guard;
use crate::host::check::finding::{Finding, Level, TIMEOUT, text};
use crate::machine::node::Node;

/// The subject of the finding on whether the switch answers.
pub(super) const OVSDB: &str = "ovsdb";

/// Open vSwitch: its database, its daemon, the bridge and, if templates need it, DPDK.
pub(super) fn check_network(node: &Node) -> Vec<Finding> {
    let kinds: Vec<NetKind> = node
        .config()
        .templates()
        .flat_map(|template| template.nets.iter().map(|net| net.kind))
        .collect();
    // A host whose machines need no switch lacks nothing without one.
    let severe = if kinds
        .iter()
        .all(|kind| matches!(kind, NetKind::User | NetKind::Bridge | NetKind::Macvtap))
    {
        Level::Warning
    } else {
        Level::Missing
    };
    let mut switch = match node.switch(TIMEOUT) {
        Ok(switch) => switch,
        Err(error) => return vec![Finding::failure(severe, OVSDB, &error)],
    };
    // A server that is there and silent is asked once, and not for everything.
    if let Err(error) = switch.capabilities() {
        return vec![Finding::leaf(severe, OVSDB, &error, error.hint())];
    }
    let mut findings = vec![Finding::good(OVSDB, node.config().network.ovsdb.clone())];
    match switch.ping_vswitchd(TIMEOUT) {
        Ok(()) => findings.push(check_vswitchd(&mut switch)),
        Err(error) => {
            findings.push(Finding::leaf(severe, "ovs-vswitchd", &error, error.hint()));
        }
    }
    findings.push(check_bridge(node, &mut switch, severe));
    findings.extend(check_guard(node, &mut switch, severe));
    if kinds.contains(&NetKind::Vhost) {
        findings.extend(check_dpdk(&mut switch));
    }
    findings
}

fn check_vswitchd(switch: &mut Switch) -> Finding {
    match switch.capabilities() {
        Ok(capabilities) => {
            let version = capabilities.version.as_deref().unwrap_or("applies changes");
            Finding::good("ovs-vswitchd", version)
        }
        Err(error) => Finding::leaf(Level::Missing, "ovs-vswitchd", &error, error.hint()),
    }
}

fn check_bridge(node: &Node, switch: &mut Switch, severe: Level) -> Finding {
    let network = &node.config().network;
    let name = &network.bridge;
    match switch.bridge(name) {
        Ok(Some(bridge)) if bridge.datapath == datapath(network.datapath) => {
            match &network.uplink {
                // What `node init` can't link to is not its to create.
                Some(uplink) if matches!(switch.bridge(uplink), Ok(None)) => Finding::bad(
                    Level::Warning,
                    "uplink",
                    format!("there is no bridge {uplink}, which {name} is to be linked to"),
                    text(format!(
                        "create it (ovs-vsctl add-br {uplink}), or correct [network] uplink"
                    )),
                ),
                Some(uplink) if !switch.is_patched(name, uplink).unwrap_or(false) => Finding::bad(
                    Level::Warning,
                    "bridge",
                    format!("{name} is not linked to {uplink}"),
                    Remedy::InitNode,
                ),
                _ => check_closed(&bridge),
            }
        }
        Ok(Some(bridge)) => Finding::bad(
            severe,
            "bridge",
            format!("{name} has the {} datapath, not the configured one", bridge.datapath),
            text(format!(
                "set [network] datapath = \"{}\", or name another bridge",
                bridge.datapath
            )),
        ),
        Ok(None) => match switch.require_free_name(name) {
            Ok(()) => Finding::bad(severe, "bridge", format!("no {name}"), Remedy::InitNode),
            Err(error) => {
                let remedy = text("name another bridge: [network] bridge = \"br-virshle\"");
                Finding::bad(severe, "bridge", error.to_string(), remedy)
            }
        },
        Err(error) => Finding::leaf(severe, "bridge", &error, error.hint()),
    }
}

/// The socket by which ports are guarded. Without a bridge there is none, and nothing to add to that.
fn check_guard(node: &Node, switch: &mut Switch, severe: Level) -> Option<Finding> {
    let bridge = &node.config().network.bridge;
    switch.bridge(bridge).ok().flatten()?;
    Some(match guard::connect(node, bridge, TIMEOUT) {
        Ok(_) => Finding::good("guard", "no machine speaks as another"),
        Err(error) => {
            let level = if guard::is_denied(&error) { Level::Warning } else { severe };
            Finding::leaf(level, "guard", &error, error.hint())
        }
    })
}

/// A bridge of ours is closed to the router advertisements of guests.
fn check_closed(bridge: &Bridge) -> Finding {
    let shown = format!("{} ({} datapath)", bridge.name, bridge.datapath);
    match lapses(bridge) {
        Ok(lapses) if lapses.is_empty() => Finding::good("bridge", shown),
        Ok(lapses) => Finding::bad(
            Level::Warning,
            "bridge",
            format!(
                "a guest can give this host addresses and routes by {}: {}",
                bridge.name,
                lapses.join(", ")
            ),
            Remedy::InitNode,
        ),
        Err(error) => Finding::leaf(Level::Warning, "bridge", &error, error.hint()),
    }
}

fn check_dpdk(switch: &mut Switch) -> Vec<Finding> {
    let capabilities = match switch.capabilities() {
        Ok(capabilities) => capabilities,
        Err(error) => return vec![Finding::leaf(Level::Missing, "dpdk", &error, error.hint())],
    };
    if capabilities.can_vhost_user() {
        return vec![Finding::good("dpdk", "vhost-user ports can be created")];
    }
    let recipe = DPDK_RECIPE.join("; ");
    let pages = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let without = match pages {
        0 => " and this host has no hugepages (of 2 MiB) for it",
        _ => "",
    };
    vec![Finding::bad(
        Level::Missing,
        "dpdk",
        format!("ovs-vswitchd runs without DPDK: it can't create vhost-user ports{without}"),
        text(recipe),
    )]
}
