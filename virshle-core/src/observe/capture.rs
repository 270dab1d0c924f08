//! Looking at the frames of a machine: what `v net capture` shows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use virshle_net::{Capture, InterfaceName};

use crate::hardware::net::ports::switched;
use crate::machine::node::Node;
use crate::model::name::VmName;
use crate::model::selector::Selection;
use crate::model::state::VmState;
use crate::observe::error::NetworkError;

/// How long the switch may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A copy of every frame that a machine sends and gets by one of its interfaces, while this is held.
#[derive(Debug)]
pub struct NetCapture {
    /// The machine.
    pub vm: VmName,
    /// The port that is looked at.
    pub port: String,
    node: Node,
    capture: Option<Capture>,
    vmm: OwnedFd,
}

impl Node {
    /// Begins to copy the frames of a machine: `word` is an id, a name or a uuid, perhaps with `/NET` behind
    /// it for another interface than the first. What a copying that was killed has left is removed.
    ///
    /// # Errors
    ///
    /// [`NetworkError`].
    pub fn capture(&self, word: &str) -> Result<NetCapture, NetworkError> {
        capture(self, word)
    }
}

fn capture(node: &Node, word: &str) -> Result<NetCapture, NetworkError> {
    let (name, net) = match word.split_once('/') {
        Some((name, net)) => (name, Some(net)),
        None => (word, None),
    };
    let bridge = || node.config().network.bridge.clone();
    let no_target = || NetworkError::NoTarget { word: word.into(), bridge: bridge() };
    let vm = node.select(&Selection::word(name))?.pop().ok_or_else(no_target)?;
    let found = switched(&vm).find(|one| net.is_none_or(|net| one.name == net));
    let found = found
        .ok_or_else(|| NetworkError::NoPort { vm: vm.name().clone(), net: net.map(Into::into) })?;
    let state = vm.state();
    let vmm = vm.vmm()?.filter(|_| matches!(state, VmState::Running | VmState::Paused));
    let pid = vmm.and_then(|vmm| Pid::from_raw(i32::try_from(vmm.pid()).ok()?));
    // Its end is the end of what is copied.
    let vmm = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let vmm = vmm.ok_or_else(|| vm.wrong_state("capture the frames of", state))?;
    let failed = |source| NetworkError::Switch {
        doing: format!("capture the frames of machine {}", vm.name()),
        source,
    };
    let mut switch = node.switch(TIMEOUT)?;
    let mark = node.mark();
    for name in switch.sweep_captures(&mark, TIMEOUT).map_err(failed)? {
        tracing::debug!(name, "a capture that was killed is removed");
    }
    // One process captures once.
    let tap: InterfaceName = format!("vcap{}", std::process::id()).parse().map_err(failed)?;
    let capture =
        switch.capture(&found.bridge, &found.port, &tap, &mark, TIMEOUT).map_err(failed)?;
    let (vm, port) = (vm.name().clone(), found.port.clone());
    Ok(NetCapture { vm, port, node: node.clone(), capture: Some(capture), vmm })
}

impl NetCapture {
    /// The next frame, without waiting; nothing if there is none yet.
    ///
    /// # Errors
    ///
    /// If the tap of the copies was deleted.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        match &mut self.capture {
            Some(capture) => capture.next_frame(),
            None => Ok(None),
        }
    }

    /// What is readable when there is a frame; and when the machine has ended.
    pub fn descriptors(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.capture.as_ref().map(|capture| [capture.as_fd(), self.vmm.as_fd()])
    }

    /// Ends the copying, and removes the mirror.
    ///
    /// # Errors
    ///
    /// If the switch gives no answer; the next capture, or a repair of the node, removes it then.
    pub fn end(mut self) -> Result<(), NetworkError> {
        self.close()
    }

    fn close(&mut self) -> Result<(), NetworkError> {
        let Some(capture) = self.capture.take() else { return Ok(()) };
        capture.end();
        let swept = self.node.switch(TIMEOUT)?.sweep_captures(&self.node.mark(), TIMEOUT);
        swept.map(drop).map_err(|source| NetworkError::Switch {
            doing: format!("remove the mirror of port {}", self.port),
            source,
        })
    }
}

impl Drop for NetCapture {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "a mirror is left behind");
        }
    }
}
