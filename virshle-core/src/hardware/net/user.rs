//! User networks: each has a passt, the back end of its vhost-user socket, beside the VMM.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use virshle_net::{
    Forward, ForwardProtocol, Holder, Passt, PasstError, PasstRequest, StartingPasst, host_resolver,
};
use virshle_template::{Confine, Protocol, Publish};

use crate::fs::file::remove_if_there;
use crate::hardware::confine::user::MachineUser;
use crate::hardware::error::HardwareError;
use crate::hardware::net::replug::{Replugged, replug};
use crate::hardware::passt_scope::{self, Served};
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::definition::{NetDefinition, UserNet};
use crate::model::run::Run;
use crate::store::{layout, run_record};

/// How long a passt may take to come up: some milliseconds where nothing is wrong.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one that is killed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The guest's ssh server.
const SSH_PORT: u16 = 22;
/// The gateway of each user network, as seen from its guest.
const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// Who a passt runs as when root starts it and the machine has no user: `nobody`, and its group.
const NOBODY: (u32, u32) = (65534, 65534);

/// The user networks of the machine.
fn user_nets(vm: &Vm) -> impl Iterator<Item = (&NetDefinition, &UserNet)> {
    vm.definition().nets.iter().filter_map(|net| Some((net, net.user.as_ref()?)))
}

/// Adds the machine and its network to a failure.
fn failed(vm: &Vm, net: &NetDefinition) -> impl Fn(PasstError) -> HardwareError {
    let (vm, net) = (vm.name().clone(), net.name.clone());
    move |source| HardwareError::UserNetwork { vm: vm.clone(), net: net.clone(), source }
}

/// The machine's passt for `net`, if one runs.
fn find(vm: &Vm, net: &NetDefinition) -> Option<Passt> {
    Passt::find(&layout::passt_pid(vm.directory(), &net.name), &vm.net_socket(&net.name))
}

/// Makes sure that the ports that the machine publishes can be had, before anything is changed.
pub(crate) fn check_ports(vm: &Vm) -> Result<(), HardwareError> {
    for (net, user) in user_nets(vm) {
        for forward in user.publish.iter().map(forward) {
            check_port(vm, net, &forward)?;
        }
    }
    Ok(())
}

/// Makes sure that a port can be had. A stopped machine whose guest powered itself off may still have
/// it: that ends here.
fn check_port(vm: &Vm, net: &NetDefinition, forward: &Forward) -> Result<(), HardwareError> {
    let error = match forward.check_free() {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let PasstError::PortTaken { holder: Some(Holder { passt_socket: Some(socket), .. }), .. } =
        &error
    else {
        return Err(failed(vm, net)(error));
    };
    let Some(holder) = machine_of(vm, socket) else { return Err(failed(vm, net)(error)) };
    if holder.definition().uuid == vm.definition().uuid {
        // What an interrupted start of this machine left; the lock is the caller's.
        end(vm);
        return forward.check_free().map_err(failed(vm, net));
    }
    if let Ok(Some(_lock)) = holder.lock_if_free() {
        if matches!(holder.vmm(), Ok(None)) {
            end(&holder);
            return forward.check_free().map_err(failed(vm, net));
        }
    }
    Err(HardwareError::PortOfMachine {
        vm: vm.name().clone(),
        net: net.name.clone(),
        port: forward.to_string(),
        holder: holder.name().clone(),
    })
}

/// The machine of this node whose directory a socket is in.
fn machine_of(vm: &Vm, socket: &Path) -> Option<Vm> {
    let node = vm.node();
    let directory = socket.parent()?;
    let uuid = layout::canonical(directory.file_name()?.to_str()?)?;
    (node.store().directory(uuid) == directory).then(|| node.vm(uuid).ok()).flatten()
}

/// The port of the host's loopback by which the guest's ssh server is reached: the one of the last
/// run if it is free, so that it stays the same.
pub(crate) fn ssh_port(vm: &Vm, last: Option<u16>) -> Result<Option<u16>, HardwareError> {
    let Some((net, _)) = user_nets(vm).next() else { return Ok(None) };
    match last.filter(|port| ssh_forward(*port).check_free().is_ok()) {
        Some(port) => Ok(Some(port)),
        None => {
            let free = Forward::free_on_loopback(SSH_PORT).map_err(failed(vm, net))?;
            Ok(Some(free.host_port))
        }
    }
}

fn ssh_forward(port: u16) -> Forward {
    Forward::new(ForwardProtocol::Tcp, port, SSH_PORT).at(Ipv4Addr::LOCALHOST.into())
}

fn forward(publish: &Publish) -> Forward {
    let protocol = match publish.protocol {
        Protocol::Tcp => ForwardProtocol::Tcp,
        Protocol::Udp => ForwardProtocol::Udp,
    };
    let forward = Forward::new(protocol, publish.host_port, publish.guest_port);
    match publish.address {
        Some(address) => forward.at(address),
        None => forward,
    }
}

/// The passts of a machine that starts, while they come up.
#[derive(Debug)]
pub(crate) struct StartingUserNets<'a> {
    vm: &'a Vm,
    starting: Vec<(&'a NetDefinition, PasstRequest, StartingPasst)>,
}

/// Starts a passt for each user network of the machine, and waits for none.
pub(crate) fn begin(vm: &Vm, ssh_port: Option<u16>) -> Result<StartingUserNets<'_>, HardwareError> {
    let mut starting = Vec::new();
    for (place, (net, user)) in user_nets(vm).enumerate() {
        // One of the machine's networks is enough for its ssh server.
        let request = request(vm, net, user, ssh_port.filter(|_| place == 0))?;
        let begun = launch(&request).map_err(failed(vm, net))?;
        starting.push((net, request, begun));
    }
    Ok(StartingUserNets { vm, starting })
}

