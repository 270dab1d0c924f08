//! Whether a machine was started, and its guest runs.

use crate::guest::wait::missing::{Missing, Wakeup};
use crate::machine::vm::Vm;
use crate::model::run::Phase;
use crate::model::state::VmState;
use crate::store::run_record;

pub(super) fn missing_boot(vm: &Vm) -> Option<Missing> {
    let state = vm.state();
    let wakeup = match state {
        VmState::Running if run_record::read(vm.directory())?.phase == Phase::Started => {
            return None;
        }
        // Nothing shows that a VMM that was silent isn't any more.
        VmState::Unresponsive => Wakeup::Poll,
        _ => Wakeup::Event,
    };
    let what = match state {
        VmState::Running => "it is being started".into(),
        _ => format!("it is {state}"),
    };
    Some(Missing { what, wakeup })
}
