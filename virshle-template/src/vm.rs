//! `[[template.vm]]`: what a machine is made of.

use std::path::PathBuf;

use serde::Serialize;
use toml::de::DeValue;

use crate::ByteSize;
use crate::disk::DiskTemplate;
use crate::name;
use crate::net::NetTemplate;
use crate::section::{Placed, Section};

/// `[[template.vm]]`: what each machine made from it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VmTemplate {
    /// The name it is asked for by.
    pub name: String,
    /// The vCPUs.
    #[serde(rename = "vcpu")]
    pub vcpus: Vcpus,
    /// The memory.
    #[serde(rename = "vram")]
    pub memory: Memory,
    /// What is booted.
    pub boot: Boot,
    /// Started when the host boots.
    pub autostart: bool,
    /// The disks, in the guest's order.
    #[serde(rename = "disk")]
    pub disks: Vec<DiskTemplate>,
    /// The network interfaces, in the guest's order.
    #[serde(rename = "net")]
    pub nets: Vec<NetTemplate>,
    /// What the guest is told at its first boot, unless something else is at its creation.
    pub user_data: Option<PathBuf>,
}

/// How many vCPUs a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vcpus {
    /// At boot.
    pub boot: u32,
    /// That can be reached by hotplug.
    pub max: u32,
}

/// How much memory a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// At boot.
    pub size: ByteSize,
    /// That can be reached by hotplug.
    pub max: Option<ByteSize>,
    /// Made of the host's hugepages.
    pub hugepages: bool,
}

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Boot {
    /// A firmware; the node's own if none is named.
    Firmware(Option<PathBuf>),
    /// A kernel, loaded directly.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initial file system.
        initramfs: Option<PathBuf>,
        /// Its command line.
        cmdline: Option<String>,
    },
}

/// The most vCPUs that cloud-hypervisor takes on KVM (its `MAX_VCPUS`).
const MAX_VCPUS: u64 = 8192;
/// The least memory, in bytes: below it not even a firmware starts.
const LEAST_MEMORY: u64 = 16 << 20;

impl VmTemplate {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let name = name::read(&section);
        let vcpus = vcpus(&section);
        let memory = memory(&section);
        let boot = boot(&section);
        let mut disk_names = Vec::new();
        let mut disks = Vec::new();
        for disk in section.sections("disk", "template.vm.disk") {
            let (disk, name) = DiskTemplate::read(disk);
            disks.push(disk);
            disk_names.push(name);
        }
        name::unique(&section, "disk", &disk_names);
        let mut net_names = Vec::new();
        let mut nets = Vec::new();
        for net in section.sections("net", "template.vm.net") {
            let (net, name) = NetTemplate::read(net);
            nets.push(net);
            net_names.push(name);
        }
        name::unique(&section, "net", &net_names);
        let template = Self {
            name: name.value,
            vcpus,
            memory,
            boot,
            autostart: section.boolean("autostart").unwrap_or(false),
            disks,
            nets,
            user_data: section.path("user_data"),
        };
        section.finish();
        template
    }
}

fn narrow(number: &Placed<u64>) -> u32 {
    u32::try_from(number.value).unwrap_or(u32::MAX)
}

/// `vcpu = 2`, or `vcpu = { boot = 2, max = 8 }`.
fn vcpus(section: &Section<'_>) -> Vcpus {
    let none = Vcpus { boot: 1, max: 1 };
    let Some(value) = section.get("vcpu") else {
        section.missing("vcpu", "vcpu = 2");
        return none;
    };
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        let number = section.integer_of("vcpu", value, 1, MAX_VCPUS);
        return number.map_or(none, |number| {
            let boot = narrow(&number);
            Vcpus { boot, max: boot }
        });
    }
    let Some(table) = section.section("vcpu", "template.vm.vcpu") else { return none };
    let boot = table.integer("boot", 1, MAX_VCPUS);
    if !table.has("boot") {
        table.missing("boot", "boot = 2");
    }
    let max = table.integer("max", 1, MAX_VCPUS);
    if let (Some(boot), Some(max)) = (&boot, &max)
        && boot.value > max.value
    {
        table.wrong(max.span.clone(), "fewer than at boot", "expected at least as many");
    }
    table.finish();
    let boot = boot.as_ref().map_or(1, narrow);
    Vcpus { boot, max: max.as_ref().map_or(boot, narrow) }
}

/// `vram = 2` (GiB), `vram = "512MiB"`, or `vram = { size = …, max = …, hugepages = … }`.
fn memory(section: &Section<'_>) -> Memory {
    let mut memory = Memory { size: ByteSize::from_bytes(1 << 30), max: None, hugepages: false };
    let Some(value) = section.get("vram") else {
        section.missing("vram", "vram = \"2GiB\"");
        return memory;
    };
    let checked = |section: &Section<'_>, size: Placed<ByteSize>| {
        let bytes = size.value.bytes();
        if bytes < LEAST_MEMORY || !bytes.is_multiple_of(1 << 12) {
            section.wrong(
                size.span,
                "a machine has at least 16 MiB of memory, in pages of 4 KiB",
                "expected for example \"512MiB\"",
            );
        }
        size.value
    };
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        if let Some(size) = section.size_of("vram", value, true) {
            memory.size = checked(section, size);
        }
        return memory;
    }
    let Some(table) = section.section("vram", "template.vm.vram") else { return memory };
    match table.get("size") {
        Some(value) => {
            if let Some(size) = table.size_of("size", value, true) {
                memory.size = checked(&table, size);
            }
        }
        None => table.missing("size", "size = \"1GiB\""),
    }
    if let Some(max) = table.get("max").and_then(|value| table.size_of("max", value, true)) {
        if max.value < memory.size {
            table.wrong(max.span.clone(), "less than at boot", "expected at least as much");
        }
        memory.max = Some(checked(&table, max));
    }
    memory.hugepages = table.boolean("hugepages").unwrap_or(false);
    table.finish();
    memory
}

fn boot(section: &Section<'_>) -> Boot {
    let firmware = section.path("firmware");
    let kernel = section.path("kernel");
    let initramfs = section.path("initramfs");
    let cmdline = section.string("cmdline");
    if section.has("firmware") && section.has("kernel") {
        section.wrong(
            section.span.clone(),
            "a machine boots a firmware or a kernel, not both",
            "leave firmware or kernel away",
        );
    }
    if !section.has("kernel") {
        for key in ["initramfs", "cmdline"] {
            if section.has(key) {
                let message = format!("{key:?} is for a kernel, and there is none");
                section.wrong(section.span.clone(), message, "add kernel = \"…\"");
            }
        }
    }
    match kernel {
        Some(kernel) => Boot::Kernel {
            kernel,
            initramfs,
            cmdline: cmdline.map(|cmdline| cmdline.value.to_owned()),
        },
        None => Boot::Firmware(firmware),
    }
}
