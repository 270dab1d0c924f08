//! What is left on the host, seen with other eyes than `v`'s: `/proc`, the switch's own tools, the
//! kernel's list of devices, the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::home::{BRIDGE, Home};
use crate::machine::Machines;
use crate::processes::{MachineProcess, look_at_processes};
pub(crate) use crate::processes::{hypervisors, passts};

use crate::program::{run, tool};
use virshle_testkit::{Failure, While, ensure};

/// How long the kernel may take to finish what was begun: the end of a process, of its tap.
const SETTLING: Duration = Duration::from_secs(2);

/// The least flows of a guard.
const WHOLE_GUARD: usize = 16;

/// How long a guest may take to obey its power button.
const OBEYING: Duration = Duration::from_secs(3);

/// Waits for guests whose power button was pressed to be off: one that powers itself off after a
/// repair leaves its port to the next one.
pub(crate) fn wait_for_guests_that_obey(home: &Home) -> Result<(), Failure> {
    let deadline = Instant::now() + OBEYING;
    let is_asked = |process: &MachineProcess| {
        fs::read(process.directory.join("run.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            .is_some_and(|run| run["asked"] == "stopped")
    };
    while hypervisors(&home.root())?.iter().any(is_asked) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A row of the switch that carries our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) port: String,
    pub(crate) uuid: String,
    pub(crate) node: String,
    pub(crate) number: Option<i64>,
    pub(crate) error: Option<String>,
}

/// The rows with our mark, of ports and of interfaces.
pub(crate) fn marked(database: &str) -> Result<Vec<Marked>, Failure> {
    #[derive(Deserialize)]
    struct Table {
        headings: Vec<String>,
        data: Vec<Vec<Value>>,
    }
    let text = tool(
        Command::new("ovs-vsctl")
            .args([&format!("--db={database}"), "--timeout=20", "--no-wait", "--format=json"])
            .args(["--", "--columns=name,external_ids", "list", "Port"])
            .args(["--", "--columns=name,external_ids,ofport,error", "list", "Interface"]),
    )?;
    let mut rows = Vec::new();
    for table in serde_json::Deserializer::from_str(&text).into_iter::<Table>() {
        let table = table.doing(|| "cannot read what ovs-vsctl wrote".into())?;
        for row in table.data {
            let cell: BTreeMap<&str, Value> =
                table.headings.iter().map(String::as_str).zip(row).collect();
            let ids: BTreeMap<String, String> = cell
                .get("external_ids")
                .and_then(|map| {
                    serde_json::from_value::<Vec<(String, String)>>(map[1].clone()).ok()
                })
                .into_iter()
                .flatten()
                .collect();
            let Some(uuid) = ids.get("virshle-uuid") else { continue };
            let text = |name: &str| cell.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            rows.push(Marked {
                port: text("name").unwrap_or_default(),
                uuid: uuid.clone(),
                node: ids.get("virshle-node").cloned().unwrap_or_default(),
                number: cell.get("ofport").and_then(Value::as_i64),
                error: text("error"),
            });
        }
    }
    Ok(rows)
}

/// Removes what this home's machines have on the switch, and what `node init` made.
pub(crate) fn remove_ports(home: &Home) -> Result<(), Failure> {
    let mut command = vsctl(home.database());
    for row in marked(home.database())? {
        if row.node == home.root().display().to_string() {
            command.args(["--", "--if-exists", "del-port", &row.port]);
        }
    }
    command.args(["--", "--if-exists", "del-br", crate::home::INIT_BRIDGE]);
    tool(&mut command)?;
    // A port that is removed like this leaves its guard.
    let there = marked(home.database())?;
    let guarded = guarded(home.database())?.unwrap_or_default();
    for number in guarded.keys().filter(|at| !there.iter().any(|row| row.number == Some(**at))) {
        let mut command = Command::new("ovs-ofctl");
        command.args(["-O", "OpenFlow14", "--timeout=5", "del-flows"]);
        command.arg(management(home.database()));
        command.arg(format!("cookie={COOKIES},in_port={number}"));
        tool(&mut command)?;
    }
    Ok(())
}

/// `ovs-vsctl` for that database, which waits for nothing for long.
pub(crate) fn vsctl(database: &str) -> Command {
    let mut command = Command::new("ovs-vsctl");
    command.args([&format!("--db={database}"), "--timeout=20"]);
    command
}

/// The names of the devices in this network namespace.
pub(crate) fn devices() -> Result<BTreeSet<String>, Failure> {
    #[derive(Deserialize)]
    struct Device {
        ifname: String,
    }
    let text = tool(Command::new("ip").args(["-j", "link"]))?;
    let devices: Vec<Device> =
        serde_json::from_str(&text).doing(|| "cannot read what ip wrote".into())?;
    Ok(devices.into_iter().map(|device| device.ifname).collect())
}

/// Everything that is wrong with a home whose machines are those: nothing, if all is well. What
/// the kernel is just finishing is waited for.
pub(crate) fn problems(home: &Home, machines: &Machines) -> Result<Vec<String>, Failure> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let found = look(home, machines)?;
        if found.is_empty() || Instant::now() > deadline {
            return Ok(found);
        }
        // Most of what is waited for gives no sign of its end.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn look(home: &Home, machines: &Machines) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    look_at_processes(home, machines, &mut found)?;
    look_at_ports(home, machines, &mut found)?;
    look_at_files(home, machines, &mut found)?;
    if !home.image_is_whole() {
        found.push("the source image was written".into());
    }
    Ok(found)
}

