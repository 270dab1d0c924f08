//! Checks the machines' disks, and the images that new ones are created from.

use virshle_disk::Format;
use virshle_hypervisor::Version;
use virshle_template::CloneMode;

use crate::hardware::disk::{at_risk, check_backing_files, check_compressed};
use crate::hardware::error::faulty_hint;
use crate::host::check::finding::{Finding, Level, text};
use crate::life::create::disks::source;
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// A finding for each machine one of whose disks names another backing file than it was created on, or
/// is not safe with this `version` of cloud-hypervisor: it can't be started.
pub(super) fn check_disks(
    node: &Node,
    version: Option<Version>,
) -> Result<Vec<Finding>, MachineError> {
    let mut findings = Vec::new();
    for uuid in node.store().uuids()? {
        // One that can't be read is a finding of its own.
        let Ok(vm) = node.vm(uuid) else { continue };
        let checked = check_backing_files(&vm).and_then(|()| match version {
            Some(version) => check_compressed(&vm, version),
            None => Ok(()),
        });
        if let Err(error) = checked {
            findings.push(Finding::failure(Level::Missing, "disk", &error));
        }
    }
    Ok(findings)
}

/// A finding for each image whose clones are not safe with this `version` of cloud-hypervisor.
pub(super) fn check_images(node: &Node, version: Version) -> Vec<Finding> {
    let Some(fault) = version.compressed_qcow2_fault() else { return Vec::new() };
    let mut findings = Vec::new();
    for template in node.config().templates() {
        for disk in &template.disks {
            let Some(path) = source(node, disk) else { continue };
            // What can't be read is reported with the configuration.
            let is_qcow2 =
                virshle_disk::inspect(&path).is_ok_and(|image| image.format == Format::Qcow2);
            // An overlay is written in its place.
            let is_read = disk.readonly || disk.clone == CloneMode::Overlay;
            let files = at_risk(fault, is_read, path.clone(), Vec::new());
            let is_compressed =
                |path| virshle_disk::has_compressed_clusters(path).unwrap_or_default();
            if is_qcow2 && files.iter().any(|path| is_compressed(path)) {
                let (name, shown) = (&template.name, path.display());
                let message = format!("{name}: {shown}: cloud-hypervisor {version}: {fault}");
                findings.push(Finding::bad(
                    Level::Warning,
                    "image",
                    message,
                    text(format!("import it, which makes it raw; or: {}", faulty_hint(&path))),
                ));
            }
        }
    }
    findings
}
