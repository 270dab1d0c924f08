//! The scope of a passt: it ends with that of its machine, and its own end is an event.
//!
//! It is not the machine's own: the end of that one is the event of the machine's end, and a passt that lives
//! on, as one does whose guest has powered itself off, would keep it from coming.

use std::time::Duration;

use virshle_systemd::{Call, Connection, Property, SystemdError, UnitName};

use crate::fs::deadline::Deadline;
use crate::hardware::cgroup::{is_in_scope, scope_of};
use crate::hardware::scope::{HOST_UNIT, instance, scope_name};
use crate::machine::supervisor::{HEAL_UNIT, manager};
use crate::machine::vm::Vm;

/// How long systemd may take for its answers.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The most processes and threads of a passt: one, and for a moment the one that it starts as.
const TASKS: u64 = 8;

/// The scopes of a machine's passts, which were asked for, and whose answers are not there yet.
#[derive(Debug)]
pub(crate) struct PendingPasstScopes {
    connection: Connection,
    calls: Vec<Call>,
}

/// A passt that serves a network of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) net: String,
    pub(crate) pid: u32,
}

/// Asks for the scopes of passts of the machine whose VMM is the process `vmm`, in its scope already, and does
/// not wait for them. Without systemd there are none.
pub(crate) fn ask(vm: &Vm, vmm: u32, passts: &[Served]) -> Option<PendingPasstScopes> {
    if passts.is_empty() {
        return None;
    }
    let manager = manager(vm.node())?;
    let asked = manager.connect(TIMEOUT).and_then(|mut connection| {
        let machine = machine_scope(vm, vmm)?;
        let calls: Result<Vec<Call>, SystemdError> =
            passts.iter().map(|passt| request(&mut connection, vm, &machine, passt)).collect();
        Ok(PendingPasstScopes { calls: calls?, connection })
    });
    asked.inspect_err(|error| unsupervised(vm, error)).ok()
}

/// Waits for the scopes that were asked for.
pub(crate) fn settle(vm: &Vm, pending: Option<PendingPasstScopes>) {
    let Some(PendingPasstScopes { mut connection, calls }) = pending else { return };
    // The boot of the guest may have taken longer than an answer may.
    let deadline = Deadline::after(TIMEOUT);
    for call in calls {
        if let Err(error) = connection.wait(call, deadline.left()) {
            unsupervised(vm, &error);
        }
    }
}

/// Puts passts into scopes that are in none: their start was cut short, or systemd gave no answer then.
pub(crate) fn adopt(vm: &Vm, vmm: u32, passts: Vec<Served>) {
    let outside = passts.into_iter().filter(|passt| !is_in_scope(passt.pid));
    let outside: Vec<Served> = outside.collect();
    settle(vm, ask(vm, vmm, &outside));
}

/// The name of the scope that the machine is in.
fn machine_scope(vm: &Vm, vmm: u32) -> Result<String, SystemdError> {
    match scope_of(vmm) {
        Some(name) => Ok(name),
        None => Ok(scope_name(vm)?.as_str().to_owned()),
    }
}

fn request(
    connection: &mut Connection,
    vm: &Vm,
    machine: &str,
    passt: &Served,
) -> Result<Call, SystemdError> {
    // By its process it is another one than the one before, which systemd may not have forgotten yet. No
    // machine's name has a colon.
    let Served { net, pid } = passt;
    let name = UnitName::new(&format!("virshle-{}:{net}:{pid}", vm.name()), "scope")?;
    let heal = UnitName::instance(HEAL_UNIT, &instance(vm), "service")?;
    let properties = [
        Property::processes(&[*pid]),
        Property::text("Slice", "machine.slice"),
        Property::text("Description", format!("Network {net} of virtual machine {}", vm.name())),
        Property::texts("BindsTo", [machine]),
        Property::texts("After", [machine]),
        Property::texts("Before", [HOST_UNIT]),
        Property::texts("OnSuccess", [heal.as_str()]),
        Property::texts("OnFailure", [heal.as_str()]),
        Property::text("CollectMode", "inactive-or-failed"),
        Property::number("TasksMax", TASKS),
        // It needs no device; its VMM has those of the guest.
        Property::text("DevicePolicy", "closed"),
    ];
    connection.start_transient_unit(&name, &properties)
}

fn unsupervised(vm: &Vm, error: &SystemdError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(vm = %vm.name(), %error, cause, "its passt is not supervised");
}
