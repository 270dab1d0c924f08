//! What can go wrong with a machine, whatever is asked of it.

use std::io;

use virshle_hypervisor::HypervisorError;
use virshle_net::{Conflict, ManagedError, NetError, PasstError};

use crate::failure::{ErrorKind, Failure, Remedy, Verdict, nearest};
use crate::fs::error::FileError;
use crate::model::definition::error::DefinitionError;
use crate::model::name::VmName;
use crate::model::selector::SelectError;
use crate::model::state::VmState;
use crate::store::error::StoreError;

/// What failed, for which machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The node's directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No machine is meant, or more than one.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A machine was removed while it was waited for.
    #[error("machine {vm} was removed meanwhile")]
    Removed {
        /// Its name.
        vm: VmName,
    },
    /// What was asked can't be done in the state the machine is in.
    #[error("cannot {verb} machine {vm}: it is {state}")]
    WrongState {
        /// The machine.
        vm: VmName,
        /// What was asked.
        verb: &'static str,
        /// The state it is in.
        state: VmState,
    },
    /// cloud-hypervisor refused, or failed.
    #[error("cannot {doing} machine {vm}")]
    Hypervisor {
        /// The machine.
        vm: VmName,
        /// What was being done.
        doing: &'static str,
        /// The end of its log, when it adds to the source.
        log: Vec<String>,
        /// Why.
        source: HypervisorError,
    },
    /// The processes of a directory's VMMs can't be looked through.
    #[error("cannot look for cloud-hypervisor processes")]
    Processes {
        /// Why.
        source: HypervisorError,
    },
    /// The passts of a directory's machines can't be looked through, or ended.
    #[error("cannot clear up after passt")]
    Passts {
        /// Why.
        source: PasstError,
    },
    /// cloud-hypervisor did not end, although killed.
    #[error("the cloud-hypervisor process of machine {vm} (pid {pid}) does not end")]
    Unkillable {
        /// The machine.
        vm: VmName,
        /// The process.
        pid: u32,
    },
    /// A cloud-hypervisor process of a machine that is no more did not end, although killed.
    #[error("the cloud-hypervisor process with pid {pid} does not end")]
    Immortal {
        /// The process.
        pid: u32,
    },
    /// The node's network can't be created or read.
    #[error("cannot {doing}")]
    Switch {
        /// What was being done.
        doing: String,
        /// Why.
        source: NetError,
    },
    /// The managed network can't be set up, read, or changed.
    #[error("cannot {doing}")]
    Managed {
        /// What was being done.
        doing: String,
        /// Why.
        source: ManagedError,
    },
    /// Something on the host is in the way of the managed network. Nothing was changed.
    #[error("cannot set up the managed network: {}", listed(.conflicts))]
    Conflicts {
        /// What is in its way.
        conflicts: Vec<Conflict>,
    },
    /// The managed network is root's to set up.
    #[error("the managed network ([network] subnet) is set up by root alone")]
    NotRoot,
    /// It can't be taken away while machines use it.
    #[error("cannot take the managed network away: {} on it", running(.machines))]
    InUse {
        /// The machines that run on it.
        machines: Vec<VmName>,
    },
    /// There is no managed network.
    #[error("cannot publish ports of machine {vm}: it is on no managed network")]
    Unpublishable {
        /// The machine.
        vm: VmName,
    },
    /// The host has no KVM, or keeps it from this user.
    #[error("/dev/kvm cannot be opened")]
    Kvm {
        /// Why.
        source: io::Error,
    },
}

fn listed(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn running(machines: &[VmName]) -> String {
    let names: Vec<&str> = machines.iter().map(VmName::as_str).collect();
    let runs = if names.len() == 1 { "runs" } else { "run" };
    format!("{} {runs}", names.join(", "))
}

impl From<FileError> for MachineError {
    fn from(error: FileError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<DefinitionError> for MachineError {
    fn from(error: DefinitionError) -> Self {
        StoreError::from(error).into()
    }
}

impl Failure for MachineError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Store(error) => error.verdict(),
            Self::Select(error) => error.verdict(),
            Self::Removed { .. } => Verdict::new(ErrorKind::NotFound, "vm-removed"),
            Self::WrongState { vm, verb, state } => {
                let vm = vm.to_string();
                let takes_force = matches!(*verb, "stop" | "remove");
                Verdict::new(ErrorKind::State, "wrong-state").remedy(match state {
                    VmState::Paused if takes_force => Remedy::OrByForce { vm, verb, paused: true },
                    VmState::Running if takes_force => {
                        Remedy::OrByForce { vm, verb, paused: false }
                    }
                    VmState::Paused => Remedy::ResumeVm { vm },
                    VmState::Running => Remedy::StopVm { vm, force: false },
                    VmState::Stopped => Remedy::StartVm { vm },
                    VmState::Unresponsive | VmState::Created => Remedy::StopVm { vm, force: true },
                })
            }
            Self::Hypervisor { log, source, .. } => {
                let verdict =
                    Verdict::new(hypervisor_kind(source), "hypervisor-failed").details(log);
                match lacks_hypervisor(source) {
                    true => verdict.remedy(Remedy::SetUpHost),
                    false => verdict.hint(source.hint()),
                }
            }
            Self::Processes { source } => Verdict::failed("hypervisor-failed").hint(source.hint()),
            Self::Passts { source } => Verdict::failed("passt-failed").hint(source.hint()),
            Self::Unkillable { .. } | Self::Immortal { .. } => Verdict::failed("unkillable"),
            Self::Switch { source, .. } => network_verdict(source),
            Self::Managed { source, .. } => managed_verdict(source),
            Self::Conflicts { conflicts } => Verdict::new(ErrorKind::Host, "network-conflict")
                .hint(conflicts.first().map(Conflict::hint)),
            Self::NotRoot => Verdict::new(ErrorKind::Host, "not-root")
                .text("run v node init as root, or leave [network] subnet away"),
            Self::InUse { .. } => Verdict::new(ErrorKind::State, "network-in-use")
                .text("stop them, or use --force: they lose their network"),
            Self::Unpublishable { .. } => Verdict::new(ErrorKind::State, "not-managed").text(
                "it needs a net of type user; or one of type tap or vhost without a VLAN, and \
                 [network] subnet",
            ),
            Self::Kvm { source } => {
                Verdict::new(ErrorKind::Host, "kvm-missing").remedy(match source.kind() {
                    io::ErrorKind::NotFound => Some(Remedy::Text(
                        "enable virtualization in the BIOS, then: modprobe kvm-intel (or kvm-amd)"
                            .into(),
                    )),
                    io::ErrorKind::PermissionDenied => Some(Remedy::Text(
                        "add yourself to the group kvm, then log in again".into(),
                    )),
                    _ => None,
                })
            }
        }
    }
}

