//! Checks the node's directories.

use crate::failure::Remedy;
use crate::host::check::finding::{Finding, Level, text};
use crate::machine::node::Node;

/// The node's directories, and what their filesystem can do.
pub(super) fn check_root(node: &Node) -> Vec<Finding> {
    let root = node.root();
    let shown = root.display();
    if let Err(error) = node.store().check_name() {
        return vec![Finding::failure(Level::Missing, "root", &error)];
    }
    if !node.store().missing().is_empty() {
        let message = format!("{shown} is not set up");
        return vec![Finding::bad(Level::Missing, "root", message, Remedy::InitNode)];
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(errno) = rustix::fs::access(root.join("vm"), access) {
        let message = format!("{shown} can't be written: {errno}");
        return vec![Finding::bad(Level::Missing, "root", message, Remedy::RunAsOwner)];
    }
    let mut findings = vec![Finding::good("root", format!("{shown}"))];
    findings.push(match virshle_disk::supports_reflink(&root.join("vm")) {
        Ok(true) => Finding::good("reflink", "disks are cloned in an instant"),
        Ok(false) => Finding::bad(
            Level::Warning,
            "reflink",
            format!("the filesystem of {shown} can't share extents: disks are copied"),
            text(format!(
                "keep {shown} and the images on one XFS or btrfs filesystem, or set clone = \
                 \"overlay\""
            )),
        ),
        Err(error) => Finding::leaf(Level::Warning, "reflink", &error, error.hint()),
    });
    findings
}