impl StartingUserNets<'_> {
    /// Waits until each of them serves its socket and has its ports.
    pub(crate) fn wait(self) -> Result<Vec<Served>, HardwareError> {
        let mut served = Vec::new();
        for (net, request, starting) in self.starting {
            let error = match starting.wait(START_TIMEOUT) {
                Ok(passt) => {
                    served.push(Served { net: net.name.clone(), pid: passt.pid() });
                    continue;
                }
                Err(error) => error,
            };
            if error.is_bind_failure() {
                // Another process was quicker: who, it does not say.
                for forward in request.forwards() {
                    check_port(self.vm, net, forward)?;
                }
            }
            return Err(failed(self.vm, net)(explained(self.vm, error)));
        }
        Ok(served)
    }
}

/// One that is too old does not know its options, and says only that.
fn explained(vm: &Vm, error: PasstError) -> PasstError {
    match error {
        PasstError::Died { .. } => {
            let program = &vm.node().config().network.passt;
            match virshle_net::check_passt(program, START_TIMEOUT) {
                Err(too_old @ PasstError::TooOld { .. }) => too_old,
                _ => error,
            }
        }
        error => error,
    }
}

/// Starts a passt: the one place where it is decided what it may do on the host.
fn launch(request: &PasstRequest) -> Result<StartingPasst, PasstError> {
    request.begin(request.command())
}

/// What the passt of `net` is to do.
fn request(
    vm: &Vm,
    net: &NetDefinition,
    user: &UserNet,
    ssh_port: Option<u16>,
) -> Result<PasstRequest, HardwareError> {
    let pid_file = layout::passt_pid(vm.directory(), &net.name);
    let program = &vm.node().config().network.passt;
    let mut request = PasstRequest::new(program, &vm.net_socket(&net.name), &pid_file)
        .address(user.address.into(), user.prefix_len)
        .gateway(user.gateway.into())
        .gateway(GATEWAY_IPV6.into())
        .host_loopback(user.host_loopback);
    let own = net.addresses.iter().find(|address| address.ip.is_ipv6());
    request = match own {
        Some(address) => request.address(address.ip, address.prefix_len),
        None => request.address(user.ipv6().into(), 64),
    };
    if user.dns.is_empty() {
        if let Some(of_host) = host_resolver().map_err(failed(vm, net))? {
            request = request.dns_forward(user.resolver(of_host), of_host);
        }
    } else {
        request = user.dns.iter().fold(request, |request, server| request.dns(*server));
    }
    if let Some(mtu) = net.mtu_bytes {
        request = request.mtu_bytes(mtu);
    }
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = run_as(vm)?;
        request = request.run_as(uid, gid);
    }
    let forwards = user.publish.iter().map(forward).chain(ssh_port.map(ssh_forward));
    Ok(forwards.fold(request, PasstRequest::forward))
}