impl Failure for SelectError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::NoSuchVm { known, .. } if known.is_empty() => {
                Verdict::new(ErrorKind::NotFound, "vm-not-found").remedy(Remedy::CreateVm)
            }
            Self::NoSuchVm { word, known } => Verdict::new(ErrorKind::NotFound, "vm-not-found")
                .remedy(Remedy::ListVms { nearest: nearest(word, known).cloned() }),
            Self::NoSuchTemplate { name, known } => {
                Verdict::new(ErrorKind::NotFound, "template-not-found")
                    .remedy(Remedy::ListTemplates { nearest: nearest(name, known).cloned() })
            }
            Self::Ambiguous { .. } => {
                Verdict::new(ErrorKind::Usage, "vm-ambiguous").remedy(Remedy::NameExactly)
            }
        }
    }
}

/// A failure of the network: the host's, if the switch and not the request is what is missing.
pub(crate) fn network_verdict(error: &NetError) -> Verdict<'static> {
    let lacks_switch = matches!(
        error,
        NetError::Connect { .. }
            | NetError::TimedOut { .. }
            | NetError::Closed { .. }
            | NetError::NotInitialized { .. }
            | NetError::SwitchSilent { .. }
            | NetError::NoBridge { .. }
            | NetError::BridgeDatapath { .. }
            | NetError::BridgeFailed { .. }
            | NetError::BridgeTaken { .. }
            | NetError::NoDpdk
            | NetError::CreateTap { .. }
            | NetError::Sysctl { .. }
            | NetError::Management { .. }
            | NetError::OpenFlowRefused { .. }
            | NetError::OpenFlowMalformed { .. }
            | NetError::Control { .. }
            | NetError::ControlMalformed { .. }
            | NetError::CreateMacvtap { .. }
            | NetError::NoLinuxBridge { .. }
            | NetError::NotALinuxBridge { .. }
            | NetError::NoVlanFiltering { .. }
            | NetError::NoDefaultVlan { .. }
            | NetError::TrafficControl { .. }
    );
    let kind = if lacks_switch { ErrorKind::Host } else { ErrorKind::Failed };
    Verdict::new(kind, "network-failed").hint(error.hint())
}

/// A failure of the managed network: the host's, if a program is what is missing.
pub(crate) fn managed_verdict(error: &ManagedError) -> Verdict<'static> {
    let (kind, code) = match error {
        ManagedError::Run { .. } | ManagedError::Unable { .. } => {
            (ErrorKind::Host, "program-missing")
        }
        ManagedError::PortTaken { .. } => (ErrorKind::State, "port-taken"),
        ManagedError::NoTable { .. } => (ErrorKind::Host, "network-failed"),
        ManagedError::Net(error) => return network_verdict(error),
        _ => (ErrorKind::Failed, "network-failed"),
    };
    Verdict::new(kind, code).hint(error.hint())
}

/// Whether there is no cloud-hypervisor at all, and none is configured: a name was looked up.
pub(crate) fn lacks_hypervisor(error: &HypervisorError) -> bool {
    match error {
        HypervisorError::Run { program, source } => {
            source.kind() == io::ErrorKind::NotFound && program.components().count() == 1
        }
        _ => false,
    }
}

/// A failure of the host's, if cloud-hypervisor and not the machine is what is missing.
fn hypervisor_kind(error: &HypervisorError) -> ErrorKind {
    match error {
        HypervisorError::Run { .. }
        | HypervisorError::Died { .. }
        | HypervisorError::TooOld { .. }
        | HypervisorError::Wrapped { .. }
        | HypervisorError::VersionUnknown { .. } => ErrorKind::Host,
        _ => ErrorKind::Failed,
    }
}
