//! What is measured, a part to a file.

mod against;
mod cage;
mod create;
mod libvirt;
mod ls;
mod many;
mod ports;
mod process;
mod queues;
mod start;
mod unpack;
mod user;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use virshle_testkit::{LoopFilesystem, NetNamespace, OpenVswitch, Part, has};

use crate::home::Home;
use crate::options::Options;
use crate::program;
use crate::report::Report;
use virshle_testkit::{Failure, While};

/// A part: measures, and tells.
pub(crate) type Run = fn(&Options, &Report) -> Result<(), Failure>;

pub(crate) const ALL: [(&str, Run); 12] = [
    ("process", process::run),
    ("ls", ls::run),
    ("create", create::run),
    ("start", start::run),
    ("unpack", unpack::run),
    ("user", user::run),
    ("queues", queues::run),
    ("cage", cage::run),
    ("ports", ports::run),
    ("many", many::run),
    ("libvirt", libvirt::run),
    ("against", against::run),
];

/// What was measured, and on what.
pub(crate) fn tell_host(options: &Options, report: &Report) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "memory");
    report.print(&format!("host     {cpus} x {}, {memory}", model.unwrap_or("?")));
    let kernel = read("/proc/sys/kernel/osrelease");
    report.print(&format!("kernel   {}, load {}", kernel.trim(), read("/proc/loadavg").trim()));
    let v = options.v.as_os_str();
    for (name, program) in [
        ("v", v),
        ("vmm", "cloud-hypervisor".as_ref()),
        ("switch", "ovs-vsctl".as_ref()),
        ("qemu", "qemu-img".as_ref()),
        ("libvirt", "virsh".as_ref()),
    ] {
        let output = program::output(Command::new(program).arg("--version")).unwrap_or_default();
        let version = output.lines().next().unwrap_or("absent");
        report.print(&format!("{name:<8} {version}"));
    }
}

/// Tells whether the host has these parts, and what is skipped if not.
fn needs(report: &Report, what: &str, parts: &[(Part, &str)]) -> bool {
    let missing: Vec<&str> =
        parts.iter().filter(|(part, _)| !has(*part)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        report.skip(what, &format!("needs {}", missing.join(", ")));
    }
    missing.is_empty()
}

const VMM: [(Part, &str); 2] = [(Part::Ch, "cloud-hypervisor in PATH"), (Part::Kvm, "/dev/kvm")];

/// Where a node lives. Both are gone when this is dropped.
#[derive(Debug)]
enum Ground {
    Xfs(LoopFilesystem),
    Directory(TempDir),
}

impl Ground {
    /// XFS, as a node's best is: ext4 goes round inodes that were freed in the last five seconds,
    /// and in rounds that make and remove machines there are thousands. Else the host's disk, not
    /// its memory, as what is synced has to reach a disk.
    fn new() -> Result<Self, Failure> {
        if has(Part::Reflink) {
            let made = LoopFilesystem::xfs(20 << 30).doing(|| "cannot make XFS".to_owned())?;
            return Ok(Self::Xfs(made));
        }
        let made = TempDir::new_in("/var/tmp").doing(|| "cannot make a directory".to_owned())?;
        Ok(Self::Directory(made))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Xfs(filesystem) => filesystem.path(),
            Self::Directory(directory) => directory.path().to_owned(),
        }
    }
}

/// A node that is gone afterwards. Fields are dropped in this order.
#[derive(Debug)]
struct Node {
    home: Home,
    _ground: Ground,
}

fn node(options: &Options) -> Result<Node, Failure> {
    let ground = Ground::new()?;
    let home = Home::make(&ground.path(), &v(options)?, None)?;
    Ok(Node { home, _ground: ground })
}

/// A node whose machines have networks, on a switch of its own.
#[derive(Debug)]
struct Networked {
    home: Home,
    _ground: Ground,
    ovs: OpenVswitch,
    _namespace: NetNamespace,
}

fn networked(options: &Options, dpdk: bool) -> Result<Networked, Failure> {
    let failed = || "cannot make a network namespace".to_owned();
    let namespace = NetNamespace::enter().doing(failed)?;
    let ovs = if dpdk { OpenVswitch::with_dpdk() } else { OpenVswitch::start() };
    let ground = Ground::new()?;
    let home = Home::make(&ground.path(), &v(options)?, Some(&ovs.address()))?;
    home.v(&["node", "init"])?;
    Ok(Networked { home, _ground: ground, ovs, _namespace: namespace })
}

/// The program, by a path that holds in every directory.
fn v(options: &Options) -> Result<PathBuf, Failure> {
    let path: &Path = &options.v;
    path.canonicalize().doing(|| format!("cannot find {}", path.display()))
}
