//! A machine's scope: the unit of systemd that its VMM is in, with its limits, and whose end is an event.
//!
//! It takes the VMM out of the session of the user who started it, so that the end of that session is
//! none of the machine's.

use std::path::Path;
use std::time::Duration;

use virshle_systemd::{Call, Connection, Property, SystemdError, UnitName};
use virshle_template::{NodeSettings, Systemd};

use crate::fs::deadline::Deadline;
use crate::fs::file::create_private;
use crate::hardware::cgroup::{cgroup_of, is_in_scope, scope_of};
use crate::hardware::limits;
use crate::machine::node::Node;
use crate::machine::supervisor::manager;
use crate::machine::vm::Vm;
use crate::store::layout::UNSUPERVISED;

/// How long systemd may take for an answer. It takes some milliseconds, while the machine boots.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long a scope may take that systemd has promised, and between two looks at it.
const ENTRY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_micros(500);
/// The unit that starts machines when the host boots, and shuts them down before it goes down.
pub(crate) const HOST_UNIT: &str = "virshle.service";
/// The template of the unit that looks after a machine that has ended.
pub(crate) const ENDED_UNIT: &str = "virshle-ended";
/// The template of the unit that starts a machine again.
pub(crate) const RESTART_UNIT: &str = "virshle-restart";

/// A scope that was asked for, and whose answer is not there yet.
#[derive(Debug)]
pub(crate) struct PendingScope {
    connection: Connection,
    call: Call,
    keeper: Option<u32>,
}

/// Asks for the scope of a machine whose VMM is the process `pid`, with the one that keeps its logs, and
/// does not wait for it. Without systemd there is none, and without its answer the machine runs as well.
pub(crate) fn ask(vm: &Vm, pid: u32, keeper: Option<u32>) -> Option<PendingScope> {
    let Some(manager) = manager(vm.node()) else {
        note_absence(vm.node());
        return None;
    };
    let asked = manager.connect(TIMEOUT).and_then(|mut connection| {
        let call = request(&mut connection, vm, pid, keeper, &scope_name(vm)?)?;
        Ok(PendingScope { connection, call, keeper })
    });
    asked.inspect_err(|error| unsupervised(vm, error)).ok()
}

/// Says once that nobody supervises the machines of the node, where that was not asked for.
fn note_absence(node: &Node) {
    let is_absent = node.config().node.systemd == Systemd::Auto;
    if is_absent && create_private(&node.root().join(UNSUPERVISED)).is_ok() {
        tracing::warn!(
            "systemd does not run this host, or has no manager for this user: machines are not shut \
             down with the host, not restarted and not limited (this is said once)"
        );
    }
}

/// Waits for the scope that was asked for, until the process is in it. It is so before the guest boots: the
/// kernel starts a thread of its own for each guest in the cgroup in which its VMM is then, and the unit
/// or session that the caller is in could not end before the guest has.
///
/// The process may have ended before it was in it: then no unit hears of that, and the one that looks
/// after the end is asked for here.
///
/// # Errors
///
/// Systemd's refusal if the host goes down: whatever is started then would not be shut down, but killed.
/// What else goes wrong is only logged.
pub(crate) fn settle(vm: &Vm, pid: u32, pending: Option<PendingScope>) -> Result<(), SystemdError> {
    let Some(PendingScope { mut connection, call, keeper }) = pending else { return Ok(()) };
    // What was done meanwhile may have taken longer than an answer may: its time begins here.
    let deadline = Deadline::after(TIMEOUT);
    let answer = match connection.wait(call, deadline.left()) {
        // The scope of the run before may be about to go, or be another node's machine's.
        Err(error) if error.is_taken() => spare_name(vm).and_then(|name| {
            let call = request(&mut connection, vm, pid, keeper, &name)?;
            connection.wait(call, deadline.left())
        }),
        answer => answer,
    };
    let Err(error) = answer else {
        // A socket that is named, as in tests, need not be one of this host's manager.
        if vm.node().config().node.systemd == Systemd::Auto {
            await_entry(vm, pid);
        }
        return Ok(());
    };
    if error.is_going_down() {
        return Err(error);
    }
    if Path::new(&format!("/proc/{pid}")).exists() {
        unsupervised(vm, &error);
        return Ok(());
    }
    tracing::debug!(vm = %vm.name(), %error, "it ended before it had a scope");
    let asked = ended_unit(vm).and_then(|unit| connection.start_unit(&unit));
    // It is looked after, or the next command does it.
    if let Err(error) = asked.and_then(|call| connection.wait(call, TIMEOUT)) {
        tracing::debug!(vm = %vm.name(), %error, "its end is not looked after");
    }
    Ok(())
}

