//! What can go wrong on the way into a guest.

use std::time::Duration;

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::FileError;
use crate::guest::ssh::quote::QuoteError;
use crate::guest::wait::awaited::{Awaited, SSH_PORT};
use crate::machine::error::MachineError;
use crate::model::name::VmName;
use crate::model::state::VmState;

/// Why a guest can't be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// An argument can't be passed to ssh.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// A machine's VMM was started without a terminal, by an earlier version or by hand.
    #[error("machine {vm} has no serial console")]
    NoConsole {
        /// The machine.
        vm: VmName,
    },
    /// No way into a machine was open.
    #[error("cannot reach port {port} of machine {vm}: {}", .tried.join("; "))]
    Unreachable {
        /// The machine.
        vm: VmName,
        /// The port.
        port: u16,
        /// Each way that was tried, and why it was closed.
        tried: Vec<String>,
    },
    /// A machine was not as far as it was waited for.
    #[error("machine {vm} has no {awaited} after {} s: {missing}", .timeout.as_secs_f32())]
    NotYet {
        /// The machine.
        vm: VmName,
        /// What was waited for.
        awaited: Awaited,
        /// How long this waited.
        timeout: Duration,
        /// What kept it.
        missing: String,
        /// What the machine is doing.
        state: VmState,
    },
}

impl From<FileError> for GuestError {
    fn from(error: FileError) -> Self {
        MachineError::from(error).into()
    }
}

impl Failure for GuestError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::Quote(error) => error.verdict(),
            Self::NoConsole { vm } => Verdict::new(ErrorKind::State, "no-console")
                .remedy(Remedy::RestartForConsole { vm: vm.to_string() }),
            Self::Unreachable { port: SSH_PORT, .. } => {
                Verdict::failed("unreachable").remedy(Remedy::ReachSsh)
            }
            Self::Unreachable { .. } => Verdict::failed("unreachable"),
            Self::NotYet { vm, state: VmState::Stopped, .. } => {
                Verdict::failed("not-yet").remedy(Remedy::StartVm { vm: vm.to_string() })
            }
            Self::NotYet { vm, .. } => {
                Verdict::failed("not-yet").remedy(Remedy::ReadLogs { vm: vm.to_string() })
            }
        }
    }
}
