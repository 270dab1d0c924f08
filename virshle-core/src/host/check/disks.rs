//! Checks that the machines' disks depend on the images that they were created on.

use virshle_disk::Format;

use crate::hardware::disk::check_backing_files;
use crate::host::check::finding::{Finding, Level};
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// A finding for each machine one of whose disks names another backing file than it was created on: it
/// can't be started.
pub(super) fn check_disks(node: &Node) -> Result<Vec<Finding>, MachineError> {
    let mut findings = Vec::new();
    for uuid in node.store().uuids()? {
        // One that can't be read is a finding of its own.
        let Ok(vm) = node.vm(uuid) else { continue };
        if vm.definition().disks.iter().all(|disk| disk.format == Format::Raw) {
            continue;
        }
        if let Err(error) = check_backing_files(&vm) {
            findings.push(Finding::failure(Level::Missing, "disk", &error));
        }
    }
    Ok(findings)
}
