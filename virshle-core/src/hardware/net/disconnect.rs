//! The end of a machine's ports and devices.

use std::time::Duration;

use virshle_net::{InterfaceName, Macvtap};

use crate::hardware::net::guard::unguard;
use crate::hardware::net::ports::{check_name, switched};
use crate::hardware::net::user;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::definition::NetKind;
use crate::network::publish::withdraw;

/// How long the switch may take to remove ports. Nothing waits for it to have done so.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Removes the machine's ports and devices, if there are any. What can't be removed is logged;
/// a repair of the node finds it by its mark.
pub(crate) fn disconnect(vm: &Vm) {
    if let Err(error) = try_disconnect(vm) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(vm = %vm.name(), %error, cause, "its ports are left behind");
    }
}

/// The same; the error is that of the first that can't be removed.
pub(crate) fn try_disconnect(vm: &Vm) -> Result<(), MachineError> {
    let failed = |source| {
        let doing = format!("remove the ports of machine {}", vm.name());
        MachineError::Switch { doing, source }
    };
    user::end(vm);
    let mut result = withdraw(vm);
    if switched(vm).next().is_some() {
        unguard(vm, TIMEOUT);
        let removed = vm.node().switch(TIMEOUT).and_then(|mut switch| {
            let uuid = vm.definition().uuid.to_string();
            switch.remove_ports_of(&uuid, TIMEOUT).map(drop).map_err(failed)
        });
        result = result.and(removed);
    }
    for net in vm.definition().nets.iter().filter(|net| net.kind == NetKind::Macvtap) {
        if let Err(error) = check_name(vm, net) {
            tracing::warn!(%error, "a device of that name is left alone");
            continue;
        }
        let removed = net.port.parse().and_then(|name: InterfaceName| Macvtap::delete(&name));
        result = result.and(removed.map(drop).map_err(failed));
    }
    result
}
