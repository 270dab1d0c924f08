//! Removing a machine for good.

use crate::error::CoreError;
use crate::machine::vm::Vm;
use crate::model::change::Force;
use crate::store::run_record::LastExit;

impl Vm {
    /// Removes the machine: its disks, its definition, everything.
    ///
    /// The rename of its folder is the moment it ends. Deleting the files comes after; what is
    /// interrupted there is swept by the next change.
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] if it is not stopped, unless forced; [`CoreError::Remains`] if it
    /// is removed and some of its files could not be deleted.
    pub fn remove(&self, force: Force) -> Result<(), CoreError> {
        self.node().store().sweep()?;
        let lock = self.lock()?;
        if let Some(vmm) = self.vmm()? {
            if force == Force::No {
                return Err(CoreError::WrongState {
                    vm: self.name().clone(),
                    verb: "remove",
                    state: self.state(),
                });
            }
            self.note_asked(Some(LastExit::Forced));
            self.kill(&vmm).inspect_err(|_| self.note_asked(None))?;
            // Should it stay after all, it is a stopped machine like any other.
            self.settle();
        } else {
            self.unplug();
        }
        let gone = self.node().store().retire(self.definition().uuid)?;
        if let Err(source) = std::fs::remove_dir_all(&gone) {
            return Err(CoreError::Remains { vm: self.name().clone(), path: gone, source });
        }
        drop(lock);
        tracing::info!(vm = %self.name(), "removed");
        Ok(())
    }
}
