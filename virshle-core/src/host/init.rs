//! Sets this host up for machines: the directories, the bridge, the link to the host's switch.

use std::time::Duration;

use serde::Serialize;
use virshle_net::Switch;
use virshle_template::NetKind;

use crate::hardware::net::bridge::close;
use crate::hardware::net::config::datapath;
use crate::machine::error::MachineError;
use crate::machine::node::Node;

/// Whether [`Node::init`] does it, or only reports what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitMode {
    /// Do it.
    Apply,
    /// Only report it.
    DryRun,
}

/// One thing that a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InitStep {
    /// The thing.
    pub what: String,
    /// Its outcome.
    pub outcome: InitOutcome,
}

/// The outcome for one thing that a node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InitOutcome {
    /// It was created.
    Made,
    /// It was there.
    There,
    /// It would be created.
    Would,
}

/// How long Open vSwitch may take for an answer, and to apply a bridge.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// Creates what the node needs, as far as it isn't there: its directories, its bridge, and the link
    /// to the uplink switch if one is configured. May run any number of times. The node of a user who is
    /// not root, and whose templates need no switch, has no bridge.
    ///
    /// # Errors
    ///
    /// What was created before a failure stays: the next run continues from there.
    pub fn init(&self, mode: InitMode) -> Result<Vec<InitStep>, MachineError> {
        self.store().check_trust()?;
        self.store().check_name()?;
        let mut steps = Vec::new();
        let missing = self.store().missing();
        for path in [self.root().to_owned(), self.root().join("vm"), self.cache()] {
            steps.push(step(
                mode,
                format!("directory {}", path.display()),
                missing.contains(&path),
            ));
        }
        if mode == InitMode::Apply {
            self.store().ensure()?;
        }
        let network = &self.config().network;
        if !needs_switch(self) {
            return Ok(steps);
        }
        let mut switch = self.switch(TIMEOUT)?;
        let asked = datapath(network.datapath);
        let what = format!("bridge {} ({asked} datapath)", network.bridge);
        steps.push(step(mode, what.clone(), missing_bridge(&mut switch, &network.bridge)?));
        let failed = |doing: String| move |source| MachineError::Switch { doing, source };
        if steps.iter().any(|step| step.what == what && step.outcome == InitOutcome::Would) {
            let free = switch.require_free_name(&network.bridge);
            free.map_err(failed(format!("create {what}")))?;
        }
        if mode == InitMode::Apply {
            switch
                .ensure_bridge(&network.bridge, asked, TIMEOUT)
                .map_err(failed(format!("create {what}")))?;
            let closed = switch.require_bridge(&network.bridge).and_then(|bridge| close(&bridge));
            closed.map_err(failed(format!("close {what} to router advertisements")))?;
        }
        if let Some(uplink) = &network.uplink {
            let what = format!("patch link between {} and {uplink}", network.bridge);
            let linked = switch
                .is_patched(&network.bridge, uplink)
                .map_err(failed(format!("look for the {what}")))?;
            steps.push(step(mode, what.clone(), !linked));
            if mode == InitMode::Apply && !linked {
                switch
                    .ensure_patch(&network.bridge, uplink, TIMEOUT)
                    .map_err(failed(format!("create the {what}")))?;
            }
        }
        Ok(steps)
    }
}

/// Whether the node has a use for a switch: that of a user who is not root may have none, nor one whose
/// machines are on bridges of the kernel.
pub(crate) fn needs_switch(node: &Node) -> bool {
    let nets = || node.config().templates().flat_map(|template| &template.nets);
    let is_switched = |kind| matches!(kind, NetKind::Vhost | NetKind::Tap);
    let is_bridged = || nets().any(|net| net.kind == NetKind::Bridge);
    nets().any(|net| is_switched(net.kind))
        || (rustix::process::geteuid().is_root() && !is_bridged())
}

fn missing_bridge(switch: &mut Switch, bridge: &str) -> Result<bool, MachineError> {
    switch.bridge(bridge).map(|found| found.is_none()).map_err(|source| MachineError::Switch {
        doing: format!("look for bridge {bridge}"),
        source,
    })
}

/// One step: what is missing is created, or would be.
pub(crate) fn step(mode: InitMode, what: String, missing: bool) -> InitStep {
    let outcome = match (missing, mode) {
        (false, _) => InitOutcome::There,
        (true, InitMode::Apply) => InitOutcome::Made,
        (true, InitMode::DryRun) => InitOutcome::Would,
    };
    InitStep { what, outcome }
}
