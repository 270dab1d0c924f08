//! A machine as JSON: the fields programs rely on. Fields are added, never renamed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;
use virshle_disk::{CloneMethod, Format};
use virshle_net::MacAddr;
use virshle_template::RestartPolicy;

use crate::address::host_addresses::HostAddresses;
use crate::address::{Address, addresses_among};
use crate::hardware::net::user;
use crate::hardware::queues;
use crate::machine::last_exit;
use crate::machine::status::Status;
use crate::machine::vm::Vm;
use crate::model::definition::{LimitsDefinition, NetDefinition, NetKind, UserNet, text};
use crate::model::name::VmName;
use crate::model::restart_state::{MAX_ATTEMPTS, RestartInfo, RestartState};
use crate::model::run::LastExit;
use crate::model::state::VmState;
use crate::model::timestamp::Timestamp;
use crate::observe::usage::{Usage, usage_of};
use crate::store::{restart_state, run_record};

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
    /// The template it was created from.
    pub template: String,
    /// What it is doing.
    pub state: VmState,
    /// vCPUs at boot.
    pub vcpu: u32,
    /// Memory at boot, in bytes.
    pub vram: u64,
    /// When it was created: RFC 3339, UTC.
    pub created: Timestamp,
    /// Started when the host boots.
    pub autostart: bool,
    /// Its place among those that start with the host; null: after those that have one.
    pub order: Option<u32>,
    /// How long those of later places wait once it runs, in seconds.
    pub delay: u64,
    /// Its policy of restarts, and where it stands with them.
    pub restart: RestartInfo,
    /// It has a watchdog.
    pub watchdog: bool,
    /// How much of the host it may take; what is not limited is absent.
    pub limits: LimitsDefinition,
    /// What it takes of the host; null unless it runs in a scope of systemd's.
    pub usage: Option<Usage>,
    /// Whether the guest may run guests itself.
    pub nested: bool,
    /// cloud-hypervisor's process.
    pub pid: Option<u32>,
    /// How the last run ended; null while it runs, and if it never ran.
    pub last_exit: Option<LastExit>,
    /// The machine's directory.
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
    #[serde(serialize_with = "text::serialize")]
    pub format: Format,
    /// What the guest sees, in bytes.
    pub size: u64,
    /// What it takes on the host's filesystem, in bytes; null if that is unknown.
    pub allocated: Option<u64>,
    /// The image it was created from.
    pub source: Option<PathBuf>,
    /// How it was created.
    #[serde(serialize_with = "text::serialize")]
    pub clone: CloneMethod,
    /// The guest can't write to it.
    pub readonly: bool,
    /// How many queues it has.
    pub queues: u16,
}

/// A network interface as JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NetInfo {
    /// The name.
    pub name: String,
    /// `user`, `vhost`, `tap`, `bridge` or `macvtap`.
    #[serde(rename = "type")]
    pub kind: NetKind,
    /// The address the guest sees.
    #[serde(serialize_with = "text::serialize")]
    pub mac: MacAddr,
    /// The bridge, or the interface below a macvtap.
    pub bridge: String,
    /// The port on the bridge.
    pub port: String,
    /// The vhost-user socket.
    pub socket: Option<PathBuf>,
    /// The VLAN.
    pub vlan: Option<u16>,
    /// The VLANs of a trunk; empty if it is none.
    pub trunk: Vec<u16>,
    /// Its guest is not kept from speaking as another machine.
    pub trust: bool,
    /// The largest payload of a frame, in bytes.
    pub mtu: Option<u16>,
    /// How many bits the guest may receive in a second.
    pub rate_in: Option<u64>,
    /// How many bits the guest may send in a second.
    pub rate_out: Option<u64>,
    /// How many pairs of queues it has.
    pub queues: u16,
    /// Its addresses as far as this host knows, the surest first.
    pub addresses: Vec<Address>,
    /// The ports of the host that lead to the guest's, as the template says it.
    pub publish: Vec<String>,
    /// What passt does for a user network.
    pub user: Option<UserNetInfo>,
}

/// A user network as JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UserNetInfo {
    /// The guest's gateway.
    pub gateway: IpAddr,
    /// The name servers that the guest is told of.
    pub dns: Vec<IpAddr>,
    /// The gateway stands for the host's loopback.
    pub host_loopback: bool,
    /// Where this host reaches the guest's ssh server, while the machine runs.
    pub ssh: Option<SocketAddr>,
    /// The process, if one serves it.
    pub passt_pid: Option<u32>,
}

