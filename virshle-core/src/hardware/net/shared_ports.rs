//! Ports of several machines, asked for in one transaction.
//!
//! Each transaction makes `ovs-vswitchd` look at every port that is there: for a hundred taps, one
//! by one, it works for 800 ms, and for all at once 60.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use virshle_net::{NetError, PendingPorts, PortRequest, Switch};

use crate::hardware::net::bridge::require_bridge;
use crate::hardware::net::config::Offloads;
use crate::machine::node::Node;

/// Ports of several machines on one bridge, asked for in one transaction.
#[derive(Debug)]
pub(crate) struct SharedPorts {
    bridge: String,
    offloads: Offloads,
    timeout: Duration,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    switch: Switch,
    pending: Option<PendingPorts>,
    answer: Answer,
    numbers: HashMap<String, u32>,
}

/// The switch's answer for the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The switch has created all of them.
    Created,
    /// One of them could not be created, and so none is there.
    Refused,
    /// The switch did not answer, and none is asked for any longer.
    Silent,
}

impl SharedPorts {
    /// Makes sure that the bridge is there. Until [`ask`](Self::ask), nothing is asked for.
    pub(crate) fn on(
        node: &Node,
        mut switch: Switch,
        bridge: &str,
        timeout: Duration,
    ) -> Result<Self, NetError> {
        let offloads = Offloads::on(require_bridge(node, &mut switch, bridge, timeout)?.datapath);
        let asked =
            Asked { switch, pending: None, answer: Answer::Refused, numbers: HashMap::new() };
        Ok(Self { bridge: bridge.into(), offloads, timeout, asked: Mutex::new(asked) })
    }

    /// What the taps of this bridge leave to it.
    pub(crate) fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks for the ports, and waits for nothing.
    pub(crate) fn ask(&self, requests: &[PortRequest]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.switch.submit_ports(&self.bridge, requests, self.timeout) {
            Ok(pending) => asked.pending = Some(pending),
            Err(error) => tracing::debug!(%error, "not asked for together"),
        }
    }

    /// The number that a port was given, once it was created.
    pub(crate) fn number_of(&self, port: &str) -> Option<u32> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.numbers.get(port).copied()
    }

    /// The answer for them; the first caller waits for all.
    pub(crate) fn answer(&self) -> Answer {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = asked.pending.take() {
            asked.answer = match asked.switch.confirm_ports(pending, self.timeout) {
                Ok(created) => {
                    let numbers = created.into_iter().map(|port| (port.name, port.ofport));
                    asked.numbers = numbers.collect();
                    Answer::Created
                }
                Err(NetError::SwitchSilent { .. }) => Answer::Silent,
                Err(error) => {
                    tracing::debug!(%error, "not created together");
                    Answer::Refused
                }
            };
        }
        asked.answer
    }
}
