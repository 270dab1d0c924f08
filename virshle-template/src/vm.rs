//! `[[template.vm]]`: what a machine is made of.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::boot::Boot;
use crate::disk::DiskTemplate;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::name::{self, Names};
use crate::net::NetTemplate;
use crate::restart::RestartPolicy;
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
    /// Its place among those that start with the host: lower ones come first, and those without a
    /// number last.
    pub order: Option<u32>,
    /// How long those of later places wait once it runs, in seconds.
    #[serde(rename = "delay")]
    pub delay_seconds: u64,
    /// What happens when it has ended without being asked to.
    pub restart: RestartPolicy,
    /// The guest is reset when it hangs: it has a watchdog, which its kernel or an init has to feed.
    pub watchdog: bool,
    /// How much of the host it may take.
    pub limits: Limits,
    /// Whether the guest may run guests itself.
    pub nested: bool,
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

/// The longest wait between machines that start with the host.
const MOST_DELAY: Duration = Duration::from_secs(3600);

impl VmTemplate {
    /// The template in `section` and its name, as far as it has them: what it lacks is noted.
    pub(crate) fn read(section: Section<'_>, names: &mut Names) -> (String, Option<Self>) {
        let name = name::read(&section, "name = \"xs\"");
        names.add(&section, "template", &name);
        let vcpus = Vcpus::read(&section);
        let memory = Memory::read(&section);
        let boot = Boot::read(&section);
        let autostart = section.boolean("autostart").unwrap_or(false);
        let order = section.integer("order", 0, u32::MAX.into());
        let order = order.and_then(|order| u32::try_from(order.value).ok());
        let delay = section.time("delay", MOST_DELAY).map(|delay| delay.value);
        let restart = RestartPolicy::read(&section);
        let watchdog = section.boolean("watchdog").unwrap_or(false);
        let limits = Limits::read(&section);
        // What a guest has of it is the part of KVM that the most was found wrong in.
        let nested = section.boolean("nested").unwrap_or(false);
        let boot_vcpus = vcpus.map(|vcpus| vcpus.boot);
        let disks = DiskTemplate::read_all(&section, boot_vcpus);
        let nets = NetTemplate::read_all(&section, boot_vcpus);
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
                order,
                delay_seconds: delay.unwrap_or_default().as_secs(),
                restart,
                watchdog,
                limits,
                nested,
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
