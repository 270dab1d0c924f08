//! `/dev/kvm`: hardware virtualization.

use std::fs::File;

use crate::machine::error::MachineError;

/// The device.
pub(crate) const DEVICE: &str = "/dev/kvm";

/// Makes sure that this user can open `/dev/kvm`.
pub(crate) fn open() -> Result<(), MachineError> {
    File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map(drop)
        .map_err(|source| MachineError::Kvm { source })
}
