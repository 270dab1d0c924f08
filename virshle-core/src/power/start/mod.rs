//! Starting a machine: a VMM on its disks, its ports on the bridge, and all of it or nothing.

pub(crate) mod many;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use virshle_hypervisor::{Client, HypervisorError, Launch, Verbosity, VmConfig, Vmm, last_lines};

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::fs::watch::SocketWatch;
use crate::hardware::net::Network;
use crate::hardware::net::shared_ports::SharedPorts;
use crate::hardware::vmm_config;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::state::VmState;
use crate::store::run_record::{Phase, Run};

/// How a machine is started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartOptions {
    /// How long the boot of the guest may take: loading its kernel, making its memory, and the
    /// switch connecting to its interfaces.
    pub boot_timeout: Duration,
    /// How long the switch may take to apply a port, and cloud-hypervisor to answer.
    pub answer_timeout: Duration,
}

impl Default for StartOptions {
    /// A minute for the boot, ten seconds for an answer.
    fn default() -> Self {
        Self { boot_timeout: Duration::from_secs(60), answer_timeout: Duration::from_secs(10) }
    }
}

/// The lines of cloud-hypervisor's log that an error carries.
const LOG_LINES: usize = 8;

/// A machine that is locked and checked, and has the devices of its interfaces.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    network: Network<'a>,
    config: VmConfig,
    previous: Option<Run>,
    // The last to be dropped.
    _lock: Lock,
}

impl<'a> Ready<'a> {
    pub(crate) fn network(&self) -> &Network<'a> {
        &self.network
    }

    /// Starts it, or leaves everything as it was.
    pub(crate) fn start(mut self, options: &StartOptions) -> Result<Change, CoreError> {
        let vm = self.network.vm();
        vm.remove_sockets();
        let run = match Run::begin(vm.folder()) {
            Ok(run) => run,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        let started = vm.launch(&self.config, &mut self.network, options);
        match started.and_then(|()| run.end_start(vm.folder())) {
            Ok(()) => {
                tracing::info!(vm = %vm.name(), "started");
                Ok(Change::Done)
            }
            Err(error) => {
                self.network.settle();
                vm.undo_start(self.previous.as_ref());
                Err(error)
            }
        }
    }

    /// Takes back what was done before the start.
    pub(crate) fn abandon(self) {
        if self.network.settle() {
            self.network.vm().unplug();
        }
    }
}

impl Vm {
    /// Starts the machine and returns when its guest runs and the switch is connected to its
    /// interfaces.
    ///
    /// A machine that runs already is left alone. What an interrupted start left behind is
    /// cleared first.
    ///
    /// # Errors
    ///
    /// Everything is as it was before: no process, no port, no socket is left.
    pub fn start(&self, options: &StartOptions) -> Result<Change, CoreError> {
        let lock = self.lock()?;
        let previous = Run::read(self.folder());
        if let Some(vmm) = self.vmm()? {
            let state = self.state();
            let finished = previous.as_ref().is_some_and(|run| run.phase == Phase::Started);
            match state {
                VmState::Running if finished => return Ok(Change::Unchanged),
                // Whoever started it died when all but this note was done. The guest may have run
                // for days since.
                VmState::Running if self.is_plugged()? => {
                    Run { phase: Phase::Started, ..Run::starting() }.write(self.folder())?;
                    return Ok(Change::Done);
                }
                VmState::Paused => {
                    return Err(CoreError::WrongState {
                        vm: self.name().clone(),
                        verb: "start",
                        state,
                    });
                }
                VmState::Unresponsive if finished => {
                    return Err(CoreError::WrongState {
                        vm: self.name().clone(),
                        verb: "start",
                        state,
                    });
                }
                // Whoever started it died over it: the lock is ours.
                _ => self.kill(&vmm)?,
            }
        }
        let config = self.preflight()?;
        let network = Network::prepare(self, options.answer_timeout)?;
        Ready { _lock: lock, previous, config, network }.start(options)
    }