/// Waits until the process is in its scope: systemd answers before it has moved it, and nothing else
/// reports that.
fn await_entry(vm: &Vm, pid: u32) {
    let deadline = Deadline::after(ENTRY);
    while cgroup_of(pid).is_some() && !is_in_scope(pid) {
        if deadline.is_over() {
            tracing::warn!(vm = %vm.name(), "systemd has not moved it into its scope yet");
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Puts the VMM of a machine that runs outside of a scope into one: its start was cut short, or systemd
/// gave no answer then.
pub(crate) fn adopt(vm: &Vm, pid: u32) {
    if manager(vm.node()).is_some()
        && !is_in_scope(pid)
        && let Err(error) = settle(vm, pid, ask(vm, pid, None))
    {
        unsupervised(vm, &error);
    }
}

/// Changes settings of the scope that the VMM of a machine is in.
///
/// # Errors
///
/// If systemd does not: then none of them is changed.
pub(crate) fn retune(vm: &Vm, pid: u32, properties: &[Property]) -> Result<(), SystemdError> {
    let mut connection = manager(vm.node()).ok_or_else(no_manager)?.connect(TIMEOUT)?;
    let name = match scope_of(pid) {
        Some(name) => name,
        None => scope_name(vm)?.as_str().to_owned(),
    };
    let call = connection.set_unit_properties(&name, properties)?;
    connection.wait(call, TIMEOUT).map(drop)
}

/// Asks for the unit that starts the machine again, `after` from now: the restart number `attempt`.
pub(crate) fn arm_restart(vm: &Vm, attempt: u32, after: Duration) -> Result<(), SystemdError> {
    let mut connection = manager(vm.node()).ok_or_else(no_manager)?.connect(TIMEOUT)?;
    let instance = format!("{}:{attempt}", instance(vm));
    let name = UnitName::instance(RESTART_UNIT, &instance, "timer")?;
    let properties = [
        Property::text(
            "Description",
            format!("Restart {attempt} of virtual machine {}", vm.name()),
        ),
        Property::once_after(after),
        Property::flag("RemainAfterElapse", false),
        Property::text("CollectMode", "inactive-or-failed"),
    ];
    let call = connection.start_transient_unit(&name, &properties)?;
    match connection.wait(call, TIMEOUT) {
        // It is armed already: whoever did it died before it was recorded.
        Err(error) if error.is_taken() => Ok(()),
        answer => answer.map(drop),
    }
}

fn request(
    connection: &mut Connection,
    vm: &Vm,
    pid: u32,
    keeper: Option<u32>,
    name: &UnitName,
) -> Result<Call, SystemdError> {
    let ended = ended_unit(vm)?;
    let processes: Vec<u32> = std::iter::once(pid).chain(keeper).collect();
    let mut properties = vec![
        Property::processes(&processes),
        Property::text("Slice", "machine.slice"),
        Property::text("Description", format!("Virtual machine {}", vm.name())),
        // What comes later at boot goes first at shutdown: it shuts the guests down while they run.
        Property::texts("Before", [HOST_UNIT]),
        // systemd calls a scope failed whose processes the kernel killed for want of memory.
        Property::texts("OnSuccess", [ended.as_str()]),
        Property::texts("OnFailure", [ended.as_str()]),
        Property::text("CollectMode", "inactive-or-failed"),
        Property::flag("CPUAccounting", true),
        Property::flag("MemoryAccounting", true),
        Property::flag("IOAccounting", true),
    ];
    properties.extend(limits::properties(vm.definition()));
    connection.start_transient_unit(name, &properties)
}

/// The name of the machine's scope.
pub(crate) fn scope_name(vm: &Vm) -> Result<UnitName, SystemdError> {
    Ok(UnitName::new(&format!("virshle-{}", vm.name()), "scope")?)
}

/// The name of the scope when the other one is taken.
fn spare_name(vm: &Vm) -> Result<UnitName, SystemdError> {
    let uuid = vm.definition().uuid.to_string();
    let first = uuid.split('-').next().unwrap_or_default();
    Ok(UnitName::new(&format!("virshle-{}-{first}", vm.name()), "scope")?)
}

fn ended_unit(vm: &Vm) -> Result<UnitName, SystemdError> {
    Ok(UnitName::instance(ENDED_UNIT, &instance(vm), "service")?)
}

/// What the units call the machine: its uuid, or its directory where that is not where `v` looks for it.
pub(crate) fn instance(vm: &Vm) -> String {
    if vm.node().root() == NodeSettings::default_root() {
        vm.definition().uuid.to_string()
    } else {
        vm.directory().display().to_string()
    }
}

fn no_manager() -> SystemdError {
    let source = std::io::ErrorKind::NotFound.into();
    SystemdError::Connect { socket: "/run/systemd".into(), source }
}

fn unsupervised(vm: &Vm, error: &SystemdError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(vm = %vm.name(), %error, cause, "it runs, and systemd does not supervise it");
}
