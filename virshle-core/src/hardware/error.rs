//! What can go wrong with the parts of a machine.

use std::path::PathBuf;

use virshle_disk::DiskError;
use virshle_net::{NetError, PasstError};

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::machine::error::{MachineError, network_verdict};
use crate::machine::vm::Vm;
use crate::model::name::VmName;

/// What failed, for which part of which machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardwareError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A machine's network can't be set up.
    #[error("cannot connect machine {vm} to the network")]
    Network {
        /// The machine.
        vm: VmName,
        /// Why.
        source: NetError,
    },
    /// A machine's user network can't be set up.
    #[error("cannot connect machine {vm} to its user network {net:?}")]
    UserNetwork {
        /// The machine.
        vm: VmName,
        /// The network.
        net: String,
        /// Why.
        source: PasstError,
    },
    /// A port of the host that the machine publishes is published by another machine.
    #[error(
        "cannot connect machine {vm} to its user network {net:?}: {port} is published by machine {holder}"
    )]
    PortOfMachine {
        /// The machine.
        vm: VmName,
        /// The network.
        net: String,
        /// The port, as `TCP port 8080`.
        port: String,
        /// The machine that has it.
        holder: VmName,
    },
    /// No firmware is configured, and none is in the usual places.
    #[error("cannot start machine {vm}: no firmware found")]
    NoFirmware {
        /// The machine.
        vm: VmName,
        /// Where it was looked for.
        places: Vec<PathBuf>,
    },
    /// A disk's backing files can't be read.
    #[error("cannot read the backing files of disk {disk:?} of machine {vm}")]
    BackingFiles {
        /// The machine.
        vm: VmName,
        /// The disk.
        disk: String,
        /// Why.
        source: DiskError,
    },
}

impl HardwareError {
    /// Adds the machine to a failure of its network.
    pub(crate) fn network(vm: &Vm) -> impl Fn(NetError) -> Self + Copy + '_ {
        |source| Self::Network { vm: vm.name().clone(), source }
    }
}

impl Failure for HardwareError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::Network { source, .. } => network_verdict(source),
            Self::UserNetwork { source, .. } => passt_verdict(source),
            Self::PortOfMachine { holder, .. } => Verdict::new(ErrorKind::State, "port-taken")
                .remedy(Remedy::StopVm { vm: holder.to_string(), force: false }),
            Self::NoFirmware { places, .. } => {
                let place = places.first().map(|place| place.display().to_string());
                Verdict::new(ErrorKind::Host, "firmware-missing").text(format!(
                    "put cloud-hypervisor's CLOUDHV.fd in {}, or set [hypervisor] firmware, or \
                     give the template a kernel",
                    place.unwrap_or_default()
                ))
            }
            Self::BackingFiles { source, .. } => Verdict::failed("disk-failed").hint(source.hint()),
        }
    }
}

/// A failure of passt: the host's, if the program or a right is what is missing.
fn passt_verdict(error: &PasstError) -> Verdict<'static> {
    let (kind, code) = match error {
        PasstError::Run { .. } => (ErrorKind::Host, "passt-missing"),
        PasstError::TooOld { .. } => (ErrorKind::Host, "passt-too-old"),
        PasstError::PortForbidden { .. } => (ErrorKind::Host, "port-forbidden"),
        PasstError::PortTaken { .. } => (ErrorKind::State, "port-taken"),
        PasstError::Died { .. } => (ErrorKind::Host, "passt-failed"),
        _ => (ErrorKind::Failed, "passt-failed"),
    };
    Verdict::new(kind, code).hint(error.hint())
}