impl Vm {
    /// Everything about the machine, as programs get it.
    pub fn info(&self) -> VmInfo {
        info_among(self, &self.node().host_addresses())
    }

    /// The same, with its addresses from a snapshot that was read before: for many machines.
    pub fn info_among(&self, addresses: &HostAddresses) -> VmInfo {
        info_among(self, addresses)
    }
}

fn info_among(vm: &Vm, addresses: &HostAddresses) -> VmInfo {
    info_at(vm, vm.status(), addresses)
}

fn published(net: &NetDefinition) -> Vec<String> {
    let of_user = net.user.iter().flat_map(|user| &user.publish);
    let of_managed = net.managed.iter().flat_map(|managed| &managed.publish);
    of_user.chain(of_managed).map(ToString::to_string).collect()
}

fn user_net_info(vm: &Vm, net: &NetDefinition, user: &UserNet, status: Status) -> UserNetInfo {
    let runs = status.state != VmState::Stopped;
    UserNetInfo {
        gateway: user.gateway.into(),
        dns: user::name_servers(user),
        host_loopback: user.host_loopback,
        ssh: runs.then(|| user::ssh_address(vm, net)).flatten(),
        passt_pid: runs.then(|| user::passt_pid(vm, net)).flatten(),
    }
}

/// Everything about the machine, when it is known what it is doing.
pub(crate) fn info_at(vm: &Vm, status: Status, known: &HostAddresses) -> VmInfo {
    let addresses = addresses_among(vm, known);
    let definition = vm.definition();
    let last_exit = match status.state {
        VmState::Stopped => run_record::read(vm.directory())
            .map(|run| run_record::exit(&run, || last_exit::deduce(vm, &run))),
        _ => None,
    };
    let disks = definition
        .disks
        .iter()
        .map(|disk| DiskInfo {
            name: disk.name.clone(),
            path: vm.disk(&disk.name),
            format: disk.format,
            size: disk.size_bytes,
            allocated: virshle_disk::allocated_bytes(&vm.disk(&disk.name)).ok(),
            source: disk.source.clone(),
            clone: disk.clone,
            readonly: disk.readonly,
            queues: queues::of_disk(definition, disk),
        })
        .collect();
    let nets = definition
        .nets
        .iter()
        .map(|net| NetInfo {
            name: net.name.clone(),
            kind: net.kind,
            mac: net.mac,
            bridge: net.bridge.clone(),
            port: net.port.clone(),
            socket: net.kind.is_vhost_user().then(|| vm.net_socket(&net.name)),
            vlan: net.vlan,
            trunk: net.trunk.clone(),
            trust: net.trust,
            mtu: net.mtu_bytes,
            rate_in: net.rate_in_bits,
            rate_out: net.rate_out_bits,
            queues: queues::of_net(definition, net),
            addresses: addresses
                .iter()
                .filter(|address| address.net == net.name)
                .cloned()
                .collect(),
            publish: published(net),
            user: net.user.as_ref().map(|user| user_net_info(vm, net, user, status)),
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
        created: definition.created,
        autostart: definition.autostart,
        order: definition.order,
        delay: definition.delay_seconds,
        restart: restart_info(vm, status.state),
        watchdog: definition.watchdog,
        limits: definition.limits.clone(),
        usage: status.pid.and_then(usage_of),
        nested: definition.nested,
        pid: status.pid,
        last_exit,
        dir: vm.directory().to_owned(),
        api_socket: vm.api_socket(),
        vsock: vm.vsock(),
        disks,
        nets,
    }
}

/// Where the machine stands with its restarts.
fn restart_info(vm: &Vm, state: VmState) -> RestartInfo {
    let policy = vm.definition().restart;
    // Most have none: nothing is read.
    let found = match policy {
        RestartPolicy::No => RestartState::default(),
        _ => restart_state::read(vm.directory()),
    };
    let is_off = state == VmState::Stopped;
    let next = found.next.filter(|next| is_off && next.boot_id == run_record::boot_id());
    RestartInfo {
        policy: policy.name(),
        attempts: found.attempts,
        max_attempts: MAX_ATTEMPTS,
        watchdog_resets: last_exit::resets(vm).len(),
        next: next.map(|next| next.at),
        held_back: found.held_back.filter(|_| is_off),
    }
}
