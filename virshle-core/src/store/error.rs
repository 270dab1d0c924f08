//! What can go wrong with the node's directory of machines.

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::FileError;
use crate::model::definition::error::DefinitionError;
use crate::model::name::{InvalidName, VmName};

/// What failed in the node's directory of machines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// A machine's definition.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// A machine can't have that name.
    #[error("{name:?} cannot be a machine's name")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: InvalidName,
    },
    /// A machine of that name exists.
    #[error("a machine named {name} exists already")]
    NameTaken {
        /// The name.
        name: VmName,
    },
    /// Another machine has what only one can have.
    #[error("{identity} is that of machine {vm}")]
    IdentityTaken {
        /// The MAC address, or the address and its network.
        identity: String,
        /// The machine that has it.
        vm: VmName,
    },
    /// Every address of the managed network is a machine's.
    #[error("the managed network {network} has no address left: {machines} machines have one")]
    NoAddress {
        /// The network.
        network: String,
        /// How many machines it has room for.
        machines: u32,
    },
    /// The record of a run can't be written as JSON.
    #[error("cannot write as JSON")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Whether what was to be read is not there.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            Self::File(error) => error.is_absent(),
            Self::Definition(error) => error.is_absent(),
            _ => false,
        }
    }
}

impl Failure for StoreError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::File(error) => error.verdict(),
            Self::Definition(error) => error.verdict(),
            Self::Name { .. } => Verdict::new(ErrorKind::Usage, "name-invalid"),
            Self::NameTaken { .. } => {
                Verdict::new(ErrorKind::State, "name-taken").remedy(Remedy::ChooseVmName)
            }
            Self::IdentityTaken { vm, .. } => Verdict::new(ErrorKind::State, "identity-taken")
                .text(format!(
                    "give the template another mac or address, or none, or remove machine {vm}"
                )),
            Self::NoAddress { .. } => Verdict::new(ErrorKind::State, "network-full")
                .text("remove machines, or give [network] subnet a shorter prefix, such as /20"),
            Self::Encode { .. } => Verdict::failed("encode-failed"),
        }
    }
}
