//! Which real parts this host has, and what a test does when its part is absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cloud_init_reader::CloudInitReader;

/// A real part that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Open vSwitch's programs (`ovsdb-server`, `ovs-vswitchd`) and root to run them.
    Ovs,
    /// An `ovs-vswitchd` built with DPDK, with 2 MiB hugepages to run it.
    Dpdk,
    /// The `cloud-hypervisor` program, in `PATH` or named by `CLOUD_HYPERVISOR`.
    Ch,
    /// `/dev/kvm`, open to this user.
    Kvm,
    /// A passt that knows vhost-user, in `PATH` or named by `PASST`.
    Passt,
    /// Filesystems on loop devices: `mkfs.xfs`, `mkfs.btrfs`, root.
    Reflink,
    /// A FUSE filesystem, by the program `bindfs`; root to mount it.
    Fuse,
    /// OpenSSH, its server too.
    Sshd,
    /// Root, for devices and namespaces.
    Root,
    /// The programs `qemu-img` and `qemu-io`, which know qcow2 best.
    QemuImg,
    /// The programs gzip, xz, zstd and pzstd.
    Packers,
    /// The program `openssl`, which makes certificates.
    Openssl,
    /// rsync, which copies over ssh.
    Rsync,
    /// cloud-init, as its package installs it, and root to run it in a root of its own.
    CloudInit,
    /// cloud-init as a library of Python, as its package installs it, and mtools to read a seed.
    CloudInitReader,
    /// The same of a current version, named by `CLOUD_INIT_CURRENT`: a directory with its package
    /// `cloudinit`, such as an unpacked one of a newer Debian.
    CloudInitCurrent,
    /// DHCP servers, dnsmasq and Kea with its lease commands; the client of busybox; root.
    Dhcp,
    /// systemd-networkd, which renders what cloud-init writes for it; root.
    Networkd,
    /// The programs nft and dnsmasq, and root, for a managed network; the client of busybox, and ethtool for it.
    Nftables,
}

impl Part {
    /// The name of this part in `VIRSHLE_REQUIRE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ovs => "ovs",
            Self::Dpdk => "dpdk",
            Self::Ch => "ch",
            Self::Kvm => "kvm",
            Self::Passt => "passt",
            Self::Reflink => "reflink",
            Self::Fuse => "fuse",
            Self::Sshd => "sshd",
            Self::Root => "root",
            Self::QemuImg => "qemu-img",
            Self::Packers => "packers",
            Self::Openssl => "openssl",
            Self::Rsync => "rsync",
            Self::CloudInit => "cloud-init",
            Self::CloudInitReader => "cloud-init-reader",
            Self::CloudInitCurrent => "cloud-init-current",
            Self::Dhcp => "dhcp",
            Self::Networkd => "networkd",
            Self::Nftables => "nftables",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Ovs => "Open vSwitch (ovsdb-server, ovs-vswitchd) and root",
            Self::Dpdk => "Open vSwitch with DPDK, and 2 MiB hugepages",
            Self::Ch => "cloud-hypervisor in PATH",
            Self::Kvm => "/dev/kvm",
            Self::Passt => "passt of 2025-02 or later",
            Self::Reflink => "mkfs.xfs, mkfs.btrfs, loop devices and root",
            Self::Fuse => "bindfs, /dev/fuse and root",
            Self::Sshd => "OpenSSH's client and server",
            Self::Root => "root",
            Self::QemuImg => "qemu-img and qemu-io",
            Self::Packers => "gzip, xz, zstd and pzstd",
            Self::Openssl => "openssl",
            Self::Rsync => "rsync",
            Self::CloudInit => "cloud-init, blkid, loop devices and root",
            Self::CloudInitReader => "cloud-init's Python package and mtools",
            Self::CloudInitCurrent => {
                "a current cloud-init, its directory in CLOUD_INIT_CURRENT, and mtools"
            }
            Self::Dhcp => "dnsmasq, kea-dhcp4, busybox and root",
            Self::Networkd => "systemd-networkd and root",
            Self::Nftables => "nft, dnsmasq, busybox, ethtool and root",
        }
    }
}

