//! The processes of machines, seen with other eyes than `v`'s: `/proc` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::home::Home;
use crate::machine::Machines;
use crate::sys::Tid;
use virshle_testkit::{Failure, While};

/// A cloud-hypervisor process, or a passt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineProcess {
    pub(crate) pid: Tid,
    /// The directory of its machine, by its arguments.
    pub(crate) directory: PathBuf,
}

/// The cloud-hypervisor processes that were started for a machine below `root`.
pub(crate) fn hypervisors(root: &Path) -> Result<Vec<MachineProcess>, Failure> {
    processes(root, |words| words[0].ends_with(b"cloud-hypervisor"))
}

/// The passts that were started for a machine below `root`.
pub(crate) fn passts(root: &Path) -> Result<Vec<MachineProcess>, Failure> {
    processes(root, |words| words.contains(&b"--vhost-user".as_slice()))
}

/// The processes of which one argument is below `root`, and whose arguments are right.
fn processes(
    root: &Path,
    is_right: impl Fn(&[&[u8]]) -> bool,
) -> Result<Vec<MachineProcess>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").doing(|| "cannot read /proc".into())? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Empty for kernel threads and for what has ended; absent for what has gone meanwhile.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if !is_right(&words) {
            continue;
        }
        let directory = words[1..]
            .iter()
            .flat_map(|word| word.split(|byte| matches!(byte, b',' | b'=')))
            .map(|part| Path::new(std::ffi::OsStr::from_bytes(part)))
            .find(|path| path.starts_with(root))
            .and_then(Path::parent);
        if let Some(directory) = directory {
            found.push(MachineProcess { pid, directory: directory.to_owned() });
        }
    }
    Ok(found)
}

/// Each machine has the processes that it should have, and no other.
pub(crate) fn look_at_processes(
    home: &Home,
    machines: &Machines,
    found: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut seen: BTreeMap<String, Tid> = BTreeMap::new();
    for MachineProcess { pid, directory } in hypervisors(&home.root())? {
        let uuid = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = seen.insert(uuid.clone(), pid) {
            found.push(format!("two processes of machine {uuid}: {other} and {pid}"));
        }
        match machines.get(&uuid) {
            None => found.push(format!("process {pid} of machine {uuid}, which is not there")),
            Some(machine) if machine.state == "stopped" => {
                found.push(format!("process {pid} of machine {}, which is stopped", machine.name));
            }
            Some(machine) if machine.pid.and_then(|pid| Tid::try_from(pid).ok()) != Some(pid) => {
                found.push(format!("process {pid} is not that of {machine:?}"));
            }
            Some(_) => {}
        }
    }
    let mut served = BTreeSet::new();
    for MachineProcess { pid, directory } in passts(&home.root())? {
        let uuid = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match machines.get(&uuid) {
            Some(machine) if machine.state != "stopped" => {}
            _ => found.push(format!("passt {pid} of machine {uuid}, which does not run")),
        }
        if !served.insert(uuid.clone()) {
            found.push(format!("two passts of machine {uuid}"));
        }
    }
    for machine in machines.values() {
        let wants = machine.nets.iter().any(|net| net.kind == "user");
        if machine.state != "stopped" && wants != served.contains(&machine.uuid) {
            found.push(format!("{} has a passt or has none, and should not", machine.name));
        }
        if machine.state != "stopped" && !seen.contains_key(&machine.uuid) {
            found.push(format!("{} is {} without a process", machine.name, machine.state));
        }
    }
    Ok(())
}
