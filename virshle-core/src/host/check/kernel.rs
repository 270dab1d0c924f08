//! Checks what the kernel offers: virtualization and confinement.

use crate::host::check::finding::{Finding, Level, text};
use crate::machine::kvm;

/// Hardware virtualization.
pub(super) fn check_kvm() -> Finding {
    match kvm::open() {
        Ok(()) => Finding::good("kvm", "/dev/kvm"),
        Err(error) => Finding::failure(Level::Missing, "kvm", &error),
    }
}

/// The confinement of VMMs.
pub(super) fn check_landlock() -> Finding {
    match virshle_hypervisor::landlock_available() {
        true => Finding::good("landlock", "a VMM reaches its machine's files only"),
        false => Finding::bad(
            Level::Warning,
            "landlock",
            "the kernel does not offer it: a VMM can open what its user can",
            text("Linux 6.2 or later, with landlock in the kernel parameter lsm="),
        ),
    }
}
