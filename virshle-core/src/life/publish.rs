//! Publishing ports of a machine: in its definition, and at once if it runs on the managed network.

use serde::Serialize;
use virshle_net::{PublishedPort, Ruleset};
use virshle_template::Publish;

use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::definition::{Definition, NetDefinition};
use crate::model::state::VmState;
use crate::network::addresses::{managed_nets, of_net};
use crate::network::ports::{check_all, forward};
use crate::network::publish::publish_all;
use crate::network::settings::{self, failed};

/// A port of the host that leads to one of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Published {
    /// The machine's network interface.
    pub net: String,
    /// The port, as a template has it: `8080:80`.
    pub port: String,
}

impl Vm {
    /// The ports of the host that lead to the machine's, while it runs.
    pub fn published(&self) -> Vec<Published> {
        let of = |net: &NetDefinition| {
            let ports = ports_of(net).cloned().unwrap_or_default();
            let net = net.name.clone();
            ports
                .into_iter()
                .map(move |port| Published { net: net.clone(), port: port.to_string() })
        };
        self.definition().nets.iter().flat_map(of).collect()
    }

    /// Publishes ports of the machine: all of them, or none. On the managed network they are there at once, if
    /// it runs; on a user network from its next start on ([`Change::Done`] both times).
    ///
    /// # Errors
    ///
    /// [`MachineError::Unpublishable`], [`MachineError::Managed`] if another machine or a process has one of
    /// them.
    pub fn publish(&self, ports: &[Publish]) -> Result<Change, MachineError> {
        change(self, ports, true)
    }

    /// Publishes ports no longer.
    ///
    /// # Errors
    ///
    /// If the definition or the rules can't be changed.
    pub fn unpublish(&self, ports: &[Publish]) -> Result<Change, MachineError> {
        change(self, ports, false)
    }

    /// Whether a change of what the machine publishes waits for its next start.
    pub fn publishes_later(&self) -> bool {
        place(self.definition()).is_some_and(|net| net.user.is_some())
            && self.state() != VmState::Stopped
    }
}

fn ports_of(net: &NetDefinition) -> Option<&Vec<Publish>> {
    let managed = net.managed.as_ref().map(|managed| &managed.publish);
    managed.or(net.user.as_ref().map(|user| &user.publish))
}

fn ports_of_mut(net: &mut NetDefinition) -> Option<&mut Vec<Publish>> {
    let managed = net.managed.as_mut().map(|managed| &mut managed.publish);
    managed.or(net.user.as_mut().map(|user| &mut user.publish))
}

/// The interface that ports are published of: the first on the managed network, or else the first user network.
fn place(definition: &Definition) -> Option<&NetDefinition> {
    let nets = || definition.nets.iter();
    nets().find(|net| net.managed.is_some()).or(nets().find(|net| net.user.is_some()))
}

fn change(vm: &Vm, ports: &[Publish], add: bool) -> Result<Change, MachineError> {
    let _lock = vm.lock()?;
    let before = vm.node().store().read(vm.uuid())?;
    let unpublishable = || MachineError::Unpublishable { vm: vm.name().clone() };
    let name = place(&before).ok_or_else(unpublishable)?.name.clone();
    let mut definition = before.clone();
    let mut changed = Vec::new();
    for net in &mut definition.nets {
        let is_place = net.name == name;
        let Some(published) = ports_of_mut(net) else { continue };
        for port in ports {
            let at = published.iter().position(|known| known == port);
            match (at, add) {
                (None, true) if is_place => {
                    published.push(*port);
                    changed.push(*port);
                }
                (Some(at), false) => changed.push(published.remove(at)),
                _ => {}
            }
        }
    }
    if definition == before {
        return Ok(Change::Unchanged);
    }
    let network = settings::find(vm.node());
    // As it is, and as it will be.
    let now = Vm::new(vm.node().clone(), before);
    let runs = now.state() != VmState::Stopped;
    let on_managed: Vec<PublishedPort> = network
        .iter()
        .flat_map(|network| {
            managed_nets(network, &now)
                .filter(|(net, _)| net.name == name || !add)
                .flat_map(|(net, _)| {
                    let addresses = of_net(network, net);
                    changed
                        .iter()
                        .flat_map(move |port| PublishedPort::of(&forward(port), &addresses))
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        })
        .collect();
    let is_managed = place(&definition).is_some_and(|net| net.managed.is_some());
    match &network {
        Some(network) if add && is_managed => {
            if on_managed.is_empty() {
                return Err(unpublishable());
            }
            if runs {
                check_all(network, &now, &changed)?;
                publish_all(network, &now, &on_managed)?;
            }
        }
        None if add && is_managed => return Err(unpublishable()),
        _ => {}
    }
    if let Err(error) = vm.node().store().rewrite(&definition) {
        // What the definition does not say is not there.
        if let Some(network) = network.filter(|_| add && runs) {
            drop(Ruleset::withdraw(&network, &on_managed));
        }
        return Err(error.into());
    }
    if let Some(network) = network.filter(|_| !add && runs) {
        let doing = format!("end the publication of ports of machine {}", vm.name());
        Ruleset::withdraw(&network, &on_managed).map_err(failed(doing))?;
    }
    Ok(Change::Done)
}
