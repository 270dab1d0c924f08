//! A machine's definition as cloud-hypervisor takes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use virshle_hypervisor::{
    ConsoleConfig, CpusConfig, DiskConfig, HotplugMethod, ImageType, MemoryConfig, NetConfig,
    PayloadConfig, PlatformConfig, VhostMode, VmConfig, VsockConfig,
};
use virshle_template::Datapath;

use crate::error::CoreError;
use crate::machine::vm::Vm;
use crate::model::definition::{Boot, DiskDefinition, NetDefinition, NetKind};

/// The longest serial number of a virtio disk, in bytes (virtio 1.2, 5.2.6: the device ID).
const MAX_SERIAL: usize = 20;

/// The context id of every guest's vsock (vsock(7)): it is private to its VMM.
const GUEST_CID: u32 = 3;

/// Whether an interface's frames carry offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// The bridge below is the kernel's.
    Kernel,
    /// The bridge below is in user space, where a tap carries none: TCP would stall.
    None,
}

impl Offloads {
    /// Those of a tap on a bridge of that datapath.
    pub(crate) fn on(datapath: virshle_net::Datapath) -> Self {
        match datapath {
            virshle_net::Datapath::Netdev => Self::None,
            _ => Self::Kernel,
        }
    }
}

impl Vm {
    /// The machine as cloud-hypervisor is told of it, its network interfaces included.
    ///
    /// # Errors
    ///
    /// [`CoreError::NoFirmware`] if it boots a firmware, and none can be found.
    pub fn vmm_config(&self) -> Result<VmConfig, CoreError> {
        let mut config = self.vmm_config_without_nets()?;
        for net in &self.definition().nets {
            config = config.net(self.net_config(net));
        }
        Ok(config)
    }

    /// The command that would run the machine by hand, once its taps are there: confined as a start
    /// confines it, and its taps without offloads where the configured datapath carries none.
    ///
    /// # Errors
    ///
    /// As [`Vm::vmm_config`].
    pub fn command_line(&self) -> Result<Vec<OsString>, CoreError> {
        let program = &self.node().config().hypervisor.program;
        Ok(self.confined(self.vmm_config()?)?.command_line(program, &self.api_socket()))
    }

    /// The machine without its network interfaces, which may need descriptors passed.
    pub(crate) fn vmm_config_without_nets(&self) -> Result<VmConfig, CoreError> {
        let definition = self.definition();
        let cpus = CpusConfig::new(definition.vcpus).max(definition.max_vcpus);
        let mut config = VmConfig::new(cpus, self.memory(), self.payload()?)
            .serial(ConsoleConfig::tty())
            .console(ConsoleConfig::default())
            .vsock(VsockConfig::new(GUEST_CID, self.vsock()))
            .platform(PlatformConfig::default().system_uuid(definition.uuid.to_string()));
        for disk in &definition.disks {
            config = config.disk(self.disk_config(disk));
        }
        Ok(config)
    }

    fn memory(&self) -> MemoryConfig {
        let definition = self.definition();
        let vhost = definition.nets.iter().any(|net| net.kind == NetKind::Vhost);
        let memory = MemoryConfig::new(definition.memory_bytes)
            // The switch reads and writes the guest's frames where they are.
            .shared(vhost || definition.hugepages)
            .hugepages(definition.hugepages);
        match definition.max_memory_bytes {
            Some(max) if max > definition.memory_bytes => {
                memory.hotplug(HotplugMethod::VirtioMem, max - definition.memory_bytes)
            }
            _ => memory,
        }
    }

    fn payload(&self) -> Result<PayloadConfig, CoreError> {
        match &self.definition().boot {
            Boot::Firmware { path } => {
                let firmware = path
                    .clone()
                    .or_else(|| self.node().config().hypervisor.firmware.clone())
                    .or_else(virshle_hypervisor::find_firmware)
                    .ok_or_else(|| CoreError::NoFirmware {
                        vm: self.name().clone(),
                        places: virshle_hypervisor::firmware_places(),
                    })?;
                Ok(PayloadConfig::firmware(firmware))
            }
            Boot::Kernel { path, initramfs, cmdline } => {
                let mut payload = PayloadConfig::kernel(path);
                if let Some(initramfs) = initramfs {
                    payload = payload.initramfs(initramfs);
                }
                if let Some(cmdline) = cmdline {
                    payload = payload.cmdline(cmdline);
                }
                Ok(payload)
            }
        }
    }

    fn disk_config(&self, disk: &DiskDefinition) -> DiskConfig {
        let qcow2 = disk.format == "qcow2";
        let kind = if qcow2 { ImageType::Qcow2 } else { ImageType::Raw };
        let config = DiskConfig::new(self.disk(&disk.name), kind)
            .id(&disk.name)
            .readonly(disk.readonly)
            .backing_files(disk.clone == "overlay");
        // A name that doesn't fit is left away: a cut one could be another's.
        if disk.name.len() <= MAX_SERIAL { config.serial(&disk.name) } else { config }
    }

    /// An interface as the command line names it: a tap by its name.
    fn net_config(&self, net: &NetDefinition) -> NetConfig {
        let config = match net.kind {
            NetKind::Vhost => return self.vhost_config(net),
            // As a start finds it out from the bridge itself.
            NetKind::Tap => match self.node().config().network.datapath {
                Datapath::Netdev => with_offloads(NetConfig::tap(&net.port), Offloads::None),
                _ => NetConfig::tap(&net.port),
            },
            NetKind::Macvtap => NetConfig::tap(&net.port),
        };
        with_identity(config, net)
    }

    /// A vhost-user interface, whose socket cloud-hypervisor makes: either side may restart.
    pub(crate) fn vhost_config(&self, net: &NetDefinition) -> NetConfig {
        let config = NetConfig::vhost_user(self.net_socket(&net.name), VhostMode::Server);
        let config = with_identity(config, net);
        match net.mtu_bytes {
            Some(mtu) => config.mtu_bytes(mtu),
            None => config,
        }
    }
}

/// An interface on a descriptor that is passed with it.
pub(crate) fn descriptor_config(net: &NetDefinition, offloads: Offloads) -> NetConfig {
    with_offloads(with_identity(NetConfig::descriptors(1), net), offloads)
}

fn with_offloads(config: NetConfig, offloads: Offloads) -> NetConfig {
    match offloads {
        Offloads::Kernel => config,
        Offloads::None => config.offloads(false),
    }
}

fn with_identity(config: NetConfig, net: &NetDefinition) -> NetConfig {
    config.id(&net.name).mac(&net.mac)
}

/// The files that a start needs, with what each is to the machine.
pub(crate) fn files(config: &VmConfig) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut add = |what: &str, path: Option<&Path>| {
        files.extend(path.map(|path| (what.to_owned(), path.to_owned())));
    };
    if let Some(payload) = &config.payload {
        add("firmware", payload.firmware.as_deref());
        add("kernel", payload.kernel.as_deref());
        add("initramfs", payload.initramfs.as_deref());
    }
    for disk in &config.disks {
        let name = disk.id.as_deref().unwrap_or("?");
        add(&format!("disk {name:?}"), disk.path.as_deref());
    }
    files
}
