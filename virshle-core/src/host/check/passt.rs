//! Checks passt, which user networks need.

use virshle_net::{PasstError, check_passt};
use virshle_template::NetKind;

use crate::host::check::finding::{Finding, Level, TIMEOUT};
use crate::machine::node::Node;

/// passt, where a template has a user network, or may get one; nothing elsewhere if there is none.
pub(super) fn check_passt_program(node: &Node) -> Option<Finding> {
    let program = &node.config().network.passt;
    let mut nets = node.config().templates().flat_map(|template| &template.nets);
    let is_needed = nets.any(|net| net.kind == NetKind::User);
    let is_wanted = is_needed || !rustix::process::geteuid().is_root();
    match check_passt(program, TIMEOUT) {
        Ok(version) => {
            Some(Finding::good("passt", format!("{} {}", program.display(), version.text)))
        }
        Err(PasstError::Run { .. } | PasstError::TooOld { .. }) if !is_wanted => None,
        Err(error) => {
            let level = if is_needed { Level::Missing } else { Level::Warning };
            Some(Finding::leaf(level, "passt", &error, error.hint()))
        }
    }
}
