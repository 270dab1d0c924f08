//! Checks this host for missing requirements, each with its remedy, and for orphaned resources.

mod cage;
mod config;
mod disks;
pub(crate) mod finding;
mod hypervisor;
mod kernel;
mod leases;
mod link;
mod managed;
mod passt;
mod root;
mod switch;
mod systemd;

use crate::host::check::cage::check_cage;
use crate::host::check::config::check_config;
use crate::host::check::disks::{check_disks, check_images};
use crate::host::check::finding::{Finding, Level};
use crate::host::check::hypervisor::{check_firmware, check_hypervisor};
use crate::host::check::kernel::check_kvm;
use crate::host::check::leases::check_leases;
use crate::host::check::link::check_links;
use crate::host::check::managed::check_managed;
use crate::host::check::passt::check_passt_program;
use crate::host::check::root::check_root;
use crate::host::check::switch::{OVSDB, check_network};
use crate::host::check::systemd::check_systemd;
use crate::host::disconnected::{Disconnected, disconnected};
use crate::host::repair::{Orphan, orphans, orphans_of_host};
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// What [`Node::check`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct NodeCheck {
    /// What was looked at, in an order in which what is missing can be added.
    pub findings: Vec<Finding>,
    /// Orphaned resources, which belong to no machine and can be removed.
    pub orphans: Vec<Orphan>,
    /// Running machines whose network is not as it is defined, and can be put right.
    pub disconnected: Vec<Disconnected>,
}

impl NodeCheck {
    /// The worst of what was found.
    pub fn level(&self) -> Level {
        let lost = self.disconnected.iter().map(|_| Level::Missing);
        let found = self.findings.iter().map(|finding| finding.level);
        found.chain(lost).max().unwrap_or(Level::Good)
    }
}

impl Node {
    /// Checks everything that a machine's start needs on this host, and looks for orphaned
    /// resources. Changes nothing.
    ///
    /// # Errors
    ///
    /// Only if the machines can't be listed: what is missing is a finding, not an error.
    pub fn check(&self) -> Result<NodeCheck, MachineError> {
        check(self)
    }
}

fn check(node: &Node) -> Result<NodeCheck, MachineError> {
    // What another user may have written names programs and files: none of them is run or opened.
    if let Some(untrusted) = node.store().untrusted() {
        let findings = vec![Finding::failure(Level::Missing, "trust", &untrusted), check_kvm()];
        return Ok(NodeCheck { findings, orphans: Vec::new(), disconnected: Vec::new() });
    }
    let mut findings = check_config(node);
    findings.push(check_kvm());
    let (hypervisor, version) = check_hypervisor(node);
    findings.push(hypervisor);
    findings.push(check_firmware(node));
    findings.extend(check_cage(node));
    findings.extend(check_passt_program(node));
    findings.extend(check_systemd(node));
    let network = check_network(node);
    // A switch that gives no answer is reported there: it hides nothing else.
    let no_switch =
        network.iter().any(|finding| finding.subject == OVSDB && finding.level != Level::Good);
    findings.extend(network);
    findings.extend(check_links(node));
    findings.extend(check_managed(node));
    // `node init` needs the switch: what the switch needs is above it.
    findings.extend(check_root(node));
    findings.extend(check_leases(node));
    let broken = node.store().find()?.broken;
    findings
        .extend(broken.iter().map(|one| Finding::failure(Level::Missing, "machine", &one.error)));
    findings.extend(check_disks(node, version)?);
    findings.extend(version.map_or(Vec::new(), |version| check_images(node, version)));
    if no_switch {
        let orphans = orphans_of_host(node)?;
        return Ok(NodeCheck { findings, orphans, disconnected: disconnected(node, false)? });
    }
    let (orphans, disconnected) = (orphans(node)?, disconnected(node, true)?);
    Ok(NodeCheck { findings, orphans, disconnected })
}
