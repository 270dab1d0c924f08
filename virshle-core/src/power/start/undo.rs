//! Undoing a start that failed.

use crate::hardware::net::disconnect::disconnect;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::run::Run;
use crate::store::run_record;

/// Undoes a start that failed: goes on past what can't be undone, and logs it.
pub(super) fn undo(vm: &Vm, previous: Option<&Run>) {
    if let Err(error) = kill_all(vm) {
        tracing::warn!(vm = %vm.name(), %error, "its VMM is left behind");
    }
    disconnect(vm);
    vm.remove_sockets();
    if let Err(error) = run_record::restore(previous, vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "cannot remove the record of the failed start");
    }
}

/// Kills the machine's VMM, and those that were started for it and have lost their socket.
fn kill_all(vm: &Vm) -> Result<(), MachineError> {
    if let Some(vmm) = vm.vmm()? {
        vm.kill(&vmm)?;
    }
    vm.all_vmms()?.iter().try_for_each(|vmm| vm.kill(vmm))
}
