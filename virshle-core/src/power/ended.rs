//! What is done once a machine's VMM has ended: its end is recorded, its ports and sockets are freed.

use crate::hardware::net::disconnect::{disconnect, try_disconnect};
use crate::machine::caller::caller;
use crate::machine::error::MachineError;
use crate::machine::last_exit;
use crate::machine::vm::Vm;
use crate::model::run::{LastExit, Phase, Run};
use crate::store::{history, run_record};

/// Records what is asked of the machine and by whom, as nothing shows it afterwards. If that fails it is
/// only logged: a machine on a full filesystem has to be stopped all the same.
pub(crate) fn record_asked(vm: &Vm, asked: Option<LastExit>) {
    let run = run_record::read(vm.directory())
        .unwrap_or_else(|| Run::starting(run_record::boot_id()).started());
    let run = Run { asked, asked_by: asked.map(|_| caller()), ..run };
    if let Err(error) = run_record::write(&run, vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "cannot record that this was asked for");
    }
}

/// Records how the machine's last run ended, in its own record and in the history, unless that is done.
/// The caller holds the machine's lock, and there is no VMM.
///
/// What can't be recorded is only logged. The history comes first: a process that dies in between leaves
/// the question open, and who asks it again replaces what is there.
pub(crate) fn record_end(vm: &Vm) {
    let Some(run) = run_record::read(vm.directory()).filter(|run| run.ended.is_none()) else {
        return;
    };
    let past = last_exit::past_run(vm, &run);
    if let Err(error) = history::add(&run.id(), &past, vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "cannot add the run to the history");
    }
    let run = Run { ended: Some(past.exit), phase: Phase::Started, ..run };
    if let Err(error) = run_record::write(&run, vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "cannot record how the run ended");
    }
}

/// Clears what a run leaves behind, once its VMM has ended: ports, sockets, and the open question how
/// it ended. The ports are first, as others see them; the sockets last, as one of them is evidence.
///
/// What can't be cleared is only logged: the machine is stopped all the same, and its next start or
/// a repair of the node clears it.
pub(crate) fn clear_run(vm: &Vm) {
    disconnect(vm);
    record_end(vm);
    vm.remove_sockets();
}

/// The same, for who is to report what can't be cleared; the error is that of the first.
pub(crate) fn try_clear_run(vm: &Vm) -> Result<(), MachineError> {
    let disconnected = try_disconnect(vm);
    record_end(vm);
    disconnected.and(vm.try_remove_sockets().map_err(MachineError::from))
}
