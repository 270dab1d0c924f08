//! Connects a machine that starts: its devices, and its ports on the switch.

use std::sync::Arc;
use std::time::Duration;

use virshle_hypervisor::Client;
use virshle_net::{NetError, PendingPorts, PortRequest, Switch};

use crate::hardware::error::HardwareError;
use crate::hardware::net::bridge::require_bridge;
use crate::hardware::net::config::{Offloads, descriptor_config, vhost_config};
use crate::hardware::net::devices::Device;
use crate::hardware::net::guard::guard;
use crate::hardware::net::ports::{grant_access, switched, tap_request, vhost_request};
use crate::hardware::net::shared_ports::{Answer, SharedPorts};
use crate::hardware::queues;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// The other ends of a machine's interfaces, while it starts.
#[derive(Debug)]
pub(crate) struct Network<'a> {
    vm: &'a Vm,
    ports: Ports,
    offloads: Offloads,
    devices: Vec<Device<'a>>,
    timeout: Duration,
}

/// Who asks the switch for the machine's ports.
#[derive(Debug)]
enum Ports {
    /// The machine has none.
    None,
    /// The machine's own start.
    Own(Box<Switch>),
    /// One transaction for the taps of several machines.
    Shared(Arc<SharedPorts>),
}

impl<'a> Network<'a> {
    /// Asks the switch whether it can do what the machine needs, and creates the machine's devices.
    pub(crate) fn prepare(vm: &'a Vm, timeout: Duration) -> Result<Self, HardwareError> {
        let (ports, offloads) = match switched(vm).next() {
            None => (Ports::None, Offloads::Kernel),
            Some(_) => {
                let mut switch = vm.node().switch(timeout)?;
                let offloads =
                    check_switch(vm, &mut switch, timeout).map_err(HardwareError::network(vm))?;
                (Ports::Own(Box::new(switch)), offloads)
            }
        };
        Self::with_devices(vm, ports, offloads, timeout)
    }

    /// Creates the devices of a machine without vhost-user, whose ports are among `shared`.
    pub(crate) fn prepare_among(
        vm: &'a Vm,
        shared: &Arc<SharedPorts>,
    ) -> Result<Self, HardwareError> {
        let ports = Ports::Shared(Arc::clone(shared));
        Self::with_devices(vm, ports, shared.offloads(), shared.timeout())
    }

    fn with_devices(
        vm: &'a Vm,
        ports: Ports,
        offloads: Offloads,
        timeout: Duration,
    ) -> Result<Self, HardwareError> {
        let mut devices = Vec::new();
        for net in &vm.definition().nets {
            let queues = queues::of_net(vm.definition(), net);
            devices.extend(Device::create(net, queues).map_err(HardwareError::network(vm))?);
        }
        Ok(Self { vm, ports, offloads, devices, timeout })
    }

