//! Plugs the NIC of a running machine out and in again: the way back from a vhost-user back end that died.
//!
//! cloud-hypervisor connects to the new back end by itself, and goes on with the rings where the guest has
//! filled them to, not where the old one had emptied them to: of the buffers that the guest holds out for
//! what it is to receive, the new one sees none, and the guest hears nothing any more. A device that is new
//! to the guest begins with empty rings.

use std::time::Duration;

use virshle_hypervisor::{Client, NetConfig, VmInfo};

use crate::fs::deadline::Deadline;
use crate::hardware::error::HardwareError;
use crate::hardware::net::config::vhost_config;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::definition::NetDefinition;

/// How long cloud-hypervisor may take for an answer: it connects to the back end before it gives one.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a guest may take to let go of its NIC. One that runs takes some milliseconds.
const RELEASE: Duration = Duration::from_secs(5);
/// Between two looks. There is an event, in a file that the VMM may write to as it likes.
const LOOK: Duration = Duration::from_millis(5);

/// What became of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replugged {
    /// The guest has a new one, at the same place.
    Done,
    /// The guest keeps the old one: it has no hotplug, or does not run yet, or no more.
    Kept,
}

/// Plugs the NIC of `net` out of the running machine and in again. The guest sees a new one with the same MAC
/// address at the same PCI address, and so of the same name.
pub(crate) fn replug(vm: &Vm, net: &NetDefinition) -> Result<Replugged, HardwareError> {
    const DOING: &str = "replace a network interface of";
    let failed = |source| HardwareError::from(vm.vmm_error(DOING, source));
    let client = vm.client(ANSWER, DOING).map_err(HardwareError::from)?;
    let info = client.info().map_err(failed)?;
    // Without one it was plugged out already, and a process was killed before it was in again; or its guest
    // has let go of it only since.
    let place = place_of(&info, net);
    if has(&info, net) {
        // From the configuration it goes at once, and is not to be asked for again.
        if info.config.net.iter().any(|one| one.id.as_deref() == Some(net.name.as_str())) {
            client.remove_device(&net.name).map_err(failed)?;
        }
        if !await_release(vm, &client, net)? {
            return Ok(Replugged::Kept);
        }
    }
    client.add_net(&at(vhost_config(vm, net), place)).map_err(failed)?;
    Ok(Replugged::Done)
}

/// Whether the machine has the NIC still.
fn has(info: &VmInfo, net: &NetDefinition) -> bool {
    info.device_tree.contains_key(&net.name)
}

/// Waits until the guest has let go of its NIC; false if it does not.
fn await_release(vm: &Vm, client: &Client, net: &NetDefinition) -> Result<bool, MachineError> {
    let deadline = Deadline::after(RELEASE);
    loop {
        let info = client.info();
        let info = info.map_err(|source| vm.vmm_error("look at the devices of", source))?;
        if !has(&info, net) {
            return Ok(true);
        }
        if deadline.is_over() {
            return Ok(false);
        }
        std::thread::sleep(LOOK.min(deadline.left()));
    }
}

/// The number of the NIC's place on its PCI bus: that of the device in front of it.
fn place_of(info: &VmInfo, net: &NetDefinition) -> Option<u8> {
    let mut devices = info.device_tree.values();
    let holder = devices.find(|device| {
        device.pci_bdf.is_some() && (device.id == net.name || device.children.contains(&net.name))
    })?;
    device_number(holder.pci_bdf.as_deref()?)
}

/// The device's number in `0000:00:05.0`.
fn device_number(address: &str) -> Option<u8> {
    let (device, _) = address.rsplit(':').next()?.split_once('.')?;
    u8::from_str_radix(device, 16).ok()
}

/// An interface at that place; where it fits if there is none.
fn at(mut config: NetConfig, place: Option<u8>) -> NetConfig {
    if let Some(place) = place {
        config.extra.insert("pci_device_id".to_owned(), place.into());
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_a_pci_address() {
        assert_eq!(device_number("0000:00:05.0"), Some(5));
        assert_eq!(device_number("0000:00:1f.0"), Some(31));
        for odd in ["", "5", "0000:00:05", "0000:00:xy.0", "0000:00:.0"] {
            assert_eq!(device_number(odd), None, "{odd}");
        }
    }
}