    /// Takes the steps before a start, for a machine whose ports are asked for together with those
    /// of others; nothing if it is not simply stopped, or somebody works on it. Who waited for it
    /// here, with others in hand, could wait for somebody who waits for those.
    pub(crate) fn ready_among(
        &self,
        shared: &Arc<SharedPorts>,
    ) -> Result<Option<Ready<'_>>, CoreError> {
        let Some(lock) = self.lock_if_free()? else { return Ok(None) };
        if self.vmm()?.is_some() {
            return Ok(None);
        }
        let previous = Run::read(self.folder());
        let config = self.preflight()?;
        let network = Network::prepare_among(self, shared)?;
        Ok(Some(Ready { _lock: lock, previous, config, network }))
    }

    /// Checks what `vm.create` does not: it takes everything, and a boot that fails says little.
    fn preflight(&self) -> Result<VmConfig, CoreError> {
        crate::machine::kvm::open()?;
        let config = self.vmm_config_without_nets()?;
        for (what, path) in vmm_config::files(&config) {
            crate::fs::source_file::check(&path).map_err(|source| CoreError::MissingFile {
                vm: self.name().clone(),
                what,
                path,
                source,
            })?;
        }
        self.confined(config)
    }

    /// The steps of a start, in their order. The caller undoes them.
    fn launch(
        &self,
        config: &VmConfig,
        network: &mut Network<'_>,
        options: &StartOptions,
    ) -> Result<(), CoreError> {
        let vmm = self.spawn()?;
        let client = vmm.client(options.answer_timeout);
        client.create(config).map_err(|source| self.hypervisor_error("start", source))?;
        network.attach(&client)?;
        let taps = network.submit_taps()?;
        self.boot(&client, network, options)?;
        // A vhost-user port gets its link from the guest's driver, seconds from now: that the boot
        // was answered says that the switch is connected.
        network.confirm_taps(taps)
    }

    /// Starts the VMM, and has the record of the run on the disk by the time it answers.
    fn spawn(&self) -> Result<Vmm, CoreError> {
        // Those of the run before are kept, too.
        self.bound_logs();
        let mut kept = Ok(());
        let vmm = Launch::new(&self.node().config().hypervisor.program, &self.api_socket())
            .log_file(self.vmm_log())
            .event_file(self.events())
            .serial_log(self.serial_log())
            // At this level its log tells a guest that powers off from a VMM that is ended. It
            // holds the machine's configuration, in which there is no secret.
            .verbosity(Verbosity::Info)
            .spawn_while(|| kept = Run::keep(self.folder()))
            .map_err(|source| self.hypervisor_error("start", source))?;
        kept.map(|()| vmm)
    }

    /// Boots the guest. cloud-hypervisor's answer does not come before the switch has connected to
    /// each vhost-user socket, and the switch can't connect before cloud-hypervisor has made it.
    fn boot(
        &self,
        client: &Client,
        network: &mut Network<'_>,
        options: &StartOptions,
    ) -> Result<(), CoreError> {
        let failed = |source| self.hypervisor_error("boot", source);
        let deadline = Instant::now() + options.boot_timeout;
        let mut vhost = network.vhost().into_iter().peekable();
        let mut watch = match vhost.peek() {
            Some(_) => Some(SocketWatch::new(&self.folder().join("net"))?),
            None => None,
        };
        let answer = client.start_boot().map_err(failed)?;
        while let (Some(net), Some(watching)) = (vhost.next(), &watch) {
            // With an answer before the socket, the answer says why.
            if !watching.wait_for(&self.net_socket(&net.name), &answer, deadline)? {
                break;
            }
            if vhost.peek().is_none()
                && let Some(watch) = watch.take()
            {
                watch.end();
            }
            network.plug_vhost(net)?;
        }
        answer.wait(deadline.saturating_duration_since(Instant::now())).map_err(failed)
    }

    /// Takes back a start that failed: goes on past what can't be taken back, and tells of it.
    fn undo_start(&self, previous: Option<&Run>) {
        let killed = self.vmm().and_then(|vmm| vmm.map_or(Ok(()), |vmm| self.kill(&vmm)));
        if let Err(error) = killed.and_then(|()| self.kill_lost()) {
            tracing::warn!(vm = %self.name(), %error, "its VMM is left behind");
        }
        self.unplug();
        self.remove_sockets();
        if let Err(error) = Run::restore(previous, self.folder()) {
            tracing::warn!(vm = %self.name(), %error, "cannot forget the failed start");
        }
    }

    /// The machine's VMM, if one runs.
    pub(crate) fn vmm(&self) -> Result<Option<Vmm>, CoreError> {
        Vmm::find(&self.api_socket(), &self.node().config().hypervisor.program)
            .map_err(|source| self.hypervisor_error("find the VMM of", source))
    }

    /// Kills the VMMs that were started for this machine and have lost their socket.
    fn kill_lost(&self) -> Result<(), CoreError> {
        let lost = Vmm::all_under(self.folder())
            .map_err(|source| self.hypervisor_error("find the VMM of", source))?;
        lost.iter().try_for_each(|vmm| self.kill(vmm))
    }

    /// Whether a start of it was begun, and its starter died before it came to the boot. Whoever
    /// asks holds its lock, or knows that nobody does.
    pub(crate) fn is_half_started(&self) -> bool {
        let unfinished = Run::read(self.folder()).is_some_and(|run| run.phase == Phase::Starting);
        unfinished && matches!(self.state(), VmState::Created | VmState::Unresponsive)
    }

    pub(crate) fn client(
        &self,
        timeout: Duration,
        doing: &'static str,
    ) -> Result<Client, CoreError> {
        Client::connect(&self.api_socket(), timeout)
            .map_err(|source| self.hypervisor_error(doing, source))
    }

    /// Adds the machine, and the end of cloud-hypervisor's log, to its failure.
    pub(crate) fn hypervisor_error(
        &self,
        doing: &'static str,
        source: HypervisorError,
    ) -> CoreError {
        // The last words of one that died are in the error already.
        let log = match source {
            HypervisorError::Died { .. } => Vec::new(),
            _ => last_lines(&self.vmm_log(), LOG_LINES),
        };
        CoreError::Hypervisor { vm: self.name().clone(), doing, log, source }
    }

    /// The sockets that the machine has while it runs.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![self.api_socket(), self.vsock()];
        sockets.extend(self.definition().nets.iter().map(|net| self.net_socket(&net.name)));
        sockets
    }

    /// Removes the sockets that a killed VMM leaves behind: each of them would make the next
    /// start fail, as cloud-hypervisor does not take over any but its API's.
    pub(crate) fn remove_sockets(&self) {
        for path in self.sockets() {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove");
                }
                _ => {}
            }
        }
    }
}
