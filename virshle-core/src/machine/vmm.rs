//! The process behind a machine: cloud-hypervisor, its API and its sockets.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use virshle_hypervisor::{Client, HypervisorError, Vmm, failure_lines};

use crate::fs::error::FileError;
use crate::fs::file::remove_if_there;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::store::{Store, layout};

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
        let found = Vmm::all_under(self.directory());
        let found = found.map_err(|source| self.vmm_error("find the VMM of", source))?;
        Ok(found.into_iter().filter(|vmm| belongs_to(vmm, self.node().store())).collect())
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
        if let Err(error) = self.try_remove_sockets() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(vm = %self.name(), %error, cause, "left behind");
        }
    }

    /// The same; the error is that of the first that can't be removed.
    pub(crate) fn try_remove_sockets(&self) -> Result<(), FileError> {
        let mut result = Ok(());
        for path in self.sockets() {
            let removed = remove_if_there(&path);
            result = result.and(removed.map_err(|source| FileError::Remove { path, source }));
        }
        result
    }
}

/// Whether a process that has a file of the node among its arguments is one that the node started: its
/// API socket lies in a machine's directory, and it runs as the owner of the node or as the user of
/// that machine. Others may name what files they like.
pub(crate) fn belongs_to(vmm: &Vmm, store: &Store) -> bool {
    let Ok(inside) = vmm.api_socket().strip_prefix(store.machines()) else { return false };
    let Some(uid) = vmm.uid() else { return false };
    let owner = |path: &Path| path.metadata().ok().map(|metadata| metadata.uid());
    // The disks belong to the machine's own user, if it has one.
    let machine = inside.components().next().map(|name| store.machines().join(name));
    owner(store.root()) == Some(uid)
        || machine.is_some_and(|machine| owner(&layout::disks(&machine)) == Some(uid))
}
