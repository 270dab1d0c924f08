//! Checks cloud-hypervisor and its firmware.

use std::fs::File;
use std::path::Path;

use virshle_hypervisor::{HypervisorError, Version};

use crate::failure::{Remedy, chain};
use crate::host::check::finding::{Finding, Level, TIMEOUT, text};
use crate::machine::error::lacks_hypervisor;
use crate::machine::node::Node;
use crate::machine::parts::configured_program;

/// cloud-hypervisor, and its version, which is known if it can be used.
pub(super) fn check_hypervisor(node: &Node) -> (Finding, Option<Version>) {
    let program = &match node.hypervisor_program() {
        Ok(program) => program,
        Err(error) => return (Finding::failure(Level::Missing, "cloud-hypervisor", &error), None),
    };
    let found = virshle_hypervisor::version(program, TIMEOUT);
    let version = found.as_ref().ok().copied();
    let finding = match found {
        Ok(version) if version >= Version::MINIMUM => {
            if let Some(script) = virshle_hypervisor::script_without_exec(program) {
                return (never_becomes_it(&script), None);
            }
            Finding::good("cloud-hypervisor", format!("{} {version}", program.display()))
        }
        Ok(version) => Finding::bad(
            Level::Missing,
            "cloud-hypervisor",
            format!("{version} is older than {}", Version::MINIMUM),
            Remedy::SetUpHost,
        ),
        Err(error) if is_to_be_brought(node, &error) => {
            Finding::bad(Level::Missing, "cloud-hypervisor", chain(&error), Remedy::SetUpHost)
        }
        Err(error) => Finding::leaf(Level::Missing, "cloud-hypervisor", &error, error.hint()),
    };
    (finding, version)
}

/// Whether a setup of the host brings another one: not if this one is configured.
fn is_to_be_brought(node: &Node, error: &HypervisorError) -> bool {
    let is_old = matches!(error, HypervisorError::TooOld { .. });
    configured_program(node).is_none() && (is_old || lacks_hypervisor(error))
}

/// A script that answers as cloud-hypervisor does, and would stay in its place.
fn never_becomes_it(script: &Path) -> Finding {
    Finding::bad(
        Level::Missing,
        "cloud-hypervisor",
        format!("{} is a script that never becomes cloud-hypervisor", script.display()),
        text("end it with: exec cloud-hypervisor \"$@\""),
    )
}

/// The firmware that machines without a kernel boot.
pub(super) fn check_firmware(node: &Node) -> Finding {
    let found = match node.firmware() {
        Ok(found) => found,
        Err(error) => return Finding::failure(Level::Missing, "firmware", &error),
    };
    match found {
        Some(path) => match File::open(&path) {
            Ok(_) => Finding::good("firmware", path.display().to_string()),
            Err(error) => Finding::bad(
                Level::Missing,
                "firmware",
                format!("{}: {error}", path.display()),
                text("correct [hypervisor] firmware"),
            ),
        },
        None => Finding::bad(
            Level::Warning,
            "firmware",
            "none in the usual places: only templates with a kernel of their own will start",
            Remedy::SetUpHost,
        ),
    }
}
