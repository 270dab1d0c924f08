//! `[[template.vm]]`: what a machine is made of.

use std::path::PathBuf;

use serde::Serialize;

use crate::boot::Boot;
use crate::disk::DiskTemplate;
use crate::memory::Memory;
use crate::name::{self, Names};
use crate::net::NetTemplate;
use crate::section::Section;
use crate::vcpus::Vcpus;

/// `[[template.vm]]`: what each machine created from it is made of.
///
/// Its names, and those of its disks and interfaces, are names of files too: a letter or digit,
/// then letters, digits, `-`, `_` and `.`, in ASCII and at most 63 bytes.
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
    /// It says something of networks, if only that there are none: `net = []`.
    #[serde(skip)]
    pub has_nets: bool,
    /// The file with what the guest is given at its first boot, unless another is named then.
    pub user_data: Option<PathBuf>,
}

impl VmTemplate {
    /// The template in `section` and its name, as far as it has them: what it lacks is noted.
    pub(crate) fn read(section: Section<'_>, names: &mut Names) -> (String, Option<Self>) {
        let name = name::read(&section, "name = \"xs\"");
        names.add(&section, "template", &name);
        let vcpus = Vcpus::read(&section);
        let memory = Memory::read(&section);
        let boot = Boot::read(&section);
        let autostart = section.boolean("autostart").unwrap_or(false);
        let disks = DiskTemplate::read_all(&section);
        let nets = NetTemplate::read_all(&section);
        let has_nets = section.has("net");
        let user_data = section.path("user_data");
        section.finish();
        let name = name.value;
        let template = match (vcpus, memory) {
            (Some(vcpus), Some(memory)) => Some(Self {
                name: name.clone(),
                vcpus,
                memory,
                boot,
                autostart,
                disks,
                nets,
                has_nets,
                user_data,
            }),
            _ => None,
        };
        (name, template)
    }
}
