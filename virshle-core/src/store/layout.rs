//! The names of files and directories in a node's root.

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The longest path of a socket, in bytes: `sun_path` of unix(7) less its NUL.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// The prefix of a machine that is being created.
pub(crate) const NEW: &str = ".new-";
/// The prefix of a machine that is being removed.
pub(crate) const GONE: &str = ".gone-";
/// The file that makes a directory a machine.
pub(crate) const DEFINITION: &str = "vm.toml";
/// The lock of a machine, and of the node.
pub(crate) const LOCK: &str = "lock";
/// The id that the next machine gets.
pub(crate) const NEXT_ID: &str = "next-id";
/// What a staged machine has claimed.
pub(crate) const CLAIM: &str = "claim";
/// The record of a machine's run.
pub(crate) const RUN_RECORD: &str = "run.json";
/// The lock of those who share out the host's memory.
pub(crate) const MEMORY_LOCK: &str = "memory.lock";
/// Shows that it was said that systemd does not supervise the machines.
pub(crate) const UNSUPERVISED: &str = "unsupervised";
/// The machine's last runs.
pub(crate) const HISTORY: &str = "history.json";
/// Where the machine stands with its restarts.
pub(crate) const RESTART: &str = "restart.json";
/// cloud-hypervisor's API socket.
pub(crate) const API_SOCKET: &str = "ch.sock";
/// What the guest writes to its first serial port.
pub(crate) const SERIAL_LOG: &str = "serial.log";
/// cloud-hypervisor's log.
pub(crate) const VMM_LOG: &str = "ch.log";
/// The events of cloud-hypervisor's monitor.
pub(crate) const EVENTS: &str = "events.json";
/// The keys of the guest's ssh server.
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";
/// The directory of the managed network, in the node's root.
pub(crate) const NETWORK: &str = "network";
/// The directories of a machine: its disks, its sockets, what is temporary.
pub(crate) const DIRECTORIES: [&str; 3] = [DISKS, SOCKETS, TEMPORARY];
const DISKS: &str = "disk";
const SOCKETS: &str = "net";
const TEMPORARY: &str = "tmp";

/// The programs of the node's own, in its root.
pub(crate) fn own_programs(root: &Path) -> PathBuf {
    root.join("bin")
}

/// The firmware of the node's own, in its root.
pub(crate) fn own_firmware(root: &Path) -> PathBuf {
    root.join("firmware")
}

/// The key by which a caller who has none enters the machines of the node in `root`.
pub(crate) fn own_key(root: &Path) -> PathBuf {
    root.join("ssh/id_ed25519")
}

/// The directory of sockets of the machine in `directory`.
pub(crate) fn sockets(directory: &Path) -> PathBuf {
    directory.join(SOCKETS)
}

/// The directory of what is temporary of the machine in `directory`.
pub(crate) fn temporary(directory: &Path) -> PathBuf {
    directory.join(TEMPORARY)
}

/// The hybrid vsock's socket of the machine in `directory`.
///
/// cloud-hypervisor lets itself write everything beside it: so there is nothing but sockets.
pub(crate) fn vsock(directory: &Path) -> PathBuf {
    sockets(directory).join("ch.vsock")
}

/// The vhost-user socket of the interface `name` of the machine in `directory`.
pub(crate) fn net_socket(directory: &Path, name: &str) -> PathBuf {
    sockets(directory).join(format!("{name}.sock"))
}

/// The socket of the passt of the user network `name` of the machine in `directory`: among the VMM's own
/// sockets root could not bind it, without the rights that passt gives up first of all, and the VMM could
/// put another one in its place.
pub(crate) fn passt_socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("passt-{name}.sock"))
}

/// The process id of the passt of the user network `name` of the machine in `directory`.
pub(crate) fn passt_pid(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("passt-{name}.pid"))
}

/// The directory of the disks of the machine in `directory`.
pub(crate) fn disks(directory: &Path) -> PathBuf {
    directory.join(DISKS)
}

/// The file of the disk `name` of the machine in `directory`.
pub(crate) fn disk(directory: &Path, name: &str) -> PathBuf {
    disks(directory).join(name)
}

/// The uuid that `name` spells the way this crate spells it; another spelling is another's file.
pub(crate) fn canonical(name: &str) -> Option<Uuid> {
    let uuid: Uuid = name.parse().ok()?;
    (uuid.to_string() == name).then_some(uuid)
}
