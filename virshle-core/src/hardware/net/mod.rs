//! A machine's interfaces and their other ends: ports of the switch, taps, macvtaps.

pub(crate) mod shared_ports;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use virshle_hypervisor::Client;
use virshle_net::{
    InterfaceName, MacAddr, Macvtap, NetError, Owner, PendingPorts, PortRequest, Switch, Tap,
};

use crate::error::CoreError;
use crate::hardware::net::shared_ports::{Answer, SharedPorts};
use crate::hardware::vmm_config::{Offloads, descriptor_config};
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// How long the switch may take to remove ports. Nobody waits for it to have done so.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The other ends of a machine's interfaces, while it starts.
#[derive(Debug)]
pub(crate) struct Network<'a> {
    vm: &'a Vm,
    switch: Option<Switch>,
    /// The ports of its taps, if they are asked for together with those of other machines.
    shared: Option<Arc<SharedPorts>>,
    offloads: Offloads,
    devices: Vec<Device<'a>>,
    timeout: Duration,
}

/// A device in the host's kernel that the VMM is handed a descriptor of.
#[derive(Debug)]
struct Device<'a> {
    net: &'a NetDefinition,
    kind: DeviceKind,
}

#[derive(Debug)]
enum DeviceKind {
    Tap(Tap),
    Macvtap(Macvtap),
}

impl<'a> Network<'a> {
    /// Asks the switch whether it can do what the machine needs, and makes the machine's devices.
    ///
    /// A tap lives as long as somebody holds its descriptor: when this is dropped and no VMM has
    /// got it, it is gone.
    pub(crate) fn prepare(vm: &'a Vm, timeout: Duration) -> Result<Self, CoreError> {
        let mut network = Self::of(vm, timeout);
        if network.switched().next().is_some() {
            let mut switch = vm.node().switch(timeout)?;
            network.offloads =
                check_switch(vm, &mut switch).map_err(|source| failed(vm, source))?;
            network.switch = Some(switch);
        }
        network.make_devices()
    }

    /// Makes the devices of a machine without vhost-user, whose ports are among `shared`.
    pub(crate) fn prepare_among(vm: &'a Vm, shared: &Arc<SharedPorts>) -> Result<Self, CoreError> {
        let mut network = Self::of(vm, shared.timeout());
        network.offloads = shared.offloads();
        network.shared = Some(Arc::clone(shared));
        network.make_devices()
    }

    fn of(vm: &'a Vm, timeout: Duration) -> Self {
        let offloads = Offloads::Kernel;
        Self { vm, switch: None, shared: None, offloads, devices: Vec::new(), timeout }
    }

    fn make_devices(mut self) -> Result<Self, CoreError> {
        let failed = |source| failed(self.vm, source);
        for net in &self.vm.definition().nets {
            let kind = match net.kind {
                NetKind::Vhost => continue,
                NetKind::Tap => DeviceKind::Tap(make_tap(net).map_err(failed)?),
                NetKind::Macvtap => DeviceKind::Macvtap(make_macvtap(net).map_err(failed)?),
            };
            self.devices.push(Device { net, kind });
        }
        Ok(self)
    }

