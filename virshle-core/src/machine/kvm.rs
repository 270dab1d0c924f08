//! `/dev/kvm`: the door to hardware virtualization.

use std::fs::File;

use crate::error::CoreError;

/// Makes sure that this user can open `/dev/kvm`.
pub(crate) fn open() -> Result<(), CoreError> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
        .map_err(|source| CoreError::Kvm { source })
}
