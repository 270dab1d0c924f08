//! Checks this host for missing requirements, each with its remedy, and for orphaned resources.

mod config;
mod hypervisor;
mod kernel;
mod root;
mod switch;

use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, Remedy};
use crate::host::check::config::check_config;
use crate::host::check::hypervisor::{check_firmware, check_hypervisor};
use crate::host::check::kernel::{check_kvm, check_landlock};
use crate::host::check::root::check_root;
use crate::host::check::switch::{OVSDB, check_network};
use crate::host::repair::{Orphan, orphans, orphans_of_host};
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Good,
    /// Machines run, but less well.
    Warning,
    /// Something won't work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The thing.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<Remedy>,
}

/// What [`Node::check`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct NodeCheck {
    /// What was looked at, in the order of a machine's start.
    pub findings: Vec<Finding>,
    /// Orphaned resources, which belong to no machine and can be removed.
    pub orphans: Vec<Orphan>,
}

impl NodeCheck {
    /// The worst of the findings.
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
    }
}

/// How long the switch may take for an answer, and a program to print its version.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Finding {
    fn good(subject: &str, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Good, message: message.into(), remedy: None }
    }

    fn bad(
        level: Level,
        subject: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<Remedy>>,
    ) -> Self {
        let (subject, message, remedy) = (subject.into(), message.into(), remedy.into());
        Self { subject, level, message, remedy }
    }

    /// A failure as a finding: the error with its causes, and its remedy.
    fn failure(level: Level, subject: &str, error: &dyn Failure) -> Self {
        Self::bad(level, subject, chain(error), error.remedy())
    }

    /// The failure of a leaf as a finding, with the hint that it has.
    fn leaf(
        level: Level,
        subject: &str,
        error: &dyn std::error::Error,
        hint: Option<String>,
    ) -> Self {
        Self::bad(level, subject, chain(error), hint.map(Remedy::Text))
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A remedy that needs no word of a front end.
fn text(remedy: impl Into<String>) -> Remedy {
    Remedy::Text(remedy.into())
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
        return Ok(NodeCheck { findings, orphans: Vec::new() });
    }
    let mut findings = check_config(node);
    findings.extend(check_root(node));
    findings.push(check_kvm());
    findings.push(check_hypervisor(node));
    findings.push(check_firmware(node));
    findings.push(check_landlock());
    let network = check_network(node);
    // A switch that gives no answer is reported there: it hides nothing else.
    let no_switch =
        network.iter().any(|finding| finding.subject == OVSDB && finding.level != Level::Good);
    findings.extend(network);
    let broken = node.store().find()?.broken;
    findings.extend(broken.iter().map(|error| Finding::failure(Level::Missing, "machine", error)));
    let orphans = if no_switch { orphans_of_host(node)? } else { orphans(node)? };
    Ok(NodeCheck { findings, orphans })
}
