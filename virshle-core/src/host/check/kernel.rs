//! Checks what the kernel offers for virtualization.

use crate::host::check::finding::{Finding, Level};
use crate::machine::kvm;

/// Hardware virtualization.
pub(super) fn check_kvm() -> Finding {
    match kvm::open() {
        Ok(()) => Finding::good("kvm", "/dev/kvm"),
        Err(error) => Finding::failure(Level::Missing, "kvm", &error),
    }
}
