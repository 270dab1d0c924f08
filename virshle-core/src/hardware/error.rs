//! What can go wrong with the parts of a machine.

use std::path::{Path, PathBuf};

use virshle_disk::DiskError;
use virshle_hypervisor::{Qcow2Fault, Version};
use virshle_net::{NetError, PasstError};

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::FileError;
use crate::hardware::confine::error::ConfineError;
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
    /// The machine's VMM can't be confined.
    #[error("cannot confine machine {vm}")]
    Confine {
        /// The machine.
        vm: VmName,
        /// Why.
        source: ConfineError,
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
    /// This version of cloud-hypervisor does something wrong with a disk's compressed clusters.
    #[error("cloud-hypervisor {version} is not to be given disk {disk:?} of machine {vm}")]
    FaultyWithDisk {
        /// The machine.
        vm: VmName,
        /// The disk.
        disk: String,
        /// The file that has the clusters: the disk's, or an image below it.
        path: PathBuf,
        /// The version.
        version: Version,
        /// What it does wrong.
        source: Qcow2Fault,
    },
    /// The port of an interface is not called as this machine's are.
    #[error("interface {net:?} of machine {vm} cannot have a port called {port:?}")]
    ForeignPort {
        /// The machine.
        vm: VmName,
        /// The interface.
        net: String,
        /// The name of its port.
        port: String,
    },
    /// A bridge forwards no frames as large as an interface on it is to send.
    #[error(
        "interface {net:?} of machine {vm} cannot have an MTU of {mtu_bytes}: bridge {bridge} has one of {most}"
    )]
    MtuOfBridge {
        /// The machine.
        vm: VmName,
        /// The interface.
        net: String,
        /// What it is to have, in bytes.
        mtu_bytes: u16,
        /// The bridge.
        bridge: String,
        /// What the bridge has, in bytes.
        most: u32,
    },
    /// A running machine's tap was removed. Its VMM holds one end of it, to which no new one can be joined.
    #[error("tap {port} of the running machine {vm} is gone")]
    TapGone {
        /// The machine.
        vm: VmName,
        /// The tap.
        port: String,
    },
    /// A disk's header, or that of an image below it, names another backing file than the disk was
    /// created on.
    #[error(
        "disk {disk:?} of machine {vm} {}, and was created on {}",
        named.as_ref().map_or("has no backing file".into(), |named| {
            format!("has the backing file {}", named.display())
        }),
        expected.as_ref().map_or("none".into(), |expected| expected.display().to_string())
    )]
    OtherBackingFile {
        /// The machine.
        vm: VmName,
        /// The disk.
        disk: String,
        /// The backing file that the header names.
        named: Option<PathBuf>,
        /// The one that is recorded.
        expected: Option<PathBuf>,
        /// The machine's definition.
        definition: PathBuf,
    },
}

impl From<FileError> for HardwareError {
    fn from(error: FileError) -> Self {
        MachineError::from(error).into()
    }
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
            Self::NoFirmware { .. } => {
                Verdict::new(ErrorKind::Host, "firmware-missing").remedy(Remedy::SetUpHost)
            }
            Self::Confine { source, .. } => source.verdict(),
            Self::BackingFiles { source, .. } => Verdict::failed("disk-failed").hint(source.hint()),
            Self::FaultyWithDisk { path, .. } => {
                Verdict::new(ErrorKind::Host, "hypervisor-faulty").text(faulty_hint(path))
            }
            Self::ForeignPort { .. } => Verdict::failed("port-foreign")
                .text("a port is called vm, the machine's id, a hyphen, and the interface's name"),
            Self::MtuOfBridge { bridge, mtu_bytes, .. } => Verdict::new(
                ErrorKind::Host,
                "mtu-too-large",
            )
            .text(format!(
                "raise that of the bridge (ip link set {bridge} mtu {mtu_bytes}), which all its \
                     ports have to bear, or lower that of the interface"
            )),
            Self::TapGone { vm, .. } => Verdict::failed("tap-gone")
                .text(format!("only a restart gives machine {vm} another one")),
            Self::OtherBackingFile { definition, .. } => Verdict::failed("backing-file-changed")
                .text(format!(
                    "if you changed it: set `backing` of that disk in {}; if not, a guest may have \
                     taken over its VMM",
                    definition.display()
                )),
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

/// What to do about a qcow2 that a version of cloud-hypervisor does wrong with.
pub(crate) fn faulty_hint(path: &Path) -> String {
    format!(
        "install another release of cloud-hypervisor; or decompress it: qemu-img convert -O qcow2 {} \
         NEW, and put the new one in its place",
        path.display()
    )
}
