//! How a run ended, when its end was not asked for: deduced from what cloud-hypervisor left in writing.

use virshle_hypervisor::ExitReason;

use crate::machine::vm::Vm;
use crate::model::run::LastExit;

/// Deduces the end of the last run from the events and the log that it left behind.
pub(crate) fn deduce(vm: &Vm) -> LastExit {
    match virshle_hypervisor::exit_reason_of_machine(&vm.events(), &vm.vmm_log(), &vm.vsock()) {
        ExitReason::GuestPowerOff => LastExit::Guest,
        ExitReason::Crashed => LastExit::Crashed,
        // Ended by its API or a signal, by another hand than ours.
        ExitReason::HostShutdown | ExitReason::Unknown => LastExit::Unknown,
    }
}