    pub(crate) fn vm(&self) -> &'a Vm {
        self.vm
    }

    fn switched(&self) -> impl Iterator<Item = &'a NetDefinition> {
        self.vm.definition().nets.iter().filter(|net| net.kind != NetKind::Macvtap)
    }

    /// The vhost-user interfaces, in order: cloud-hypervisor waits for their peers one by one.
    pub(crate) fn vhost(&self) -> Vec<&'a NetDefinition> {
        self.vm.definition().nets.iter().filter(|net| net.kind == NetKind::Vhost).collect()
    }

    /// Gives the VMM its interfaces, in the definition's order: descriptors pass only here, and
    /// `vm.create` would drop them.
    pub(crate) fn attach(&self, client: &Client) -> Result<(), CoreError> {
        for net in &self.vm.definition().nets {
            let device = self.devices.iter().find(|device| device.net.name == net.name);
            let answer = match device.map(|device| &device.kind) {
                None => client.add_net(&self.vm.vhost_config(net)),
                Some(kind) => {
                    let (descriptor, offloads) = match kind {
                        DeviceKind::Tap(tap) => (tap.as_fds(), self.offloads),
                        DeviceKind::Macvtap(macvtap) => (vec![macvtap.as_fd()], Offloads::Kernel),
                    };
                    client.add_net_with_fds(&descriptor_config(net, offloads), &descriptor)
                }
            };
            answer
                .map_err(|source| self.vm.hypervisor_error("add a network interface to", source))?;
        }
        Ok(())
    }

    /// What is asked of the ports of the machine's taps.
    pub(crate) fn tap_requests(&self) -> Result<Vec<PortRequest>, CoreError> {
        let requests: Result<Vec<PortRequest>, NetError> = self
            .devices
            .iter()
            .filter(|device| matches!(device.kind, DeviceKind::Tap(_)))
            .map(|device| {
                let name: InterfaceName = device.net.port.parse()?;
                self.request(PortRequest::tap(name), device.net)
            })
            .collect();
        requests.map_err(|source| failed(self.vm, source))
    }

    /// Asks the switch for the ports of the machine's taps, without waiting for them, unless that
    /// is done already.
    pub(crate) fn submit_taps(&mut self) -> Result<Vec<PendingPorts>, CoreError> {
        if self.shared.is_some() {
            return Ok(Vec::new());
        }
        let requests = self.tap_requests()?;
        self.submit(&requests)
    }

    /// Waits until the switch has made the ports of the machine's taps, and fails if it couldn't.
    pub(crate) fn confirm_taps(&mut self, pending: Vec<PendingPorts>) -> Result<(), CoreError> {
        let Some(shared) = self.shared.take() else { return self.confirm(pending) };
        match shared.answer() {
            Answer::Made => Ok(()),
            Answer::Silent => {
                let ports: Vec<_> = self.switched().map(|net| net.port.as_str()).collect();
                let awaited = format!("the new ports {}", ports.join(", "));
                let timeout = self.timeout;
                Err(failed(self.vm, NetError::SwitchSilent { awaited, timeout }))
            }
            // By one of the machines, perhaps not by this one: by itself it hears of its own.
            Answer::Refused => {
                self.switch = Some(self.vm.node().switch(self.timeout)?);
                let pending = self.submit_taps()?;
                self.confirm(pending)
            }
        }
    }

    /// Waits until nothing is under way at the switch, so that what is taken back stays so. True if
    /// there was.
    pub(crate) fn settle(&self) -> bool {
        self.shared.as_ref().map(|shared| shared.answer()).is_some()
    }

    /// Lets the switch connect to the socket of the vhost-user interface `net`, which has just
    /// appeared, and waits until it has made the port.
    pub(crate) fn plug_vhost(&mut self, net: &NetDefinition) -> Result<(), CoreError> {
        let socket = self.vm.net_socket(&net.name);
        let failed = |source| failed(self.vm, source);
        if let Some((uid, gid)) = self.switch.as_ref().and_then(Switch::peer_uid_gid) {
            let root = self.vm.node().root();
            virshle_net::grant_socket_access(&socket, root, uid, gid).map_err(failed)?;
        }
        let request = self.request(PortRequest::vhost_user(&net.port, &socket), net);
        let pending = self.submit(&[request.map_err(failed)?])?;
        self.confirm(pending)
    }

    fn request(&self, request: PortRequest, net: &NetDefinition) -> Result<PortRequest, NetError> {
        let mac: MacAddr = net.mac.parse()?;
        let mut request = request.mac(mac).owner(owner(self.vm));
        if let Some(vlan) = net.vlan {
            request = request.vlan(vlan);
        }
        if let Some(mtu) = net.mtu_bytes {
            request = request.mtu_bytes(mtu);
        }
        Ok(request)
    }

    fn submit(&mut self, requests: &[PortRequest]) -> Result<Vec<PendingPorts>, CoreError> {
        // Every interface of one machine is on the node's one bridge.
        let Some(bridge) = self.switched().next().map(|net| net.bridge.clone()) else {
            return Ok(Vec::new());
        };
        let Some(switch) = &mut self.switch else { return Ok(Vec::new()) };
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let pending = switch
            .submit_ports(&bridge, requests, self.timeout)
            .map_err(|source| failed(self.vm, source))?;
        Ok(vec![pending])
    }

    /// Waits until the switch has made the ports, and fails if it couldn't.
    fn confirm(&mut self, pending: Vec<PendingPorts>) -> Result<(), CoreError> {
        let Some(switch) = &mut self.switch else { return Ok(()) };
        for ports in pending {
            switch.confirm_ports(ports, self.timeout).map_err(|source| failed(self.vm, source))?;
        }
        Ok(())
    }
}