/// Who a passt runs as when root starts it: the machine's own user, as its VMM, which connects to it.
fn run_as(vm: &Vm) -> Result<(u32, u32), HardwareError> {
    match MachineUser::of(vm) {
        Ok(Some(user)) => Ok((user.identity().uid, user.identity().gid)),
        Ok(None) => Ok(NOBODY),
        Err(_) if vm.node().config().hypervisor.confine == Confine::BestEffort => Ok(NOBODY),
        Err(source) => Err(HardwareError::Confine { vm: vm.name().clone(), source }),
    }
}

/// How a user network of a running machine is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No passt serves it.
    Passt,
    /// A passt does, and the guest's NIC is none of its: one before it died.
    Nic,
}

/// The user networks that the machine has lost.
pub(crate) fn lost(vm: &Vm) -> Vec<(&NetDefinition, Loss)> {
    let mut unplugged: Option<Vec<String>> = None;
    user_nets(vm)
        .filter_map(|(net, _)| {
            if find(vm, net).is_none() {
                return Some((net, Loss::Passt));
            }
            let record =
                || run_record::read(vm.directory()).map(|run| run.unplugged).unwrap_or_default();
            let unplugged = unplugged.get_or_insert_with(record);
            unplugged.contains(&net.name).then_some((net, Loss::Nic))
        })
        .collect()
}

/// What is wrong with a user network that is lost, for people.
pub(crate) fn lapse(net: &NetDefinition, loss: Loss) -> String {
    match loss {
        Loss::Passt => format!("no passt serves the user network {}", net.name),
        Loss::Nic => format!(
            "its guest has not let go of the dead NIC of the user network {}: only a restart gives it \
             another one",
            net.name
        ),
    }
}

/// Starts a passt for each user network of a running machine that has lost its own, and plugs the guest's
/// NIC into it. Returns what was missing. The caller holds the machine's lock.
pub(crate) fn restart_lost(vm: &Vm) -> Result<Vec<String>, HardwareError> {
    let missing = lost(vm);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let record = run_record::read(vm.directory());
    let last_port = record.as_ref().and_then(|run| run.ssh_port);
    let ssh_port = ssh_port(vm, last_port)?;
    let mut run = record.map(|run| Run { ssh_port, ..run });
    // First of all: once its passt is there again, nothing else shows that the NIC is dead.
    let lost = missing.iter().map(|(net, _)| net.name.clone()).collect();
    note_unplugged(vm, &mut run, lost)?;
    let mut kept = Vec::new();
    let mut served = Vec::new();
    for (place, (net, user)) in user_nets(vm).enumerate() {
        let Some((_, loss)) = missing.iter().find(|(lost, _)| lost.name == net.name) else {
            continue;
        };
        if *loss == Loss::Passt {
            served.push(restart(vm, net, user, ssh_port.filter(|_| place == 0))?);
        }
        if replug(vm, net)? == Replugged::Kept {
            kept.push(net.name.clone());
            tracing::warn!(
                vm = %vm.name(), net = net.name,
                "its guest does not let go of its NIC, and stays without this network until a restart"
            );
        }
    }
    note_unplugged(vm, &mut run, kept)?;
    if let Some(vmm) = vm.vmm()? {
        passt_scope::settle(vm, passt_scope::ask(vm, vmm.pid(), &served));
    }
    Ok(missing.into_iter().map(|(net, loss)| lapse(net, loss)).collect())
}

/// Records the networks whose NIC is to be plugged in anew.
fn note_unplugged(
    vm: &Vm,
    run: &mut Option<Run>,
    unplugged: Vec<String>,
) -> Result<(), HardwareError> {
    let Some(run) = run else { return Ok(()) };
    run.unplugged = unplugged;
    Ok(run_record::write(run, vm.directory()).map_err(MachineError::from)?)
}

