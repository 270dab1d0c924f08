//! Checks this host for missing requirements, each with its remedy, and for orphaned resources.

mod config;
mod disks;
pub(crate) mod finding;
mod hypervisor;
mod kernel;
mod passt;
mod root;
mod switch;

use crate::host::check::config::check_config;
use crate::host::check::disks::check_disks;
use crate::host::check::finding::{Finding, Level};
use crate::host::check::hypervisor::{check_firmware, check_hypervisor};
use crate::host::check::kernel::{check_kvm, check_landlock};
use crate::host::check::passt::check_passt_program;
use crate::host::check::root::check_root;
use crate::host::check::switch::{OVSDB, check_network};
use crate::host::disconnected::{Disconnected, disconnected};
use crate::host::repair::{Orphan, orphans, orphans_of_host};
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// What [`Node::check`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct NodeCheck {
    /// What was looked at, in the order of a machine's start.
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
    findings.extend(check_root(node));
    findings.push(check_kvm());
    findings.push(check_hypervisor(node));
    findings.push(check_firmware(node));
    findings.push(check_landlock());
    findings.extend(check_passt_program(node));
    let network = check_network(node);
    // A switch that gives no answer is reported there: it hides nothing else.
    let no_switch =
        network.iter().any(|finding| finding.subject == OVSDB && finding.level != Level::Good);
    findings.extend(network);
    let broken = node.store().find()?.broken;
    findings.extend(broken.iter().map(|error| Finding::failure(Level::Missing, "machine", error)));
    findings.extend(check_disks(node)?);
    if no_switch {
        let orphans = orphans_of_host(node)?;
        return Ok(NodeCheck { findings, orphans, disconnected: disconnected(node, false)? });
    }
    let (orphans, disconnected) = (orphans(node)?, disconnected(node, true)?);
    Ok(NodeCheck { findings, orphans, disconnected })
}
