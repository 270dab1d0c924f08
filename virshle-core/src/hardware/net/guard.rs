//! The guards of machines' ports: what a guest may say on its network.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use virshle_net::ovsdb::Address;
use virshle_net::{Guard, GuardId, GuardState, Guards, NetError, OwnedPort};

use crate::fs::deadline::Deadline;
use crate::hardware::net::ports::switched;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};
use crate::network::{addresses, settings};

/// How long a switch that was just started may take to listen for OpenFlow.
const SOON: Duration = Duration::from_secs(2);

/// The guard of the port of `net`, which has this number on its bridge; none for one that is trusted, unless
/// what it sends is to be kept to a rate: a tap's is a meter's to keep.
pub(crate) fn guard_of(vm: &Vm, net: &NetDefinition, ofport: u32) -> Option<Guard> {
    let network = settings::find(vm.node());
    let managed = network.iter().flat_map(|network| addresses::of_net(network, net));
    let mut known: Vec<_> = net.addresses.iter().map(|address| address.ip).chain(managed).collect();
    // It may be both: a static one of the managed network.
    known.sort();
    known.dedup();
    let guard = Guard::new(id_of(vm, net), ofport, net.mac)
        .addresses(known)
        .trusted(net.trust)
        .rate_bits(net.rate_out_bits.filter(|_| net.kind == NetKind::Tap));
    (!guard.is_empty()).then_some(guard)
}

pub(crate) fn id_of(vm: &Vm, net: &NetDefinition) -> GuardId {
    GuardId::of(&vm.definition().uuid.to_string(), &net.port)
}

/// Guards the ports of the machine that have these numbers on `bridge`: all of them, or none.
///
/// A user who may reach the switch's database, and not the bridge's management socket, has no guard,
/// as that is logged: the database gives the whole network away to them.
pub(crate) fn guard(
    vm: &Vm,
    bridge: &str,
    ports: &[(String, u32)],
    timeout: Duration,
) -> Result<(), NetError> {
    let guards: Vec<Guard> = ports
        .iter()
        .filter_map(|(port, ofport)| {
            let net = switched(vm).find(|net| net.port == *port)?;
            guard_of(vm, net, *ofport)
        })
        .collect();
    if guards.is_empty() {
        return Ok(());
    }
    let applied = connect_soon(vm.node(), bridge, timeout).and_then(|mut on| on.apply(&guards));
    match applied {
        Err(error) if is_denied(&error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(vm = %vm.name(), %error, cause, "its guest is not kept from speaking as another");
            Ok(())
        }
        other => other,
    }
}

/// Takes the guards of the machine's ports away, before the ports: a number that is free can be
/// another port's. What can't be taken away is found by a check.
pub(crate) fn unguard(vm: &Vm, timeout: Duration) {
    let mut of_bridges: BTreeMap<&str, Vec<GuardId>> = BTreeMap::new();
    for net in switched(vm) {
        of_bridges.entry(&net.bridge).or_default().push(id_of(vm, net));
    }
    for (bridge, ids) in of_bridges {
        let removed = connect(vm.node(), bridge, timeout).and_then(|mut on| on.remove(&ids));
        let Err(error) = removed else { continue };
        // Whom the switch does not let in has none; nor is there one where no switch ever listened.
        let absent = matches!(&error, NetError::Management { source, .. }
            if source.kind() == ErrorKind::NotFound);
        let never = is_denied(&error) && !rustix::process::geteuid().is_root();
        if !never && !absent {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(vm = %vm.name(), bridge, %error, cause, "its guards are left behind");
        }
    }
}

/// Takes the guards of these ports away.
pub(crate) fn unguard_ports(
    node: &Node,
    ports: &[OwnedPort],
    timeout: Duration,
) -> Result<(), NetError> {
    for port in ports {
        let id = GuardId::of(&port.owner.uuid, &port.name);
        connect(node, &port.bridge, timeout)?.remove(&[id])?;
    }
    Ok(())
}

/// Connects to the management socket of `bridge`, and waits for it a while: a switch that has just been
/// started listens there some milliseconds after it has applied its ports.
fn connect_soon(node: &Node, bridge: &str, timeout: Duration) -> Result<Guards, NetError> {
    let deadline = Deadline::after(timeout.min(SOON));
    loop {
        match connect(node, bridge, timeout) {
            Err(NetError::Management { source, .. })
                if matches!(source.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)
                    && !deadline.is_over() =>
            {
                // There is no event: the socket's file is there all the time.
                std::thread::sleep(Duration::from_millis(2).min(deadline.left()));
            }
            other => return other,
        }
    }
}

/// Connects to the management socket of `bridge`.
pub(crate) fn connect(node: &Node, bridge: &str, timeout: Duration) -> Result<Guards, NetError> {
    let ovsdb: Address = node.config().network.ovsdb.parse()?;
    Guards::connect(&ovsdb, bridge, timeout)
}

/// Whether this user may not reach the management socket.
pub(crate) fn is_denied(error: &NetError) -> bool {
    matches!(error, NetError::Management { source, .. }
        if source.kind() == ErrorKind::PermissionDenied)
}

/// The guards that bridges have, by a connection to each.
#[derive(Debug)]
pub(crate) struct GuardBook<'a> {
    node: &'a Node,
    timeout: Duration,
    bridges: BTreeMap<String, Option<Guards>>,
}

impl<'a> GuardBook<'a> {
    /// Nothing is asked yet.
    pub(crate) fn new(node: &'a Node, timeout: Duration) -> Self {
        Self { node, timeout, bridges: BTreeMap::new() }
    }

    /// What `bridge` has of the guard `id`; nothing if this user may not ask.
    pub(crate) fn state(
        &mut self,
        bridge: &str,
        id: GuardId,
    ) -> Result<Option<Option<GuardState>>, NetError> {
        if !self.bridges.contains_key(bridge) {
            let guards = match connect_soon(self.node, bridge, self.timeout) {
                Err(error) if is_denied(&error) => None,
                connected => Some(connected?),
            };
            self.bridges.insert(bridge.to_owned(), guards);
        }
        match self.bridges.get_mut(bridge) {
            Some(Some(guards)) => guards.find(id).map(Some),
            _ => Ok(None),
        }
    }
}
