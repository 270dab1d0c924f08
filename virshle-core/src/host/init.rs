//! Sets this host up for machines: the directories, the bridge, the link to the host's switch.

use std::time::Duration;

use virshle_net::Switch;
use virshle_template::NetKind;

use crate::hardware::net::bridge::close;
use crate::hardware::net::config::datapath;
use crate::host::network;
use crate::host::step::{InitMode, InitOutcome, InitStep, step};
use crate::machine::error::MachineError;
use crate::machine::node::Node;

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
        network::check(self)?;
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
        let settings = &self.config().network;
        if !needs_switch(self) {
            return Ok(steps);
        }
        let mut switch = self.switch(TIMEOUT)?;
        let asked = datapath(settings.datapath);
        let what = format!("bridge {} ({asked} datapath)", settings.bridge);
        steps.push(step(mode, what.clone(), missing_bridge(&mut switch, &settings.bridge)?));
        let failed = |doing: String| move |source| MachineError::Switch { doing, source };
        if steps.iter().any(|step| step.what == what && step.outcome == InitOutcome::Would) {
            let free = switch.require_free_name(&settings.bridge);
            free.map_err(failed(format!("create {what}")))?;
        }
        if mode == InitMode::Apply {
            switch
                .ensure_bridge(&settings.bridge, asked, TIMEOUT)
                .map_err(failed(format!("create {what}")))?;
            let closed = switch.require_bridge(&settings.bridge).and_then(|bridge| close(&bridge));
            closed.map_err(failed(format!("close {what} to router advertisements")))?;
        }
        if let Some(uplink) = &settings.uplink {
            let what = format!("patch link between {} and {uplink}", settings.bridge);
            let linked = switch
                .is_patched(&settings.bridge, uplink)
                .map_err(failed(format!("look for the {what}")))?;
            steps.push(step(mode, what.clone(), !linked));
            if mode == InitMode::Apply && !linked {
                switch
                    .ensure_patch(&settings.bridge, uplink, TIMEOUT)
                    .map_err(failed(format!("create the {what}")))?;
            }
        }
        steps.extend(network::steps(self, mode)?);
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
