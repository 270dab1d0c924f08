//! The ports of a machine on the switch: what is asked of them, whether they are there, and their end.

use std::time::Duration;

use virshle_net::{InterfaceName, Macvtap, NetError, Owner, PortRequest};

use crate::hardware::error::HardwareError;
use crate::hardware::net::user;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// How long the switch may take to remove ports. Nothing waits for it to have done so.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The interfaces of the machine whose other ends are ports of the switch.
pub(crate) fn switched(vm: &Vm) -> impl Iterator<Item = &NetDefinition> {
    vm.definition().nets.iter().filter(|net| net.kind.is_switched())
}

/// Asks for the port of the tap of `net`.
pub(crate) fn tap_request(vm: &Vm, net: &NetDefinition) -> Result<PortRequest, NetError> {
    let name: InterfaceName = net.port.parse()?;
    Ok(with_identity(PortRequest::tap(name), vm, net))
}

/// Asks for the port of the vhost-user interface `net`.
pub(crate) fn vhost_request(vm: &Vm, net: &NetDefinition) -> PortRequest {
    let socket = vm.net_socket(&net.name);
    with_identity(PortRequest::vhost_user(&net.port, &socket), vm, net)
}

fn with_identity(request: PortRequest, vm: &Vm, net: &NetDefinition) -> PortRequest {
    let owner = Owner::new(vm.definition().uuid.to_string(), vm.name().as_str());
    let mut request = request.mac(net.mac).owner(owner.node(vm.node().mark()));
    if let Some(vlan) = net.vlan {
        request = request.vlan(vlan);
    }
    if let Some(mtu) = net.mtu_bytes {
        request = request.mtu_bytes(mtu);
    }
    request
}

/// Whether the switch has created every port of the machine, and a passt serves each of its user networks.
pub(crate) fn are_connected(vm: &Vm) -> Result<bool, HardwareError> {
    if !user::lost(vm).is_empty() {
        return Ok(false);
    }
    let mut switched = switched(vm).peekable();
    if switched.peek().is_none() {
        return Ok(true);
    }
    let ports = vm.node().switch(TIMEOUT)?.owned_ports().map_err(HardwareError::network(vm))?;
    let uuid = vm.definition().uuid.to_string();
    Ok(switched.all(|net| {
        ports.iter().any(|port| {
            port.name == net.port
                && port.owner.uuid == uuid
                && port.ofport.is_some_and(|number| number > 0)
        })
    }))
}

/// Removes the machine's ports, devices and passts, if there are any. What can't be removed is logged;
/// a repair of the node finds it by its mark.
pub(crate) fn disconnect(vm: &Vm) {
    user::end(vm);
    if switched(vm).next().is_some() {
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
