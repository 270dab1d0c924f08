//! How a run ended, when nobody was asked to end it: what cloud-hypervisor left in writing.

use virshle_hypervisor::ExitReason;

use crate::machine::vm::Vm;
use crate::store::run_record::LastExit;

/// Reads the end of the last run off the events and the log that it left behind.
pub(crate) fn witness(vm: &Vm) -> LastExit {
    match virshle_hypervisor::exit_reason(&vm.events(), &vm.vmm_log()) {
        ExitReason::GuestPowerOff => LastExit::Guest,
        ExitReason::Crashed => LastExit::Crashed,
        // Ended by its API or a signal, by another hand than ours.
        _ => LastExit::Unknown,
    }
}
