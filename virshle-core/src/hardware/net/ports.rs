//! The ports of a machine on the switch: what is asked of them.

use virshle_net::{InterfaceName, NetError, Owner, PortRequest, Switch};

use crate::hardware::error::HardwareError;
use crate::hardware::queues;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};
use crate::model::port_name::is_port_name;

/// The interfaces of the machine whose other ends are ports of the switch.
pub(crate) fn switched(vm: &Vm) -> impl Iterator<Item = &NetDefinition> {
    vm.definition().nets.iter().filter(|net| net.kind.is_switched())
}

/// Refuses interfaces whose ports are not called as this machine's are: a device of another name is
/// not the machine's, whatever its definition says.
pub(crate) fn check_names(vm: &Vm) -> Result<(), HardwareError> {
    vm.definition().nets.iter().try_for_each(|net| check_name(vm, net))
}

pub(crate) fn check_name(vm: &Vm, net: &NetDefinition) -> Result<(), HardwareError> {
    // A user network has none.
    if net.kind == NetKind::User || is_port_name(&net.port, vm.definition().id) {
        return Ok(());
    }
    let (vm, net, port) = (vm.name().clone(), net.name.clone(), net.port.clone());
    Err(HardwareError::ForeignPort { vm, net, port })
}

/// Asks for the port of the tap of `net`.
pub(crate) fn tap_request(vm: &Vm, net: &NetDefinition) -> Result<PortRequest, NetError> {
    let name: InterfaceName = net.port.parse()?;
    Ok(with_identity(PortRequest::tap(name), vm, net))
}

/// Asks for the port of the vhost-user interface `net`.
pub(crate) fn vhost_request(vm: &Vm, net: &NetDefinition) -> PortRequest {
    let socket = vm.net_socket(&net.name);
    let request = PortRequest::vhost_user(&net.port, &socket);
    with_identity(request.queues(queues::of_net(vm.definition(), net)), vm, net)
}

fn with_identity(request: PortRequest, vm: &Vm, net: &NetDefinition) -> PortRequest {
    let owner = Owner::new(vm.definition().uuid.to_string(), vm.name().as_str());
    let mut request = request.mac(net.mac).owner(owner.node(vm.node().mark()));
    request = request.trunk(net.trunk.iter().copied());
    // What a tap sends is counted by a meter, with its guard.
    let rate_out = net.rate_out_bits.filter(|_| net.kind == NetKind::Vhost);
    request = request.rate_out_bits(rate_out).rate_in_bits(net.rate_in_bits);
    if let Some(vlan) = net.vlan {
        request = request.vlan(vlan);
    }
    if let Some(mtu) = net.mtu_bytes {
        request = request.mtu_bytes(mtu);
    }
    request
}

/// Lets the switch connect to the socket of the vhost-user interface `net`, which is there.
pub(crate) fn grant_access(vm: &Vm, switch: &Switch, net: &NetDefinition) -> Result<(), NetError> {
    let Some((uid, gid)) = switch.peer_uid_gid() else { return Ok(()) };
    let (socket, root) = (vm.net_socket(&net.name), vm.node().root());
    virshle_net::grant_socket_access(&socket, root, uid, gid)
}
