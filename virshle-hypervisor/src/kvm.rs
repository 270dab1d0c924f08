//! What KVM of this host can do.

use std::fs::File;
use std::io;

use crate::sys;

/// `KVM_CAP_NR_VCPUS` and `KVM_CAP_MAX_VCPUS` of `linux/kvm.h`.
const NR_VCPUS: libc::c_int = 9;
const MAX_VCPUS: libc::c_int = 66;

/// What kernels have that report neither (KVM's API documentation, 4.4).
const LEAST: u32 = 4;

/// The most vCPUs that KVM gives to one machine.
///
/// # Errors
///
/// If `/dev/kvm` can't be opened, or gives no answer.
///
/// # References
///
/// `KVM_CHECK_EXTENSION` of the kernel's `Documentation/virt/kvm/api.rst`.
#[doc(alias = "KVM_CAP_MAX_VCPUS")]
pub fn max_vcpus() -> io::Result<u32> {
    let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
    for capability in [MAX_VCPUS, NR_VCPUS] {
        match sys::check_kvm_extension(&kvm, capability)? {
            0 => {}
            most => return Ok(most),
        }
    }
    Ok(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs KVM"]
    fn kvm_gives_more_than_one_vcpu() {
        assert!((LEAST..=1 << 20).contains(&max_vcpus().unwrap()));
    }
}