/// Returns whether this host has `part`.
pub fn has(part: Part) -> bool {
    let root = rustix::process::geteuid().is_root();
    match part {
        Part::Root => root,
        Part::QemuImg => program("qemu-img") && program("qemu-io"),
        Part::Packers => ["gzip", "xz", "zstd", "pzstd"].into_iter().all(program),
        Part::Openssl => program("openssl"),
        Part::Rsync => program("rsync"),
        Part::CloudInit => {
            root && program("cloud-init")
                && program("blkid")
                && Path::new("/etc/cloud/cloud.cfg").exists()
                && Path::new("/dev/loop-control").exists()
        }
        Part::CloudInitReader => CloudInitReader::installed().is_some(),
        Part::CloudInitCurrent => CloudInitReader::current().is_some(),
        Part::Dhcp => {
            root && ["dnsmasq", "kea-dhcp4", "busybox"].into_iter().all(program)
                && kea_lease_commands().exists()
        }
        Part::Networkd => root && crate::networkd::is_here(),
        Part::Nftables => root && ["nft", "dnsmasq", "busybox", "ethtool"].into_iter().all(program),
        Part::Ovs => root && program("ovsdb-server") && vswitchd_exists(),
        Part::Dpdk => {
            root && program("ovsdb-server")
                && Path::new("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk").exists()
                && hugepages() >= 512
        }
        Part::Ch => match std::env::var_os("CLOUD_HYPERVISOR") {
            Some(path) => Path::new(&path).exists(),
            None => program("cloud-hypervisor"),
        },
        Part::Passt => {
            let help = Command::new(passt()).arg("--help").stdin(Stdio::null()).output();
            help.is_ok_and(|help| {
                // Older ones print their help as an error.
                let text = [help.stdout, help.stderr].concat();
                String::from_utf8_lossy(&text).contains("--vhost-user")
            })
        }
        Part::Fuse => root && program("bindfs") && Path::new("/dev/fuse").exists(),
        Part::Sshd => crate::Sshd::is_here() && program("ssh") && program("ssh-keygen"),
        Part::Kvm => std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok(),
        Part::Reflink => {
            root && program("mkfs.xfs")
                && program("mkfs.btrfs")
                && Path::new("/dev/loop-control").exists()
        }
    }
}

/// Returns whether a test may continue: true when every part is here.
///
/// Otherwise it prints `skipped: needs …`, and the test returns.
///
/// # Panics
///
/// If a part is absent that `VIRSHLE_REQUIRE` (names separated by commas) lists.
#[must_use]
pub fn need(parts: &[Part]) -> bool {
    let required = std::env::var("VIRSHLE_REQUIRE").unwrap_or_default();
    for part in parts {
        if has(*part) {
            continue;
        }
        let named = required.split(',').any(|name| name.trim() == part.name());
        assert!(!named, "VIRSHLE_REQUIRE names {:?}: needs {}", part.name(), part.description());
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("skipped: needs {}", part.description());
        }
        return false;
    }
    true
}

/// The program passt: what `PASST` names, or the one in `PATH`.
pub fn passt() -> PathBuf {
    let in_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut all = std::env::split_paths(&folders).map(|folder| folder.join("passt"));
        all.find(|path| path.is_file())
    };
    let named = std::env::var_os("PASST").map(PathBuf::from);
    named.or_else(in_path).unwrap_or_else(|| "passt".into())
}

/// Kea's library for commands about its leases, where Debian has it.
pub fn kea_lease_commands() -> PathBuf {
    format!("/usr/lib/{}-linux-gnu/kea/hooks/libdhcp_lease_cmds.so", std::env::consts::ARCH).into()
}

fn vswitchd_exists() -> bool {
    program("ovs-vswitchd") || Path::new("/usr/lib/openvswitch-switch/ovs-vswitchd").exists()
}

fn hugepages() -> u64 {
    std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

pub(crate) fn program(name: &str) -> bool {
    Command::new(name)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}
