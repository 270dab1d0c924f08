//! Checks the bridges of the host's kernel that templates name.

use virshle_net::NetError;
use virshle_template::{NetKind, NetTemplate};

use crate::hardware::net::linux_bridge::{find, port_of_template};
use crate::host::check::finding::{Finding, Level};
use crate::machine::node::Node;

/// Each bridge of the kernel that a template names: that it is one, and can do what is asked of it.
pub(super) fn check_links(node: &Node) -> Vec<Finding> {
    let nets = node.config().templates().flat_map(|template| &template.nets);
    let mut bridged: Vec<&NetTemplate> =
        nets.filter(|net| net.kind == NetKind::Bridge && net.link.is_some()).collect();
    // What is asked of one bridge stands together, and the same but once.
    bridged.sort_by_key(|net| (&net.link, net.vlan, &net.trunk));
    bridged.dedup_by_key(|net| (net.link.clone(), net.vlan, net.trunk.clone()));
    let mut findings: Vec<Finding> = Vec::new();
    for net in bridged {
        let name = net.link.as_deref().unwrap_or_default();
        let finding = match check(net, name) {
            Ok(()) => Finding::good("link", format!("{name} is a bridge of the kernel")),
            Err(error) => Finding::leaf(Level::Missing, "link", &error, error.hint()),
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn check(net: &NetTemplate, name: &str) -> Result<(), NetError> {
    let bridge = find(name)?;
    port_of_template(net).check(&bridge)
}
