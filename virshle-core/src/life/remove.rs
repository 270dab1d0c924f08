//! Removing a machine for good.

use crate::fs::error::FileError;
use crate::fs::remove::remove_locked;
use crate::hardware::confine::release;
use crate::hardware::net::disconnect::disconnect;
use crate::life::error::RemoveError;
use crate::machine::vm::Vm;
use crate::model::change::Force;
use crate::model::run::LastExit;
use crate::network::hosts;
use crate::power::ended::{clear_run, record_asked};
use crate::store::layout::LOCK;

impl Vm {
    /// Removes the machine: its disks, its definition, everything.
    ///
    /// The rename of its directory is the moment it ends. Deleting the files comes after; what is
    /// interrupted there is swept by the next change.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`](crate::MachineError::WrongState) if it is not stopped, unless
    /// forced; [`RemoveError::Remains`] if it is removed and some of its files could not be deleted.
    pub fn remove(&self, force: Force) -> Result<(), RemoveError> {
        remove(self, force)
    }
}

fn remove(vm: &Vm, force: Force) -> Result<(), RemoveError> {
    vm.node().store().sweep()?;
    let lock = vm.lock()?;
    match vm.vmm()? {
        Some(_) if force == Force::No => return Err(vm.wrong_state("remove", vm.state()).into()),
        Some(vmm) => {
            record_asked(vm, Some(LastExit::Forced));
            vm.kill(&vmm).inspect_err(|_| record_asked(vm, None))?;
            // Should it stay after all, it is a stopped machine like any other.
            clear_run(vm);
        }
        None => disconnect(vm),
    }
    release(vm);
    hosts::forget(vm);
    let gone = vm.node().store().retire(vm.definition().uuid)?;
    remove_locked(&gone, LOCK, lock).map_err(|error| match error {
        FileError::Remove { path, source } => {
            RemoveError::Remains { vm: vm.name().clone(), path, source }
        }
        other => other.into(),
    })?;
    tracing::info!(vm = %vm.name(), "removed");
    Ok(())
}
