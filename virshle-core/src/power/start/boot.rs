//! The steps of a start, in their order: the VMM, the machine in it, its interfaces, its guest.

use virshle_hypervisor::{Cage, Client, Launch, Version, VmConfig, Vmm};

use crate::fs::deadline::Deadline;
use crate::fs::socket_watch::SocketWatch;
use crate::hardware::disk::{check_compressed, has_qcow2};
use crate::hardware::net::attach::Network;
use crate::hardware::net::user;
use crate::hardware::{limits, passt_scope, scope};
use crate::machine::logs::bound_logs;
use crate::machine::vm::Vm;
use crate::model::run::Run;
use crate::network::publish::publish;
use crate::power::error::StartError;
use crate::power::start::StartOptions;
use crate::power::start::overcommit::reserve;
use crate::store::{layout, run_record};

/// Takes the steps of a start, and returns the VMM's process. The caller undoes them.
pub(super) fn launch(
    vm: &Vm,
    run: &Run,
    config: &VmConfig,
    cage: Cage,
    network: &mut Network<'_>,
    options: &StartOptions,
) -> Result<u32, StartError> {
    let room = reserve(vm)?;
    // They come up while the VMM does.
    let user_nets = user::begin(vm, run.ssh_port)?;
    let vmm = spawn(vm, cage)?;
    // Its socket is there: others count it.
    drop(room);
    limits::even_oom_score(vmm.pid());
    // Its answer comes while the VMM gets its machine.
    let scope = scope::ask(vm, vmm.pid(), vmm.log_keeper());
    let client = vmm.client(options.answer_timeout);
    refuse_faulty(vm, &client)?;
    client.create(config).map_err(|source| vm.vmm_error("start", source))?;
    network.attach(&client)?;
    let taps = network.submit_taps()?;
    publish(vm)?;
    // For this side the VMM looks when it boots, and tries again but every 100 ms.
    let passts = user_nets.wait()?;
    scope::settle(vm, vmm.pid(), scope)
        .map_err(|source| StartError::HostGoesDown { vm: vm.name().clone(), source })?;
    // Bound to that one, so after it; the answers come while the guest boots.
    let passts = passt_scope::ask(vm, vmm.pid(), &passts);
    boot(vm, &vmm, &client, network, options)?;
    // A vhost-user port gets its link from the guest's driver, seconds from now: that the boot
    // was answered shows that the switch is connected.
    network.confirm_taps(taps)?;
    passt_scope::settle(vm, passts);
    Ok(vmm.pid())
}

/// Refuses a version of cloud-hypervisor that the machine's disks are not safe with.
fn refuse_faulty(vm: &Vm, client: &Client) -> Result<(), StartError> {
    if !has_qcow2(vm) {
        return Ok(());
    }
    let ping = client.ping().map_err(|source| vm.vmm_error("start", source))?;
    // Of a build that has no number nothing is known.
    match Version::parse(&ping.version) {
        Some(version) => Ok(check_compressed(vm, version)?),
        None => Ok(()),
    }
}

/// Starts the VMM, and has the record of the run on the disk by the time it answers.
fn spawn(vm: &Vm, cage: Cage) -> Result<Vmm, StartError> {
    // Those of the run before are kept, too.
    bound_logs(vm.directory());
    let mut kept = Ok(());
    let mut launch = Launch::new(&vm.node().hypervisor_program()?, &vm.api_socket())
        .log_file(vm.vmm_log())
        .event_file(vm.events())
        .serial_log(vm.serial_log())
        .cage(cage);
    if let Some(keeper) = vm.node().log_keeper() {
        launch = launch.log_keeper(keeper.clone());
    }
    let vmm = launch
        .spawn_while(|| kept = run_record::keep(vm.directory()))
        .map_err(|source| vm.vmm_error("start", source))?;
    Ok(kept.map(|()| vmm)?)
}

/// Boots the guest. cloud-hypervisor's answer does not come before the switch has connected to
/// each vhost-user socket, and the switch can't connect before cloud-hypervisor has created it.
fn boot(
    vm: &Vm,
    vmm: &Vmm,
    client: &Client,
    network: &mut Network<'_>,
    options: &StartOptions,
) -> Result<(), StartError> {
    let failed = |source| vm.vmm_error("boot", source);
    let deadline = Deadline::after(options.boot_timeout);
    let mut vhost = network.vhost().into_iter().peekable();
    let mut watch = match vhost.peek() {
        Some(_) => Some(SocketWatch::new(&layout::sockets(vm.directory()), vmm.pid())?),
        None => None,
    };
    let answer = client.start_boot().map_err(failed)?;
    while let (Some(net), Some(watching)) = (vhost.next(), &watch) {
        // With an answer before the socket, the answer shows why.
        if !watching.wait_for(&vm.net_socket(&net.name), &answer, deadline)? {
            break;
        }
        if vhost.peek().is_none() {
            if let Some(watch) = watch.take() {
                watch.end();
            }
        }
        network.connect_vhost(net)?;
    }
    Ok(answer.wait(deadline.left()).map_err(failed)?)
}