impl Vm {
    /// Whether the switch has made every port of the machine.
    pub(crate) fn is_plugged(&self) -> Result<bool, CoreError> {
        let nets = &self.definition().nets;
        let mut switched = nets.iter().filter(|net| net.kind != NetKind::Macvtap).peekable();
        if switched.peek().is_none() {
            return Ok(true);
        }
        let ports =
            self.node().switch(TIMEOUT)?.owned_ports().map_err(|source| failed(self, source))?;
        let uuid = self.definition().uuid.to_string();
        Ok(switched.all(|net| {
            ports.iter().any(|port| {
                port.name == net.port
                    && port.owner.uuid == uuid
                    && port.ofport.is_some_and(|number| number > 0)
            })
        }))
    }

    /// Removes the machine's ports and devices, if there are any. What can't be removed is told
    /// of; `v node check --repair` finds it by its mark.
    pub(crate) fn unplug(&self) {
        let nets = &self.definition().nets;
        if nets.iter().any(|net| net.kind != NetKind::Macvtap) {
            let removed = self.node().switch(TIMEOUT).and_then(|mut switch| {
                switch
                    .remove_ports_of(&self.definition().uuid.to_string(), TIMEOUT)
                    .map_err(|source| failed(self, source))
            });
            if let Err(error) = removed {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(vm = %self.name(), %error, cause, "its ports are left behind");
            }
        }
        for net in nets.iter().filter(|net| net.kind == NetKind::Macvtap) {
            let removed = net.port.parse().and_then(|name: InterfaceName| Macvtap::delete(&name));
            if let Err(error) = removed {
                tracing::warn!(vm = %self.name(), device = net.port, %error, "left behind");
            }
        }
    }
}

/// Makes sure that the bridge is there and that the switch can make the ports.
fn check_switch(vm: &Vm, switch: &mut Switch) -> Result<Offloads, NetError> {
    let nets = &vm.definition().nets;
    if nets.iter().any(|net| net.kind == NetKind::Vhost) {
        switch.capabilities()?.require_vhost_user()?;
    }
    let mut offloads = Offloads::Kernel;
    for net in nets.iter().filter(|net| net.kind != NetKind::Macvtap) {
        // One that has none decides: offloads are asked of the whole machine.
        if Offloads::on(switch.require_bridge(&net.bridge)?.datapath) == Offloads::None {
            offloads = Offloads::None;
        }
    }
    Ok(offloads)
}

fn make_tap(net: &NetDefinition) -> Result<Tap, NetError> {
    let tap = Tap::create(&net.port.parse()?)?;
    if let Some(mtu) = net.mtu_bytes {
        tap.set_mtu(mtu)?;
    }
    tap.set_up()?;
    Ok(tap)
}

fn make_macvtap(net: &NetDefinition) -> Result<Macvtap, NetError> {
    let name = net.port.parse()?;
    // A macvtap stays when its machine ends: one of that name is from an earlier run.
    Macvtap::delete(&name)?;
    Macvtap::create(&name, &net.bridge, net.mac.parse()?)
}

fn owner(vm: &Vm) -> Owner {
    Owner::new(vm.definition().uuid.to_string(), vm.name().as_str()).node(vm.node().mark())
}

fn failed(vm: &Vm, source: NetError) -> CoreError {
    CoreError::Network { vm: vm.name().clone(), source }
}
