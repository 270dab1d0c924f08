//! The process behind a machine: cloud-hypervisor, its API and its sockets.

use std::path::PathBuf;
use std::time::Duration;

use virshle_hypervisor::{Client, HypervisorError, Vmm, failure_lines};

use crate::fs::file::remove_if_there;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;

/// The lines of cloud-hypervisor's log that an error carries, and of those that tell of a failure.
const LOG_LINES: usize = 8;
/// How long a killed VMM may take to end: it has memory to give back.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

impl Vm {
    /// The machine's VMM, if one runs.
    pub(crate) fn vmm(&self) -> Result<Option<Vmm>, MachineError> {
        Vmm::find(&self.api_socket(), &self.node().config().hypervisor.program)
            .map_err(|source| self.vmm_error("find the VMM of", source))
    }

    /// The VMMs that were started for this machine, also those that have lost their socket.
    pub(crate) fn all_vmms(&self) -> Result<Vec<Vmm>, MachineError> {
        Vmm::all_under(self.directory()).map_err(|source| self.vmm_error("find the VMM of", source))
    }

    pub(crate) fn client(
        &self,
        timeout: Duration,
        doing: &'static str,
    ) -> Result<Client, MachineError> {
        Client::connect(&self.api_socket(), timeout).map_err(|source| self.vmm_error(doing, source))
    }

    /// Adds the machine, and the end of cloud-hypervisor's log, to its failure.
    pub(crate) fn vmm_error(&self, doing: &'static str, source: HypervisorError) -> MachineError {
        // The log's end is in the error of one that died already.
        let log = match source {
            HypervisorError::Died { .. } => Vec::new(),
            _ => failure_lines(&self.vmm_log(), LOG_LINES),
        };
        MachineError::Hypervisor { vm: self.name().clone(), doing, log, source }
    }

    /// Kills the VMM and waits until it has ended.
    pub(crate) fn kill(&self, vmm: &Vmm) -> Result<(), MachineError> {
        vmm.kill().map_err(|source| self.vmm_error("kill the VMM of", source))?;
        if vmm.wait_exit(KILL_TIMEOUT) {
            return Ok(());
        }
        Err(MachineError::Unkillable { vm: self.name().clone(), pid: vmm.pid() })
    }

    /// The sockets that the machine has while it runs.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![self.api_socket(), self.vsock()];
        sockets.extend(self.definition().nets.iter().map(|net| self.net_socket(&net.name)));
        sockets
    }

    /// Removes the sockets that a killed VMM leaves behind: each of them would make the next
    /// start fail, as cloud-hypervisor does not take over any but its API's.
    pub(crate) fn remove_sockets(&self) {
        for path in self.sockets() {
            if let Err(error) = remove_if_there(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove");
            }
        }
    }
}
