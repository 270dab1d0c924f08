//! What is done once a machine's VMM has ended: its end is recorded, its ports and sockets are freed.

use crate::hardware::net::disconnect::{disconnect, try_disconnect};
use crate::machine::error::MachineError;
use crate::machine::last_exit;
use crate::machine::vm::Vm;
use crate::model::run::{LastExit, Phase, Run};
use crate::store::run_record;

/// Records what is asked of the machine, as nothing shows it afterwards. If that fails it is only
/// logged: a machine on a full filesystem has to be stopped all the same.
pub(crate) fn record_asked(vm: &Vm, asked: Option<LastExit>) {
    let run = run_record::read(vm.directory())
        .unwrap_or_else(|| Run::starting(run_record::boot_id()).started());
    let run = Run { asked, ..run };
    if let Err(error) = run_record::write(&run, vm.directory()) {
        tracing::warn!(vm = %vm.name(), %error, "cannot record that this was asked for");
    }
}

/// Clears what a run leaves behind, once its VMM has ended: ports, sockets, and the open question how
/// it ended.
///
/// What can't be cleared is only logged: the machine is stopped all the same, and its next start or
/// a repair of the node clears it.
pub(crate) fn clear_run(vm: &Vm) {
    record_end(vm);
    disconnect(vm);
    vm.remove_sockets();
}

/// The same, for who is to report what can't be cleared; the error is that of the first.
pub(crate) fn try_clear_run(vm: &Vm) -> Result<(), MachineError> {
    record_end(vm);
    let disconnected = try_disconnect(vm);
    disconnected.and(vm.try_remove_sockets().map_err(MachineError::from))
}

fn record_end(vm: &Vm) {
    if let Some(run) = run_record::read(vm.directory())
        && run.ended.is_none()
    {
        let ended = run_record::exit(&run, || last_exit::deduce(vm));
        let run = Run { ended: Some(ended), phase: Phase::Started, ..run };
        if let Err(error) = run_record::write(&run, vm.directory()) {
            tracing::warn!(vm = %vm.name(), %error, "cannot record how the run ended");
        }
    }
}
