//! What this machine has to have for the lab, and what of it is missing.

use crate::options::Options;
use crate::program;

/// Programs, and the Debian package of each. QEMU, where it is missing, is unpacked into the cache.
const PROGRAMS: [(&str, &str); 11] = [
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("apt-get", "apt"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("cpio", "cpio"),
    ("modprobe", "kmod"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("setpriv", "util-linux"),
    ("timeout", "coreutils"),
];

/// What isn't here, each with what to do about it.
pub(crate) fn missing(options: &Options) -> Vec<String> {
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(name, _)| program::find(name.as_ref()).is_none())
        .map(|(name, package)| format!("{name} (package {package})"))
        .collect();
    if !options.programs.cloud_hypervisor.is_file() {
        missing.push("cloud-hypervisor (in PATH, or named by CLOUD_HYPERVISOR)".to_owned());
    }
    if !options.programs.v.is_file() {
        missing.push(format!("{} (scripts/e2e builds it)", options.programs.v.display()));
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("root (the images' files belong to root)".to_owned());
    }
    missing
}
