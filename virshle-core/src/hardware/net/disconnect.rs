//! The end of a machine's ports and devices.

use std::time::Duration;

use virshle_net::{InterfaceName, Macvtap};

use crate::hardware::error::HardwareError;
use crate::hardware::net::guard::unguard;
use crate::hardware::net::ports::switched;
use crate::machine::vm::Vm;
use crate::model::definition::NetKind;

/// How long the switch may take to remove ports. Nothing waits for it to have done so.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Removes the machine's ports and devices, if there are any. What can't be removed is logged;
/// a repair of the node finds it by its mark.
pub(crate) fn disconnect(vm: &Vm) {
    if switched(vm).next().is_some() {
        unguard(vm, TIMEOUT);
        let removed =
            vm.node().switch(TIMEOUT).map_err(HardwareError::from).and_then(|mut switch| {
                switch
                    .remove_ports_of(&vm.definition().uuid.to_string(), TIMEOUT)
                    .map_err(HardwareError::network(vm))
            });
        if let Err(error) = removed {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(vm = %vm.name(), %error, cause, "its ports are left behind");
        }
    }
    for net in vm.definition().nets.iter().filter(|net| net.kind == NetKind::Macvtap) {
        let removed = net.port.parse().and_then(|name: InterfaceName| Macvtap::delete(&name));
        if let Err(error) = removed {
            tracing::warn!(vm = %vm.name(), device = net.port, %error, "left behind");
        }
    }
}