/// Starts another passt for `net`.
fn restart(
    vm: &Vm,
    net: &NetDefinition,
    user: &UserNet,
    ssh_port: Option<u16>,
) -> Result<Served, HardwareError> {
    for forward in user.publish.iter().map(forward) {
        check_port(vm, net, &forward)?;
    }
    end_one(vm, net);
    let request = request(vm, net, user, ssh_port)?;
    let started = launch(&request).and_then(|starting| starting.wait(START_TIMEOUT));
    let passt = started.map_err(|error| failed(vm, net)(explained(vm, error)))?;
    tracing::info!(vm = %vm.name(), net = net.name, "a passt that was lost is there again");
    Ok(Served { net: net.name.clone(), pid: passt.pid() })
}

/// The passts that serve the machine.
pub(crate) fn served(vm: &Vm) -> Vec<Served> {
    let served = |(net, _): (&NetDefinition, &UserNet)| {
        Some(Served { net: net.name.clone(), pid: find(vm, net)?.pid() })
    };
    user_nets(vm).filter_map(served).collect()
}

/// Ends the machine's passts, if there are any. What can't be ended is logged; a repair of the node
/// finds it by its socket.
pub(crate) fn end(vm: &Vm) {
    for (net, _) in user_nets(vm) {
        end_one(vm, net);
    }
}

fn end_one(vm: &Vm, net: &NetDefinition) {
    let (socket, pid_file) =
        (vm.net_socket(&net.name), layout::passt_pid(vm.directory(), &net.name));
    let exists = |path: &PathBuf| path.symlink_metadata().is_ok();
    let ended = match find(vm, net) {
        Some(passt) => passt.end(END_TIMEOUT),
        None if !exists(&socket) && !exists(&pid_file) => return,
        // One whose file was lost, or not yet written when its starter died.
        None => Passt::all_under(&socket)
            .and_then(|all| all.iter().try_for_each(|passt| passt.end(END_TIMEOUT))),
    };
    if let Err(error) = ended {
        // By its files it is found again.
        tracing::warn!(vm = %vm.name(), net = net.name, %error, "its passt is left behind");
        return;
    }
    for path in [socket, pid_file] {
        if let Err(error) = remove_if_there(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove");
        }
    }
}

/// Where this host reaches `port` of the guest by a user network: at a published port, or at the one
/// of its ssh server. There is none while no passt serves: another process may have the port then.
pub(crate) fn published(vm: &Vm, port: u16, ssh_port: Option<u16>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for (place, (net, user)) in user_nets(vm).enumerate() {
        if find(vm, net).is_none() {
            continue;
        }
        let ssh = ssh_port.filter(|_| place == 0 && port == SSH_PORT);
        found.extend(ssh.map(|ssh| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ssh)));
        let leads = |one: &&Publish| one.guest_port == port && one.protocol == Protocol::Tcp;
        let publish = user.publish.iter().filter(leads);
        found.extend(publish.map(|one| SocketAddr::new(one.local_address(), one.host_port)));
    }
    found
}

/// The name servers that the guest of a user network is told of.
pub(crate) fn name_servers(user: &UserNet) -> Vec<IpAddr> {
    match host_resolver() {
        Ok(Some(of_host)) if user.dns.is_empty() => vec![user.resolver(of_host)],
        _ => user.dns.clone(),
    }
}

/// Where this host reaches the guest's ssh server by the network `net`, if it is the one for that.
pub(crate) fn ssh_address(vm: &Vm, net: &NetDefinition) -> Option<SocketAddr> {
    let is_first = user_nets(vm).next().is_some_and(|(first, _)| first.name == net.name);
    let port = run_record::read(vm.directory())?.ssh_port.filter(|_| is_first)?;
    Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

/// The files with the process ids of the machine's passts.
pub(crate) fn pid_files(vm: &Vm) -> impl Iterator<Item = PathBuf> {
    user_nets(vm).map(|(net, _)| layout::passt_pid(vm.directory(), &net.name))
}

/// The process that serves `net`, if it is a user network and one does.
pub(crate) fn passt_pid(vm: &Vm, net: &NetDefinition) -> Option<u32> {
    find(vm, net).map(|passt| passt.pid())
}
