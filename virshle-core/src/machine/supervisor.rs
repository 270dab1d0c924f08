//! The manager of systemd that supervises what a node runs.

use virshle_systemd::Manager;
use virshle_template::Systemd;

use crate::machine::node::Node;

/// The unit that gives machines their networks back, and the template of that for one machine.
pub(crate) const HEAL_UNIT: &str = "virshle-heal";

/// The manager that supervises the machines of the node, if there is one.
pub(crate) fn manager(node: &Node) -> Option<Manager> {
    match &node.config().node.systemd {
        Systemd::Off => None,
        Systemd::Socket(socket) => Some(Manager::at(socket)),
        _ => Manager::of_caller(),
    }
}
