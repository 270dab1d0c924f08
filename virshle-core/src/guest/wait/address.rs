//! Whether an address of a machine is known that holds beyond one link.

use crate::address::addresses_among;
use crate::guest::wait::missing::{Missing, Wakeup};
use crate::machine::vm::Vm;

pub(super) fn missing_address(vm: &Vm) -> Option<Missing> {
    let addresses = addresses_among(vm, &vm.node().host_addresses());
    if addresses.iter().any(|address| !address.is_link_local()) {
        return None;
    }
    let what =
        "neither its definition, its console, a DHCP lease nor the host's neighbours give one";
    // What the guest writes on its console comes a letter at a time: not worth an event each.
    Some(Missing { what: what.into(), wakeup: Wakeup::Poll })
}
