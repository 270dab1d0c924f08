//! What keeps a running machine from its network, and how it gets it back.

use std::time::Duration;

use virshle_net::{Device, InterfaceName, NetError, OwnedPort, PortRequest, Switch};

use crate::hardware::error::HardwareError;
use crate::hardware::net::bridge::require_bridge;
use crate::hardware::net::guard::{GuardBook, guard, guard_of, id_of};
use crate::hardware::net::linux_bridge;
use crate::hardware::net::ports::{grant_access, switched, tap_request, vhost_request};
use crate::hardware::net::user;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// What is wrong with an interface of a running machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// Its port is missing, or not as it is defined.
    Port(String),
    /// Its tap is open to the host's IP stack.
    Tap(String),
    /// Its port is as it should be, and not guarded, or not wholly: the number that it has.
    Guard(u32, String),
}

impl Lapse {
    /// What is wrong, for people.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Port(text) | Self::Tap(text) | Self::Guard(_, text) => text,
        }
    }
}

/// What is wrong with the interfaces of a running machine, when the switch has these ports.
pub(crate) fn lapses<'a>(
    vm: &'a Vm,
    ports: &[OwnedPort],
    book: &mut GuardBook<'_>,
) -> Result<Vec<(&'a NetDefinition, Lapse)>, NetError> {
    let uuid = vm.definition().uuid.to_string();
    let mut lapses = Vec::new();
    for net in switched(vm) {
        let port = ports.iter().find(|port| port.name == net.port && port.owner.uuid == uuid);
        if let Some(text) = port_lapse(vm, net, port)? {
            lapses.push((net, Lapse::Port(text)));
        } else if let Some(ofport) = port.and_then(number_of) {
            if let Some(guard) = guard_of(vm, net, ofport) {
                let state = book.state(&net.bridge, id_of(vm, net))?;
                if state.is_some_and(|state| !guard.is(state.as_ref())) {
                    let port = &net.port;
                    lapses.push((net, Lapse::Guard(ofport, format!("port {port} is not guarded"))));
                }
            }
        }
        if net.kind == NetKind::Tap {
            let device: InterfaceName = net.port.parse()?;
            if Device::find(&device)?.is_none() {
                let text = format!("tap {device} is gone: only a restart gives it another one");
                lapses.push((net, Lapse::Tap(text)));
                continue;
            }
            let open = Device::isolation_lapses(&device)?;
            if !open.is_empty() {
                let text = format!("tap {device} is open to the host: {}", open.join(", "));
                lapses.push((net, Lapse::Tap(text)));
            }
        }
    }
    Ok(lapses)
}

fn port_lapse(
    vm: &Vm,
    net: &NetDefinition,
    port: Option<&OwnedPort>,
) -> Result<Option<String>, NetError> {
    let (name, bridge) = (&net.port, &net.bridge);
    let Some(port) = port else {
        return Ok(Some(format!("port {name} is missing on bridge {bridge}")));
    };
    let wanted = request(vm, net)?;
    let vlans = wanted.vlans();
    let broken = port.error.is_some() || number_of(port).is_none();
    Ok(if port.bridge != *bridge {
        Some(format!("port {name} is on bridge {}, not {bridge}", port.bridge))
    } else if port.vlans != vlans {
        Some(format!("port {name} is {}, not {vlans}", port.vlans))
    } else if port.rates != wanted.rates() {
        Some(format!("port {name} is not kept to its rates"))
    } else if broken {
        let reason = port.error.as_deref().unwrap_or("it has no number");
        Some(format!("port {name} does not work: {reason}"))
    } else {
        None
    })
}

/// The number that a working port has on its bridge.
fn number_of(port: &OwnedPort) -> Option<u32> {
    port.ofport.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

/// Gives a running machine what is missing of its network, and returns what that was. What works is
/// not touched. The caller holds the machine's lock.
pub(crate) fn reconnect(vm: &Vm, timeout: Duration) -> Result<Vec<String>, HardwareError> {
    let mut missed = user::restart_lost(vm)?;
    require_taps(vm)?;
    missed.extend(linux_bridge::reconnect(vm).map_err(HardwareError::network(vm))?);
    if switched(vm).next().is_some() {
        let mut switch = vm.node().switch(timeout)?;
        let lapses = reconnect_by(vm, &mut switch, timeout).map_err(HardwareError::network(vm))?;
        missed.extend(lapses);
    }
    Ok(missed)
}

/// Refuses a machine of which a tap is gone: nothing but a restart gives it another one.
fn require_taps(vm: &Vm) -> Result<(), HardwareError> {
    for net in vm.definition().nets.iter().filter(|net| net.kind.is_tap()) {
        let device = net.port.parse().and_then(|device: InterfaceName| Device::find(&device));
        if device.map_err(HardwareError::network(vm))?.is_none() {
            return Err(HardwareError::TapGone { vm: vm.name().clone(), port: net.port.clone() });
        }
    }
    Ok(())
}

fn reconnect_by(vm: &Vm, switch: &mut Switch, timeout: Duration) -> Result<Vec<String>, NetError> {
    let ports = switch.owned_ports()?;
    let lapses = lapses(vm, &ports, &mut GuardBook::new(vm.node(), timeout))?;
    for (net, lapse) in &lapses {
        if net.kind == NetKind::Tap {
            Device::isolate(&net.port.parse()?)?;
        }
        if let Lapse::Port(_) = lapse {
            require_bridge(vm.node(), switch, &net.bridge, timeout)?;
            if net.kind == NetKind::Vhost {
                grant_access(vm, switch, net)?;
            }
            // A port of the machine's own that is not as it should be is replaced.
            let added = switch.add_ports(&net.bridge, &[request(vm, net)?], timeout)?;
            let ports: Vec<_> = added.into_iter().map(|port| (port.name, port.ofport)).collect();
            guard(vm, &net.bridge, &ports, timeout)?;
        }
        if let Lapse::Guard(ofport, _) = lapse {
            guard(vm, &net.bridge, &[(net.port.clone(), *ofport)], timeout)?;
        }
    }
    Ok(lapses.into_iter().map(|(_, lapse)| lapse.text()).collect())
}

fn request(vm: &Vm, net: &NetDefinition) -> Result<PortRequest, NetError> {
    match net.kind {
        NetKind::Vhost => Ok(vhost_request(vm, net)),
        NetKind::Tap | NetKind::Bridge | NetKind::Macvtap | NetKind::User => tap_request(vm, net),
    }
}
