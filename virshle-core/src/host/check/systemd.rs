//! Checks who supervises the machines: systemd, and the units that it needs for that.

use std::path::Path;

use virshle_systemd::{Connection, Manager, SystemdError};
use virshle_template::Systemd;

use crate::failure::{Remedy, chain};
use crate::hardware::cgroup::is_in_scope;
use crate::hardware::scope::{ENDED_UNIT, HOST_UNIT, RESTART_UNIT};
use crate::host::check::finding::{Finding, Level, TIMEOUT, text};
use crate::machine::node::Node;
use crate::machine::supervisor::{HEAL_UNIT, manager};

/// What nobody does without it.
const WITHOUT: &str = "machines are not shut down with the host, not restarted, and not limited";
/// Where the units are.
const UNITS: &str = "install the units of packaging/systemd, then: systemctl daemon-reload";

/// Who supervises the machines, and which of them it does not.
pub(super) fn check_systemd(node: &Node) -> Vec<Finding> {
    let warning = |message: String, remedy: &str| {
        vec![Finding::bad(Level::Warning, "systemd", message, text(remedy))]
    };
    if node.config().node.systemd == Systemd::Off {
        return vec![Finding::good("systemd", format!("off, as configured: {WITHOUT}"))];
    }
    let Some(manager) = manager(node) else {
        let message = format!("it does not run this host: {WITHOUT}");
        return warning(message, "if that is meant, as in a container: [node] systemd = \"off\"");
    };
    let mut findings = match look(&manager) {
        Ok(findings) => findings,
        Err(error) => {
            let message = format!("{}: {WITHOUT}", chain(&error));
            return warning(message, "systemctl status shows whether it is well; then check again");
        }
    };
    findings.extend(lingering());
    findings.extend(undelegated(node));
    findings.extend(outside(node));
    findings
}

fn look(manager: &Manager) -> Result<Vec<Finding>, SystemdError> {
    let mut connection = manager.connect(TIMEOUT)?;
    let call = connection.get_property("Version")?;
    let version = connection.wait(call, TIMEOUT)?.unwrap_or_default();
    let mut findings = vec![Finding::good("systemd", format!("{version} supervises the machines"))];
    let mut state = |name: &str| state_of(&mut connection, name);
    for unit in [ENDED_UNIT, RESTART_UNIT] {
        let unit = format!("{unit}@.service");
        if state(&unit)?.is_none() {
            let message = format!("{unit} is not installed: the end of a machine is not noticed");
            findings.push(Finding::bad(Level::Warning, "units", message, text(UNITS)));
        }
    }
    findings.extend(healing(state(&format!("{HEAL_UNIT}.service"))?.as_deref()));
    let (message, remedy) = match state(HOST_UNIT)?.as_deref() {
        Some("enabled" | "enabled-runtime" | "linked" | "static" | "generated") => {
            return Ok(findings);
        }
        Some(_) => ("is not enabled", format!("systemctl enable --now {HOST_UNIT}")),
        None => ("is not installed", UNITS.to_owned()),
    };
    let message =
        format!("{HOST_UNIT} {message}: machines neither start nor shut down with the host");
    findings.push(Finding::bad(Level::Warning, "units", message, text(remedy)));
    Ok(findings)
}

/// Networks that don't come back by themselves when the switch was restarted. A user's manager knows nothing of
/// the switch.
fn healing(state: Option<&str>) -> Option<Finding> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let unit = format!("{HEAL_UNIT}.service");
    let (how, remedy) = match state {
        Some("enabled" | "enabled-runtime" | "linked" | "static" | "generated") => return None,
        Some(_) => ("enabled", format!("systemctl enable {unit}")),
        None => ("installed", UNITS.to_owned()),
    };
    let message = format!(
        "{unit} is not {how}: after a restart of the switch guests are not guarded, and without its \
         database they have no network, until a repair"
    );
    Some(Finding::bad(Level::Warning, "units", message, text(remedy)))
}

fn state_of(connection: &mut Connection, name: &str) -> Result<Option<String>, SystemdError> {
    let call = connection.unit_file_state(name)?;
    match connection.wait(call, TIMEOUT) {
        Err(SystemdError::Refused { .. }) => Ok(None),
        answer => answer,
    }
}

/// The manager of a user ends with the user's last session, and the machines with it.
fn lingering() -> Option<Finding> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let user = crate::machine::caller::user();
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return None;
    }
    let message = format!("the machines end when {user} logs out");
    let remedy = text(format!("loginctl enable-linger {user}"));
    Some(Finding::bad(Level::Warning, "lingering", message, remedy))
}

/// Limits of machines that do nothing, for the host has not given their controllers to the user's manager.
fn undelegated(node: &Node) -> Option<Finding> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return None;
    }
    let uid = uid.as_raw();
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    let given = std::fs::read_to_string(Path::new(&manager).join("cgroup.controllers")).ok()?;
    let vms = node.store().uuids().unwrap_or_default().into_iter();
    let limits: Vec<_> =
        vms.filter_map(|uuid| Some(node.vm(uuid).ok()?.definition().limits.clone())).collect();
    let wanted = [
        ("cpu_affinity", "cpuset", limits.iter().any(|limits| limits.cpu_affinity.is_some())),
        ("io_weight", "io", limits.iter().any(|limits| limits.io_weight.is_some())),
    ];
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, controller, used)| {
            *used && given.split_whitespace().all(|it| it != *controller)
        })
        .map(|(key, ..)| *key)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let message =
        format!("{} of your machines does nothing: it is not delegated", missing.join(", "));
    let remedy =
        text("as root: systemctl edit user@.service, [Service] Delegate=cpu cpuset io memory pids");
    Some(Finding::bad(Level::Warning, "limits", message, remedy))
}

/// Machines that run outside of a scope: their start was cut short, or systemd gave no answer then.
fn outside(node: &Node) -> Vec<Finding> {
    let vms =
        node.store().uuids().unwrap_or_default().into_iter().filter_map(|uuid| node.vm(uuid).ok());
    vms.filter_map(|vm| {
        let pid = vm.status().pid?;
        let message =
            format!("machine {} runs outside of a scope: it is not supervised", vm.name());
        let remedy = Remedy::StartVm { vm: vm.name().to_string() };
        (!is_in_scope(pid)).then(|| Finding::bad(Level::Warning, "scope", message, remedy))
    })
    .collect()
}