    pub(crate) fn vm(&self) -> &'a Vm {
        self.vm
    }

    /// The vhost-user interfaces, in order: cloud-hypervisor waits for their peers one by one.
    pub(crate) fn vhost(&self) -> Vec<&'a NetDefinition> {
        self.vm.definition().nets.iter().filter(|net| net.kind == NetKind::Vhost).collect()
    }

    /// Gives the VMM its interfaces, in the definition's order: descriptors pass only here, and
    /// `vm.create` would drop them.
    pub(crate) fn attach(&self, client: &Client) -> Result<(), HardwareError> {
        for net in &self.vm.definition().nets {
            let answer = match self.devices.iter().find(|device| device.net.name == net.name) {
                None => client.add_net(&vhost_config(self.vm, net)),
                Some(device) => {
                    let descriptors = device.descriptors();
                    let offloads = device.offloads(self.offloads);
                    let config = descriptor_config(net, descriptors.len(), offloads);
                    client.add_net_with_fds(&config, &descriptors)
                }
            };
            answer.map_err(|source| self.vm.vmm_error("add a network interface to", source))?;
        }
        Ok(())
    }

    /// What is asked of the ports of the machine's taps.
    pub(crate) fn tap_requests(&self) -> Result<Vec<PortRequest>, HardwareError> {
        let taps = self.devices.iter().filter(|device| device.net.kind == NetKind::Tap);
        let requests: Result<Vec<PortRequest>, NetError> =
            taps.map(|device| tap_request(self.vm, device.net)).collect();
        requests.map_err(HardwareError::network(self.vm))
    }

    /// Asks the switch for the ports of the machine's taps, without waiting for them, unless that
    /// is done already.
    pub(crate) fn submit_taps(&mut self) -> Result<Option<PendingPorts>, HardwareError> {
        match self.ports {
            Ports::Own(_) => {
                let requests = self.tap_requests()?;
                self.submit(&requests)
            }
            Ports::None | Ports::Shared(_) => Ok(None),
        }
    }

    /// Waits until the switch has created the ports of the machine's taps, and fails if it couldn't.
    pub(crate) fn confirm_taps(
        &mut self,
        pending: Option<PendingPorts>,
    ) -> Result<(), HardwareError> {
        self.confirm_all_taps(pending)?;
        // udev applies the host's own settings to a device that has just been added.
        self.devices.iter().try_for_each(Device::isolate).map_err(HardwareError::network(self.vm))
    }

    fn confirm_all_taps(&mut self, pending: Option<PendingPorts>) -> Result<(), HardwareError> {
        let Ports::Shared(shared) = &self.ports else { return self.confirm(pending) };
        match shared.answer() {
            Answer::Created => {
                let ports = switched(self.vm)
                    .filter_map(|net| Some((net.port.clone(), shared.number_of(&net.port)?)));
                let ports: Vec<_> = ports.collect();
                self.guard(&ports)
            }
            Answer::Silent => {
                let ports: Vec<_> = switched(self.vm).map(|net| net.port.as_str()).collect();
                let awaited = format!("the new ports {}", ports.join(", "));
                let source = NetError::SwitchSilent { awaited, timeout: self.timeout };
                Err(HardwareError::network(self.vm)(source))
            }
            // Because of one of the machines, perhaps not of this one: by itself it gets its own
            // answer.
            Answer::Refused => {
                self.ports = Ports::Own(Box::new(self.vm.node().switch(self.timeout)?));
                let pending = self.submit_taps()?;
                self.confirm(pending)
            }
        }
    }

    /// Waits until nothing is under way at the switch, so that what is undone stays so. True if
    /// there was.
    pub(crate) fn settle(&self) -> bool {
        match &self.ports {
            Ports::Shared(shared) => {
                shared.answer();
                true
            }
            Ports::None | Ports::Own(_) => false,
        }
    }

    /// Lets the switch connect to the socket of the vhost-user interface `net`, which has just
    /// appeared, and waits until it has created the port.
    pub(crate) fn connect_vhost(&mut self, net: &NetDefinition) -> Result<(), HardwareError> {
        if let Ports::Own(switch) = &self.ports {
            grant_access(self.vm, switch, net).map_err(HardwareError::network(self.vm))?;
        }
        let pending = self.submit(&[vhost_request(self.vm, net)])?;
        self.confirm(pending)
    }

    fn submit(&mut self, requests: &[PortRequest]) -> Result<Option<PendingPorts>, HardwareError> {
        // Every interface of one machine is on the node's one bridge.
        let Some(bridge) = switched(self.vm).next().map(|net| net.bridge.as_str()) else {
            return Ok(None);
        };
        match &mut self.ports {
            Ports::Own(switch) if !requests.is_empty() => switch
                .submit_ports(bridge, requests, self.timeout)
                .map(Some)
                .map_err(HardwareError::network(self.vm)),
            _ => Ok(None),
        }
    }

    /// Keeps the guest from speaking as another machine, by these ports and their numbers.
    fn guard(&self, ports: &[(String, u32)]) -> Result<(), HardwareError> {
        let Some(bridge) = switched(self.vm).next().map(|net| net.bridge.as_str()) else {
            return Ok(());
        };
        guard(self.vm, bridge, ports, self.timeout).map_err(HardwareError::network(self.vm))
    }

    /// Waits until the switch has created the ports, and guards them; fails if it couldn't.
    fn confirm(&mut self, pending: Option<PendingPorts>) -> Result<(), HardwareError> {
        let (Ports::Own(switch), Some(pending)) = (&mut self.ports, pending) else {
            return Ok(());
        };
        let created =
            switch.confirm_ports(pending, self.timeout).map_err(HardwareError::network(self.vm))?;
        let ports: Vec<_> = created.into_iter().map(|port| (port.name, port.ofport)).collect();
        self.guard(&ports)
    }
}

/// Makes sure that the bridge is there, creates it if it can be, and makes sure that the switch can create the ports.
fn check_switch(vm: &Vm, switch: &mut Switch, timeout: Duration) -> Result<Offloads, NetError> {
    if vm.definition().nets.iter().any(|net| net.kind == NetKind::Vhost) {
        switch.capabilities()?.require_vhost_user()?;
    }
    let mut offloads = Offloads::Kernel;
    for net in switched(vm) {
        // One that has none decides: offloads are asked of the whole machine.
        let bridge = require_bridge(vm.node(), switch, &net.bridge, timeout)?;
        if Offloads::on(bridge.datapath) == Offloads::None {
            offloads = Offloads::None;
        }
    }
    Ok(offloads)
}
