//! Interfaces on a bridge of the host's kernel, which is others' to make and to keep.

use virshle_net::{Device, InterfaceName, LinuxBridge, LinuxPort, MacAddr, NetError, Tap};
use virshle_template::NetTemplate;

use crate::hardware::error::HardwareError;
use crate::hardware::net::rates::device_rates;
use crate::hardware::net::taps::{isolate, tap_of_queues};
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// The interfaces of the machine that are on a bridge of the kernel.
pub(crate) fn bridged(vm: &Vm) -> impl Iterator<Item = &NetDefinition> {
    vm.definition().nets.iter().filter(|net| net.kind == NetKind::Bridge)
}

/// The bridge of that name.
pub(crate) fn find(name: &str) -> Result<LinuxBridge, NetError> {
    LinuxBridge::find(&name.parse()?)
}

/// What the tap of `net` is to be on its bridge.
fn port(net: &NetDefinition) -> LinuxPort {
    let addresses = net.addresses.iter().map(|address| address.ip);
    let port = LinuxPort::new(net.mac).addresses(addresses).trusted(net.trust);
    in_vlans(port, net.vlan, &net.trunk)
}

/// The VLANs of what a template asks for, on any bridge.
pub(crate) fn port_of_template(net: &NetTemplate) -> LinuxPort {
    in_vlans(LinuxPort::new(MacAddr::new([0; 6])), net.vlan, &net.trunk)
}

fn in_vlans(port: LinuxPort, vlan: Option<u16>, trunk: &[u16]) -> LinuxPort {
    match vlan {
        Some(vlan) => port.vlan(vlan),
        None => port.trunk(trunk.iter().copied()),
    }
}

/// Makes sure that the machine's bridges are there and can do what it needs, before anything is changed.
pub(crate) fn check(vm: &Vm) -> Result<(), HardwareError> {
    for net in bridged(vm) {
        let checked = find(&net.bridge).and_then(|bridge| {
            port(net).check(&bridge)?;
            Ok(bridge)
        });
        let bridge = checked.map_err(HardwareError::network(vm))?;
        if let Some(mtu_bytes) = net.mtu_bytes
            && u32::from(mtu_bytes) > bridge.mtu_bytes
        {
            return Err(HardwareError::MtuOfBridge {
                vm: vm.name().clone(),
                net: net.name.clone(),
                mtu_bytes,
                bridge: bridge.name.to_string(),
                most: bridge.mtu_bytes,
            });
        }
        if !bridge.is_up {
            tracing::warn!(vm = %vm.name(), bridge = %bridge.name, "the bridge is down: it forwards nothing");
        }
        if bridge.has_spanning_tree && bridge.is_up {
            tracing::info!(
                vm = %vm.name(), bridge = %bridge.name,
                "the bridge has the spanning tree protocol: a new port forwards nothing for a while"
            );
        }
    }
    Ok(())
}

/// Creates the tap of `net`, as a port of its bridge, and sets it up.
pub(crate) fn create_tap(net: &NetDefinition, queues: u16) -> Result<Tap, NetError> {
    let bridge = find(&net.bridge)?;
    let tap = tap_of_queues(net, queues)?;
    // A bridge takes the least MTU of its ports for its own, and the least of their addresses.
    let of_bridge = u16::try_from(bridge.mtu_bytes).unwrap_or(u16::MAX);
    tap.set_mtu(net.mtu_bytes.unwrap_or(of_bridge))?;
    tap.set_mac(high_address(net.mac))?;
    isolate(net)?;
    // It is down: no frame passes before it is kept to its VLANs.
    port(net).attach(tap.name(), &bridge)?;
    device_rates(net).apply(tap.name())?;
    tap.set_up()?;
    Ok(tap)
}

/// An address of the host's side that no bridge prefers to its own.
fn high_address(mac: MacAddr) -> MacAddr {
    let [_, rest @ ..] = mac.bytes();
    let [a, b, c, d, e] = rest;
    MacAddr::new([0xfe, a, b, c, d, e])
}

/// What is wrong with the interfaces of a running machine that are on a bridge of the kernel, for people.
pub(crate) fn lapses(vm: &Vm) -> Result<Vec<String>, NetError> {
    let mut found = Vec::new();
    for net in bridged(vm) {
        found.extend(lapses_of(net)?);
    }
    Ok(found)
}

fn lapses_of(net: &NetDefinition) -> Result<Vec<String>, NetError> {
    let device: InterfaceName = net.port.parse()?;
    let Some(tap) = Device::find(&device)? else {
        return Ok(vec![format!("tap {device} is gone: only a restart gives it another one")]);
    };
    let mut found = match find(&net.bridge) {
        Ok(bridge) => match port(net).check(&bridge) {
            Ok(()) => port(net).lapses(&device, &bridge)?,
            Err(error) => vec![error.to_string()],
        },
        Err(error @ (NetError::NoLinuxBridge { .. } | NetError::NotALinuxBridge { .. })) => {
            vec![error.to_string()]
        }
        Err(error) => return Err(error),
    };
    if !device_rates(net).hold(&device)? {
        found.push(format!("tap {device} is not kept to its rates"));
    }
    if !tap.is_up {
        found.push(format!("tap {device} is down"));
    }
    let open = Device::isolation_lapses(&device)?;
    if !open.is_empty() {
        found.push(format!("tap {device} is open to the host: {}", open.join(", ")));
    }
    Ok(found)
}

/// Puts the taps of a running machine right, and returns what was wrong. What works is not touched.
pub(crate) fn reconnect(vm: &Vm) -> Result<Vec<String>, NetError> {
    let mut found = Vec::new();
    for net in bridged(vm) {
        let lapses = lapses_of(net)?;
        if lapses.is_empty() {
            continue;
        }
        isolate(net)?;
        let tap: InterfaceName = net.port.parse()?;
        port(net).attach(&tap, &find(&net.bridge)?)?;
        device_rates(net).apply(&tap)?;
        Device::set_up(&tap)?;
        found.extend(lapses);
    }
    Ok(found)
}