/// The cookies of `v`'s flows, with their mask.
const COOKIES: &str = "0x7653000000000000/0xffff000000000000";

/// The management socket of the bridge of the switch whose database that is.
fn management(database: &str) -> String {
    let database = Path::new(database.trim_start_matches("unix:"));
    format!("unix:{}", database.with_file_name(format!("{BRIDGE}.mgmt")).display())
}

/// The numbers of ports for which there are flows of `v`'s, each with how many; none if the switch can't
/// be asked.
fn guarded(database: &str) -> Result<Option<BTreeMap<i64, usize>>, Failure> {
    let outcome = run(
        Command::new("ovs-ofctl")
            .args(["-O", "OpenFlow14", "--timeout=5", "dump-flows", &management(database)])
            .arg(format!("cookie={COOKIES}")),
        Duration::from_secs(30),
    )?;
    // A switch that is dead or frozen, as some parts have it, can't be asked.
    let is_away = ["Connection refused", "No such file", "Alarm clock"];
    if outcome.exit != Some(0) && is_away.iter().any(|why| outcome.stderr.contains(why)) {
        return Ok(None);
    }
    ensure!(outcome.exit == Some(0), "ovs-ofctl: {outcome}");
    let text = outcome.stdout;
    let mut numbers = BTreeMap::new();
    for line in text.lines() {
        let number = line.split_once("in_port=").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split([',', ' ']).next());
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            *numbers.entry(number).or_default() += 1;
        }
    }
    Ok(Some(numbers))
}

fn look_at_ports(home: &Home, machines: &Machines, found: &mut Vec<String>) -> Result<(), Failure> {
    // Before the ports: a guard comes after its port, and goes before it.
    let guarded = guarded(home.database())?;
    let is_on = |uuid: &str| machines.get(uuid).is_some_and(|vm| vm.state != "stopped");
    let node = home.root().display().to_string();
    let marked = marked(home.database())?;
    for row in marked.iter().filter(|row| row.node == node || row.node.is_empty()) {
        if !is_on(&row.uuid) {
            found.push(format!("port {} of machine {}, which does not run", row.port, row.uuid));
        }
        if let Some(error) = row.error.as_deref().filter(|error| !error.is_empty()) {
            found.push(format!("port {}: {error}", row.port));
        }
    }
    for number in guarded.iter().flat_map(BTreeMap::keys) {
        if !marked.iter().any(|row| row.number == Some(*number)) {
            found.push(format!("a guard of port number {number}, which is not there"));
        }
    }
    let devices = devices()?;
    for machine in machines.values() {
        for net in &machine.nets {
            let on = machine.state != "stopped";
            let device = devices.contains(&net.port);
            if ["tap", "bridge"].contains(&net.kind.as_str()) && device != on {
                let is = if device { "is there" } else { "is gone" };
                found.push(format!("tap {} {is}: {} is {}", net.port, machine.name, machine.state));
            }
            let is_switched = ["tap", "vhost"].contains(&net.kind.as_str());
            let is_there = |row: &Marked| row.uuid == machine.uuid && row.port == net.port;
            if on && is_switched && !marked.iter().any(is_there) {
                found.push(format!("{} is {} without its port", machine.name, machine.state));
            }
            let number = |row: &&Marked| row.uuid == machine.uuid && row.port == net.port;
            let number = marked.iter().filter(number).find_map(|row| row.number);
            if let Some(guarded) = guarded.as_ref().filter(|_| on && is_switched) {
                let flows = number.and_then(|number| guarded.get(&number)).copied().unwrap_or(0);
                if flows < WHOLE_GUARD {
                    let (vm, port) = (&machine.name, &net.port);
                    found.push(format!("{vm} has {flows} flows of a guard on {port}"));
                }
            }
        }
    }
    // Taps of machines that are no more. The other home's ids begin elsewhere.
    let known: BTreeSet<&str> = machines
        .values()
        .flat_map(|machine| machine.nets.iter().map(|net| net.port.as_str()))
        .collect();
    for device in devices.iter().filter(|name| is_tap_of(home, name)) {
        if !known.contains(device.as_str()) {
            found.push(format!("tap {device} of no machine"));
        }
    }
    Ok(())
}

/// Whether a device is called as the taps of this home's machines are: `vm7-k7x2p0`.
fn is_tap_of(home: &Home, device: &str) -> bool {
    let Some(rest) = device.strip_prefix("vm") else { return false };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().is_ok_and(|id: u64| home.has_id(id))
}

