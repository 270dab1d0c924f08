//! What can go wrong when machines are looked after.

use crate::failure::{Failure, Verdict};
use crate::machine::error::MachineError;
use crate::power::error::StartError;
use crate::store::error::StoreError;

/// Why a machine can't be looked after.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// It can't be started again.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<StoreError> for SuperviseError {
    fn from(error: StoreError) -> Self {
        MachineError::from(error).into()
    }
}

impl Failure for SuperviseError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::Start(error) => error.verdict(),
        }
    }
}
