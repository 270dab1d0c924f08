//! A network interface as cloud-hypervisor takes it.

use virshle_hypervisor::{NetConfig, VhostMode};

use crate::hardware::queues;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, NetKind};

/// Whether an interface's frames carry offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// The bridge below is the kernel's.
    Kernel,
    /// The bridge below is in user space, where a tap carries none: TCP would stall.
    None,
}

impl Offloads {
    /// Those of a tap on a bridge of that datapath.
    pub(crate) fn on(datapath: virshle_net::Datapath) -> Self {
        match datapath {
            virshle_net::Datapath::Netdev => Self::None,
            virshle_net::Datapath::System => Self::Kernel,
        }
    }
}

/// The configured datapath as the switch's.
pub(crate) fn datapath(asked: virshle_template::Datapath) -> virshle_net::Datapath {
    match asked {
        virshle_template::Datapath::System => virshle_net::Datapath::System,
        virshle_template::Datapath::Netdev => virshle_net::Datapath::Netdev,
    }
}

/// An interface as the command line names it: a tap by its name.
pub(crate) fn net_config(vm: &Vm, net: &NetDefinition) -> NetConfig {
    let config = NetConfig::tap(&net.port);
    let config = match net.kind {
        NetKind::User | NetKind::Vhost => return vhost_config(vm, net),
        // As a start finds it out from the bridge itself.
        NetKind::Tap => {
            let datapath = datapath(vm.node().config().network.datapath);
            with_offloads(config, Offloads::on(datapath))
        }
        NetKind::Bridge | NetKind::Macvtap => config,
    };
    with_queues(with_identity(config, net), vm, net)
}

/// One pair is what cloud-hypervisor takes without being told.
fn with_queues(config: NetConfig, vm: &Vm, net: &NetDefinition) -> NetConfig {
    match queues::of_net(vm.definition(), net) {
        1 => config,
        pairs => config.queue_pairs(pairs.into()),
    }
}

/// A vhost-user interface. The socket to the switch is cloud-hypervisor's own: either side may restart.
/// That to passt is passt's, which tells the guest the MTU by itself.
pub(crate) fn vhost_config(vm: &Vm, net: &NetDefinition) -> NetConfig {
    let mode = match net.kind {
        NetKind::User => VhostMode::Client,
        NetKind::Vhost | NetKind::Tap | NetKind::Bridge | NetKind::Macvtap => VhostMode::Server,
    };
    let config = with_identity(NetConfig::vhost_user(vm.net_socket(&net.name), mode), net);
    let config = with_queues(config, vm, net);
    match net.mtu_bytes.filter(|_| mode == VhostMode::Server) {
        Some(mtu) => config.mtu_bytes(mtu),
        None => config,
    }
}

/// An interface on `count` descriptors that are passed with it.
pub(crate) fn descriptor_config(
    net: &NetDefinition,
    count: usize,
    offloads: Offloads,
) -> NetConfig {
    with_offloads(with_identity(NetConfig::descriptors(count), net), offloads)
}

fn with_offloads(config: NetConfig, offloads: Offloads) -> NetConfig {
    match offloads {
        Offloads::Kernel => config,
        Offloads::None => config.offloads(false),
    }
}

fn with_identity(config: NetConfig, net: &NetDefinition) -> NetConfig {
    config.id(&net.name).mac(net.mac.to_string())
}