/// A definition, as far as it is looked at here.
#[derive(Deserialize)]
struct Definition {
    id: u64,
    uuid: String,
    name: String,
    #[serde(default)]
    disk: Vec<Disk>,
}

#[derive(Deserialize)]
struct Disk {
    name: String,
}

/// What may lie in a machine's directory besides its sockets.
const FILES: [&str; 15] = [
    "vm.toml",
    "known_hosts",
    "lock",
    "run.json",
    "history.json",
    "restart.json",
    "ch.log",
    "ch.log.1",
    "events.json",
    "events.json.1",
    "serial.log",
    "serial.log.1",
    "disk",
    "net",
    "tmp",
];

fn look_at_files(home: &Home, machines: &Machines, found: &mut Vec<String>) -> Result<(), Failure> {
    let root = home.root();
    for name in names(&root)? {
        // The last is the key of a caller who has none, which `v run` makes.
        if !["vm", "cache", "lock", "next-id", "ssh"].contains(&name.as_str()) {
            found.push(format!("{name} in the root"));
        }
    }
    let cached = names(&root.join("cache"))?;
    for name in &cached {
        let of = name.strip_prefix(".import-");
        if of.is_some_and(|of| cached.iter().any(|image| image == of)) {
            found.push(format!("{name} in the cache, beside the image"));
        }
    }
    let (mut ids, mut macs, mut unique) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut shown: BTreeSet<&str> = machines.keys().map(String::as_str).collect();
    let listed = names(&root.join("vm"))?;
    for name in &listed {
        let directory = root.join("vm").join(name);
        let text = match fs::read_to_string(directory.join("vm.toml")) {
            Ok(text) if !name.starts_with('.') => text,
            _ => {
                found.push(format!("{name} is no machine"));
                continue;
            }
        };
        let definition: Definition = match toml::from_str(&text) {
            Ok(definition) => definition,
            Err(error) => {
                found.push(format!("the definition of {name}: {error}"));
                continue;
            }
        };
        if !shown.remove(name.as_str()) || definition.uuid != *name {
            found.push(format!("{name} is called {} and not shown so", definition.uuid));
        }
        if !ids.insert(definition.id) || !unique.insert(definition.name.clone()) {
            found.push(format!("id {} or name {} twice", definition.id, definition.name));
        }
        look_at_machine(&directory, &definition, machines, found)?;
    }
    found.extend(shown.iter().map(|uuid| format!("{uuid} is shown and has no directory")));
    for net in machines.values().flat_map(|machine| &machine.nets) {
        if !macs.insert(&net.mac) {
            found.push(format!("address {} twice", net.mac));
        }
    }
    let next: u64 = fs::read_to_string(root.join("next-id"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    if ids.last().is_some_and(|last| *last >= next) {
        found.push(format!("the next id is {next}, and there is {ids:?}"));
    }
    look_at_modes(&root, found)
}

fn look_at_machine(
    directory: &Path,
    definition: &Definition,
    machines: &Machines,
    found: &mut Vec<String>,
) -> Result<(), Failure> {
    let name = &definition.name;
    let on = machines.get(&definition.uuid).is_some_and(|vm| vm.state != "stopped");
    for file in names(directory)? {
        let is_socket = fs::symlink_metadata(directory.join(&file))
            .is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket && !on {
            found.push(format!("socket {file} of {name}, which is stopped"));
        } else if file == "passt-main.pid" {
            if !on {
                found.push(format!("{file} of {name}, which is stopped"));
            }
        } else if !is_socket && !FILES.contains(&file.as_str()) {
            found.push(format!("{file} in the directory of {name}"));
        }
    }
    for (kind, is_net) in [("net", true), ("tmp", false)] {
        for file in names(&directory.join(kind))? {
            if !is_net || !on {
                found.push(format!("{kind}/{file} of {name}"));
            }
        }
    }
    let disks: BTreeSet<String> = names(&directory.join("disk"))?.into_iter().collect();
    let wanted: BTreeSet<String> = definition.disk.iter().map(|disk| disk.name.clone()).collect();
    if disks != wanted {
        found.push(format!("{name} has the disks {disks:?}, and should have {wanted:?}"));
    }
    Ok(())
}

/// Nothing is open to others, ever.
fn look_at_modes(path: &Path, found: &mut Vec<String>) -> Result<(), Failure> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    // An image may be read by all who get to it: machines have users of their own.
    let is_image = path.ancestors().skip(1).take(2).any(|above| above.ends_with("cache"));
    let closed = if is_image && metadata.is_file() { 0o003 } else { 0o007 };
    if !metadata.is_symlink() && metadata.permissions().mode() & closed != 0 {
        found.push(format!("{} is open to others", path.display()));
    }
    if metadata.is_dir() {
        for name in names(path)? {
            look_at_modes(&path.join(name), found)?;
        }
    }
    Ok(())
}

/// What is in a directory; nothing if it is not there.
fn names(directory: &Path) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::new(format!("{}: {error}", directory.display()))),
    };
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}
