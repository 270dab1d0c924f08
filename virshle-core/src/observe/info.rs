//! A machine as JSON: the fields programs rely on. Fields are added, never renamed.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::address::Address;
use crate::address::host_addresses::Sightings;
use crate::machine::last_exit;
use crate::machine::status::Status;
use crate::machine::vm::Vm;
use crate::model::definition::NetKind;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::store::run_record::{LastExit, Run};

/// A machine, whole: its definition, and what it is doing right now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VmInfo {
    /// The id.
    pub id: u64,
    /// The uuid.
    pub uuid: Uuid,
    /// The name.
    pub name: VmName,
    /// The template it was made from.
    pub template: String,
    /// What it is doing.
    pub state: VmState,
    /// vCPUs at boot.
    pub vcpu: u32,
    /// Memory at boot, in bytes.
    pub vram: u64,
    /// When it was made: RFC 3339, UTC.
    pub created: String,
    /// Started when the host boots.
    pub autostart: bool,
    /// cloud-hypervisor's process.
    pub pid: Option<u32>,
    /// How the last run ended; null while it runs, and if it never ran.
    pub last_exit: Option<LastExit>,
    /// The machine's folder.
    pub dir: PathBuf,
    /// cloud-hypervisor's API socket.
    pub api_socket: PathBuf,
    /// The hybrid vsock's socket.
    pub vsock: PathBuf,
    /// The disks, in the guest's order.
    pub disks: Vec<DiskInfo>,
    /// The network interfaces.
    pub nets: Vec<NetInfo>,
}

/// A disk as JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DiskInfo {
    /// The name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
    /// What the guest sees, in bytes.
    pub size: u64,
    /// What it takes on the host's filesystem, in bytes; null if it can't be told.
    pub allocated: Option<u64>,
    /// The image it was made from.
    pub source: Option<PathBuf>,
    /// How it was made.
    pub clone: String,
    /// The guest can't write to it.
    pub readonly: bool,
}

/// A network interface as JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NetInfo {
    /// The name.
    pub name: String,
    /// `vhost`, `tap` or `macvtap`.
    #[serde(rename = "type")]
    pub kind: NetKind,
    /// The address the guest sees.
    pub mac: String,
    /// The bridge, or the interface below a macvtap.
    pub bridge: String,
    /// The port on the bridge.
    pub port: String,
    /// The vhost-user socket.
    pub socket: Option<PathBuf>,
    /// The VLAN.
    pub vlan: Option<u16>,
    /// The largest payload of a frame, in bytes.
    pub mtu: Option<u16>,
    /// Its addresses as far as this host knows, the surest first.
    pub addresses: Vec<Address>,
}

impl Vm {
    /// Everything about the machine, as programs get it.
    pub fn info(&self) -> VmInfo {
        self.info_among(&self.node().sightings())
    }

    /// The same, with its addresses from sightings that were read before: for many machines.
    pub fn info_among(&self, sightings: &Sightings) -> VmInfo {
        self.info_at(self.status(), sightings)
    }

    /// The same, when it is known what the machine is doing.
    pub(crate) fn info_at(&self, status: Status, sightings: &Sightings) -> VmInfo {
        let addresses = self.addresses_among(sightings);
        let definition = self.definition();
        let last_exit = match status.state {
            VmState::Stopped => {
                Run::read(self.folder()).map(|run| run.exit(|| last_exit::witness(self)))
            }
            _ => None,
        };
        let disks = definition
            .disks
            .iter()
            .map(|disk| DiskInfo {
                name: disk.name.clone(),
                path: self.disk(&disk.name),
                format: disk.format.clone(),
                size: disk.size_bytes,
                allocated: virshle_disk::allocated_bytes(&self.disk(&disk.name)).ok(),
                source: disk.source.clone(),
                clone: disk.clone.clone(),
                readonly: disk.readonly,
            })
            .collect();
        let nets = definition
            .nets
            .iter()
            .map(|net| NetInfo {
                name: net.name.clone(),
                kind: net.kind,
                mac: net.mac.clone(),
                bridge: net.bridge.clone(),
                port: net.port.clone(),
                socket: (net.kind == NetKind::Vhost).then(|| self.net_socket(&net.name)),
                vlan: net.vlan,
                mtu: net.mtu_bytes,
                addresses: addresses
                    .iter()
                    .filter(|address| address.net == net.name)
                    .cloned()
                    .collect(),
            })
            .collect();
        VmInfo {
            id: definition.id,
            uuid: definition.uuid,
            name: definition.name.clone(),
            template: definition.template.clone(),
            state: status.state,
            vcpu: definition.vcpus,
            vram: definition.memory_bytes,
            created: definition.created.clone(),
            autostart: definition.autostart,
            pid: status.pid,
            last_exit,
            dir: self.folder().to_owned(),
            api_socket: self.api_socket(),
            vsock: self.vsock(),
            disks,
            nets,
        }
    }
}
