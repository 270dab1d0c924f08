//! What can go wrong when a machine is started or stopped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use virshle_systemd::SystemdError;

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::FileError;
use crate::hardware::error::HardwareError;
use crate::machine::capacity::{Oversize, size};
use crate::machine::error::MachineError;
use crate::model::name::VmName;
use crate::store::error::StoreError;

/// Why a machine can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A part of it.
    #[error(transparent)]
    Hardware(HardwareError),
    /// It is larger than this host can take.
    #[error("cannot start machine {vm}: it is too large for this host")]
    Oversize {
        /// The machine.
        vm: VmName,
        /// What is too large.
        source: Oversize,
    },
    /// The machines that run have too much memory together for this one.
    #[error(
        "cannot start machine {vm}: it has {}, those that run have {}, and this host has {}",
        size(*.own_bytes), size(*.running_bytes), size(*.host_bytes)
    )]
    Overcommit {
        /// The machine.
        vm: VmName,
        /// Its memory.
        own_bytes: u64,
        /// The memory of those that run, together.
        running_bytes: u64,
        /// The memory of the host.
        host_bytes: u64,
    },
    /// The host goes down, and what is started now would be killed with it.
    #[error("cannot start machine {vm}: the host goes down")]
    HostGoesDown {
        /// The machine.
        vm: VmName,
        /// What systemd said of its scope.
        source: SystemdError,
    },
    /// A file that the machine needs is missing, or can't be read.
    #[error("cannot start machine {vm}: its {what} {} cannot be opened", .path.display())]
    MissingFile {
        /// The machine.
        vm: VmName,
        /// What the file is to the machine.
        what: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a machine can't be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest did not power off in time.
    #[error("machine {vm} did not power off within {} s", .timeout.as_secs())]
    StillRunning {
        /// The machine.
        vm: VmName,
        /// How long this waited.
        timeout: Duration,
    },
}

/// Why a machine can't be stopped and started again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// It can't be stopped: it runs on.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// It is stopped, and can't be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<HardwareError> for StartError {
    fn from(error: HardwareError) -> Self {
        // One failure has one shape.
        match error {
            HardwareError::Machine(error) => Self::Machine(error),
            other => Self::Hardware(other),
        }
    }
}

impl From<FileError> for StartError {
    fn from(error: FileError) -> Self {
        MachineError::from(error).into()
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        MachineError::from(error).into()
    }
}

impl Failure for StartError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::Hardware(error) => error.verdict(),
            Self::Oversize { .. } => {
                // The definition stays as it is: only another template makes another machine.
                Verdict::new(ErrorKind::Host, "vm-too-large").text(
                    "choose a smaller vram or vcpu in the template, and create the machine again",
                )
            }
            Self::Overcommit { .. } => Verdict::new(ErrorKind::Host, "memory-overcommitted").text(
                "stop another machine, or set [node] overcommit_memory = true: they may never want \
                 all of it at once",
            ),
            Self::HostGoesDown { .. } => Verdict::new(ErrorKind::State, "host-goes-down").text(
                "start it once the host is up again; `systemctl list-jobs` shows what is under way",
            ),
            Self::MissingFile { .. } => {
                Verdict::failed("file-missing").text("put it back: the machine is as it was")
            }
        }
    }
}

impl Failure for StopError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::StillRunning { vm, .. } => {
                Verdict::failed("still-running").remedy(Remedy::CutPower { vm: vm.to_string() })
            }
        }
    }
}

impl Failure for RestartError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Stop(error) => error.verdict(),
            Self::Start(error) => error.verdict(),
        }
    }
}
