//! Holding a machine for a process that looks after it: longer than a command waits.

use std::time::Duration;

use uuid::Uuid;

use crate::fs::deadline::Deadline;
use crate::fs::error::FileError;
use crate::fs::lock::Lock;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::store::error::StoreError;

/// How long this waits for another process that works on the machine: a start may take a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machine, locked; nothing if there is none any more.
pub(crate) fn hold(node: &Node, uuid: Uuid) -> Result<Option<(Vm, Lock)>, MachineError> {
    let deadline = Deadline::after(PATIENCE);
    loop {
        let vm = match node.vm(uuid) {
            Ok(vm) => vm,
            Err(MachineError::Select(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match vm.lock() {
            // Its definition may have been changed while this waited.
            Ok(lock) => match node.vm(uuid) {
                Ok(vm) => return Ok(Some((vm, lock))),
                Err(MachineError::Select(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
            Err(MachineError::Removed { .. }) => return Ok(None),
            Err(error) if is_locked(&error) && !deadline.is_over() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether another process works on the machine.
pub(crate) fn is_locked(error: &MachineError) -> bool {
    matches!(error, MachineError::Store(StoreError::File(FileError::Locked { .. })))
}
