//! The managed network, set up and put right again with the node, and taken away.

use crate::host::step::{InitMode, InitStep, step_with};
use crate::life::adopt::adopt;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::model::change::Force;
use crate::network::applied::Applied;
use crate::network::parts::look;
use crate::network::{apply, reset, settings};

/// A part of the managed network that was missing, and is there again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// The part.
    pub what: String,
}

impl Node {
    /// Sets up again what of the managed network is missing, if it was set up before; nothing else.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub fn restore_network(&self) -> Result<Vec<Restored>, MachineError> {
        // One that was never set up is not repaired.
        if !is_set_up(self) {
            return Ok(Vec::new());
        }
        let mut restored = apply::apply_again(self)?;
        restored.extend(adopt(self)?.into_iter().map(|name| format!("address of machine {name}")));
        Ok(restored.into_iter().map(|what| Restored { what }).collect())
    }

    /// Takes away what [`init`](Self::init) has set up of the managed network, or only reports that. Machines,
    /// their data and their addresses stay; so does the bridge.
    ///
    /// # Errors
    ///
    /// [`MachineError::InUse`] while machines run on it, unless forced. What was taken away before a failure
    /// stays so: the next run continues from there.
    pub fn reset(&self, mode: InitMode, force: Force) -> Result<Vec<String>, MachineError> {
        self.store().check_trust()?;
        let found = reset::look(self)?;
        if !found.is_empty() && force == Force::No {
            let machines = reset::users(self)?;
            if !machines.is_empty() {
                return Err(MachineError::InUse { machines });
            }
        }
        if mode == InitMode::Apply {
            reset::reset(self)?;
        }
        Ok(found)
    }
}

/// Refuses what can't be set up, before anything is changed.
pub(super) fn check(node: &Node) -> Result<(), MachineError> {
    settings::plan(node).map_or(Ok(()), |network| apply::check(&network))
}

/// The steps for the managed network, when the bridge is there.
pub(super) fn steps(node: &Node, mode: InitMode) -> Result<Vec<InitStep>, MachineError> {
    if mode == InitMode::Apply {
        settings::choose_prefix(node)?;
    }
    let Some(network) = settings::plan(node) else { return Ok(Vec::new()) };
    let mut steps: Vec<InitStep> = look(&network)?
        .into_iter()
        .map(|part| step_with(mode, part.what, part.is_missing, part.detail))
        .collect();
    if mode == InitMode::Apply {
        apply::apply(node)?;
        for name in adopt(node)? {
            let what = format!("address of machine {name} on the managed network");
            steps.push(step_with(mode, what, true, Vec::new()));
        }
    }
    Ok(steps)
}

/// Whether the node's managed network was set up.
pub(crate) fn is_set_up(node: &Node) -> bool {
    settings::find(node).is_some() && Applied::read(&settings::directory(node)).is_some()
}
