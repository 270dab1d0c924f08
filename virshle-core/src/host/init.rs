//! Making this host a home of machines: the folder, the bridge, the link to the host's switch.

use std::time::Duration;

use serde::Serialize;
use virshle_net::{Datapath, Switch};

use crate::error::CoreError;
use crate::machine::node::Node;

/// Whether [`Node::init`] does it, or only says what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitMode {
    /// Do it.
    Apply,
    /// Only say it.
    DryRun,
}

/// One thing that a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InitStep {
    /// The thing.
    pub what: String,
    /// What became of it.
    pub outcome: InitOutcome,
}

/// What became of one thing that a node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InitOutcome {
    /// It was made.
    Made,
    /// It was there.
    There,
    /// It would be made.
    Would,
}

/// How long Open vSwitch may take for an answer, and to apply a bridge.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// Makes what the node needs, as far as it isn't there: its folders, its bridge, and the link
    /// to the uplink switch if one is configured. May run any number of times.
    ///
    /// # Errors
    ///
    /// What was made before a failure stays: the next run goes on from there.
    pub fn init(&self, mode: InitMode) -> Result<Vec<InitStep>, CoreError> {
        let mut steps = Vec::new();
        let missing = self.store().missing();
        for path in [self.root().to_owned(), self.root().join("vm"), self.cache()] {
            steps.push(step(mode, format!("folder {}", path.display()), missing.contains(&path)));
        }
        if mode == InitMode::Apply {
            self.store().ensure()?;
        }
        let network = &self.config().network;
        let mut switch = self.switch(TIMEOUT)?;
        let asked = datapath(network.datapath);
        let what = format!("bridge {} ({asked} datapath)", network.bridge);
        steps.push(step(mode, what.clone(), self.missing_bridge(&mut switch, &network.bridge)?));
        let failed = |doing: String| move |source| CoreError::Switch { doing, source };
        if mode == InitMode::Apply {
            switch
                .ensure_bridge(&network.bridge, asked, TIMEOUT)
                .map_err(failed(format!("make {what}")))?;
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
                    .map_err(failed(format!("make the {what}")))?;
            }
        }
        Ok(steps)
    }

    /// Connects to the configured Open vSwitch.
    pub(crate) fn switch(&self, timeout: Duration) -> Result<Switch, CoreError> {
        let ovsdb = &self.config().network.ovsdb;
        let failed =
            |source| CoreError::Switch { doing: format!("reach Open vSwitch at {ovsdb}"), source };
        let address = ovsdb.parse().map_err(failed)?;
        Switch::connect(&address, timeout).map_err(failed)
    }

    fn missing_bridge(&self, switch: &mut Switch, bridge: &str) -> Result<bool, CoreError> {
        switch.bridge(bridge).map(|found| found.is_none()).map_err(|source| CoreError::Switch {
            doing: format!("look for bridge {bridge}"),
            source,
        })
    }
}

fn step(mode: InitMode, what: String, missing: bool) -> InitStep {
    let outcome = match (missing, mode) {
        (false, _) => InitOutcome::There,
        (true, InitMode::Apply) => InitOutcome::Made,
        (true, InitMode::DryRun) => InitOutcome::Would,
    };
    InitStep { what, outcome }
}

/// The template's word for a datapath as the switch's.
pub(crate) fn datapath(asked: virshle_template::Datapath) -> Datapath {
    match asked {
        virshle_template::Datapath::System => Datapath::System,
        _ => Datapath::Netdev,
    }
}
