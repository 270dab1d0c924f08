//! The node's dnsmasq: started, ended, and put into a scope of systemd's.

use std::time::Duration;

use virshle_net::{Dnsmasq, ManagedNetwork};
use virshle_systemd::{Property, UnitName};

use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::supervisor::{HEAL_UNIT, manager};
use crate::network::settings::failed;

/// How long one that is killed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How long systemd may take for an answer.
const SYSTEMD_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts it, and puts it into a scope of its own, where systemd runs the host: it outlives the session, or
/// the unit, by which it was started.
pub(crate) fn start(node: &Node, network: &ManagedNetwork) -> Result<(), MachineError> {
    let dnsmasq = Dnsmasq::start(network).map_err(failed("start dnsmasq"))?;
    let Some(manager) = manager(node) else { return Ok(()) };
    let pid = dnsmasq.pid();
    let scope = || {
        // One that has just ended may still have its scope.
        let name = UnitName::new(&format!("virshle-dnsmasq-{pid}"), "scope")?;
        let heal = UnitName::new(HEAL_UNIT, "service")?;
        let properties = [
            Property::processes(&[pid]),
            Property::text("Slice", "system.slice"),
            Property::text("Description", format!("DHCP and DNS of {}", network.bridge)),
            Property::text("CollectMode", "inactive-or-failed"),
            // One that dies is started again; one that is ended on purpose is not wanted any more by then.
            Property::texts("OnSuccess", [heal.as_str()]),
            Property::texts("OnFailure", [heal.as_str()]),
        ];
        let mut connection = manager.connect(SYSTEMD_TIMEOUT)?;
        let call = connection.start_transient_unit(&name, &properties)?;
        connection.wait(call, SYSTEMD_TIMEOUT).map(drop)
    };
    if let Err(error) = scope() {
        let error: virshle_systemd::SystemdError = error;
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, cause, "dnsmasq serves, and is in no scope of systemd's");
    }
    Ok(())
}

/// Ends it, also one that has lost the file with its process id. True if there was one.
pub(crate) fn end(network: &ManagedNetwork) -> Result<bool, MachineError> {
    let all = Dnsmasq::all(network).map_err(failed("look for dnsmasq"))?;
    for dnsmasq in &all {
        dnsmasq.end(END_TIMEOUT).map_err(failed("end dnsmasq"))?;
    }
    Ok(!all.is_empty())
}
