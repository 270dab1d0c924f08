//! The images that distributions publish: where, and with which checksums.
//!
//! All of them run cloud-init and boot by EFI; those of CentOS Stream don't, and NixOS publishes none.
//! `{arch}` stands for the machine as `uname -m` has it, `{debarch}` as Debian does.

/// One image as the table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The version, and other names of it.
    pub(super) versions: &'static [&'static str],
    pub(super) url: &'static str,
    /// The list of checksums: one that begins with a dot is beside the image, under its name and this;
    /// one without a slash in the same directory.
    pub(super) checksums: &'static str,
    pub(super) user: &'static str,
    pub(super) architectures: &'static [&'static str],
}

const BOTH: &[&str] = &["x86_64", "aarch64"];

/// The table; of the rows of one name the first is what the name alone stands for.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "debian",
        versions: &["13", "trixie"],
        url: "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-{debarch}.qcow2",
        checksums: "SHA512SUMS",
        user: "debian",
        architectures: BOTH,
    },
    Row {
        name: "debian",
        versions: &["12", "bookworm"],
        url: "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-{debarch}.qcow2",
        checksums: "SHA512SUMS",
        user: "debian",
        architectures: BOTH,
    },
    Row {
        name: "ubuntu",
        versions: &["26.04", "resolute"],
        url: "https://cloud-images.ubuntu.com/releases/resolute/release/ubuntu-26.04-server-cloudimg-{debarch}.img",
        checksums: "SHA256SUMS",
        user: "ubuntu",
        architectures: BOTH,
    },
    Row {
        name: "ubuntu",
        versions: &["24.04", "noble"],
        url: "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-{debarch}.img",
        checksums: "SHA256SUMS",
        user: "ubuntu",
        architectures: BOTH,
    },
    Row {
        name: "ubuntu",
        versions: &["22.04", "jammy"],
        url: "https://cloud-images.ubuntu.com/releases/jammy/release/ubuntu-22.04-server-cloudimg-{debarch}.img",
        checksums: "SHA256SUMS",
        user: "ubuntu",
        architectures: BOTH,
    },
    // The address that Fedora names redirects to mirrors, some of them by http.
    Row {
        name: "fedora",
        versions: &["44"],
        url: "https://dl.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/{arch}/images/Fedora-Cloud-Base-Generic-44-1.7.{arch}.qcow2",
        checksums: "Fedora-Cloud-44-1.7-{arch}-CHECKSUM",
        user: "fedora",
        architectures: BOTH,
    },
    Row {
        name: "fedora",
        versions: &["43"],
        url: "https://dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/{arch}/images/Fedora-Cloud-Base-Generic-43-1.6.{arch}.qcow2",
        checksums: "Fedora-Cloud-43-1.6-{arch}-CHECKSUM",
        user: "fedora",
        architectures: BOTH,
    },
    Row {
        name: "alpine",
        versions: &["3.23"],
        url: "https://dl-cdn.alpinelinux.org/alpine/v3.23/releases/cloud/nocloud_alpine-3.23.4-{arch}-uefi-cloudinit-r0.qcow2",
        checksums: ".sha512",
        user: "alpine",
        architectures: BOTH,
    },
    Row {
        name: "alpine",
        versions: &["3.22"],
        url: "https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud/nocloud_alpine-3.22.4-{arch}-uefi-cloudinit-r0.qcow2",
        checksums: ".sha512",
        user: "alpine",
        architectures: BOTH,
    },
    Row {
        name: "arch",
        versions: &["latest"],
        url: "https://geo.mirror.pkgbuild.com/images/latest/Arch-Linux-x86_64-cloudimg.qcow2",
        checksums: ".SHA256",
        user: "arch",
        architectures: &["x86_64"],
    },
    Row {
        name: "rocky",
        versions: &["10"],
        url: "https://dl.rockylinux.org/pub/rocky/10/images/{arch}/Rocky-10-GenericCloud-Base.latest.{arch}.qcow2",
        checksums: ".CHECKSUM",
        user: "rocky",
        architectures: BOTH,
    },
    Row {
        name: "rocky",
        versions: &["9"],
        url: "https://dl.rockylinux.org/pub/rocky/9/images/{arch}/Rocky-9-GenericCloud.latest.{arch}.qcow2",
        checksums: ".CHECKSUM",
        user: "rocky",
        architectures: BOTH,
    },
    Row {
        name: "almalinux",
        versions: &["10"],
        url: "https://repo.almalinux.org/almalinux/10/cloud/{arch}/images/AlmaLinux-10-GenericCloud-latest.{arch}.qcow2",
        checksums: "CHECKSUM",
        user: "almalinux",
        architectures: BOTH,
    },
    Row {
        name: "almalinux",
        versions: &["9"],
        url: "https://repo.almalinux.org/almalinux/9/cloud/{arch}/images/AlmaLinux-9-GenericCloud-latest.{arch}.qcow2",
        checksums: "CHECKSUM",
        user: "almalinux",
        architectures: BOTH,
    },
    Row {
        name: "opensuse",
        versions: &["16.0", "leap"],
        url: "https://download.opensuse.org/distribution/leap/16.0/appliances/Leap-16.0-Minimal-VM.{arch}-Cloud.qcow2",
        checksums: ".sha256",
        user: "opensuse",
        architectures: BOTH,
    },
    Row {
        name: "opensuse",
        versions: &["15.6"],
        url: "https://download.opensuse.org/distribution/leap/15.6/appliances/openSUSE-Leap-15.6-Minimal-VM.{arch}-Cloud.qcow2",
        checksums: ".sha256",
        user: "opensuse",
        architectures: BOTH,
    },
    Row {
        name: "opensuse",
        versions: &["tumbleweed"],
        url: "https://download.opensuse.org/tumbleweed/appliances/openSUSE-Tumbleweed-Minimal-VM.x86_64-Cloud.qcow2",
        checksums: ".sha256",
        user: "opensuse",
        architectures: &["x86_64"],
    },
];

/// Those that are asked for and can't be had, each with what to do.
pub(super) const UNPUBLISHED: &[(&str, &str)] = &[
    (
        "nixos",
        "NixOS publishes no cloud image: build one (nixos-rebuild build-image --image-variant qemu-efi), \
         and import its file",
    ),
    (
        "centos",
        "the images of CentOS Stream boot by a BIOS, which cloud-hypervisor has not: take rocky or \
         almalinux",
    ),
];
