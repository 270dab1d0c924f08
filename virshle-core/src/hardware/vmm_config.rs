//! A machine's definition as cloud-hypervisor takes it: the whole, part by part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use virshle_hypervisor::{ConsoleConfig, PlatformConfig, VmConfig, VsockConfig};

use crate::hardware::boot::payload_config;
use crate::hardware::confine::landlock::confined;
use crate::hardware::cpu::cpus_config;
use crate::hardware::disk::disk_config;
use crate::hardware::error::HardwareError;
use crate::hardware::memory::{balloon_config, memory_config};
use crate::hardware::net::config::net_config;
use crate::machine::vm::Vm;

/// The context id of every guest's vsock (vsock(7)): it is private to its VMM.
const GUEST_CID: u32 = 3;

impl Vm {
    /// The machine's configuration for cloud-hypervisor, its network interfaces included.
    ///
    /// # Errors
    ///
    /// [`HardwareError::NoFirmware`] if it boots a firmware, and none can be found.
    pub fn vmm_config(&self) -> Result<VmConfig, HardwareError> {
        vmm_config(self)
    }

    /// The command that would run the machine by hand, once its taps are there: confined as a start
    /// confines it, and its taps without offloads where the configured datapath carries none.
    ///
    /// # Errors
    ///
    /// As [`Vm::vmm_config`].
    pub fn command_line(&self) -> Result<Vec<OsString>, HardwareError> {
        let program = self.node().hypervisor_program()?;
        Ok(confined(self, vmm_config(self)?)?.command_line(&program, &self.api_socket()))
    }
}

fn vmm_config(vm: &Vm) -> Result<VmConfig, HardwareError> {
    let mut config = without_nets(vm)?;
    for net in &vm.definition().nets {
        config = config.net(net_config(vm, net));
    }
    Ok(config)
}

/// The machine without its network interfaces, which may need descriptors passed.
pub(crate) fn without_nets(vm: &Vm) -> Result<VmConfig, HardwareError> {
    let definition = vm.definition();
    let cpus = cpus_config(definition);
    let mut config = VmConfig::new(cpus, memory_config(definition), payload_config(vm)?)
        .serial(ConsoleConfig::tty())
        .console(ConsoleConfig::default())
        .vsock(VsockConfig::new(GUEST_CID, vm.vsock()))
        .platform(PlatformConfig::default().system_uuid(definition.uuid.to_string()))
        // A guest's panic is known as one.
        .extra("pvpanic", true.into());
    if definition.watchdog {
        config = config.extra("watchdog", true.into());
    }
    if let Some(balloon) = balloon_config(definition) {
        config = config.extra("balloon", balloon);
    }
    for disk in &definition.disks {
        config = config.disk(disk_config(vm, disk));
    }
    Ok(config)
}

/// The files that a start needs, with what each is to the machine.
pub(crate) fn files(config: &VmConfig) -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> =
        payload(config).map(|(what, path)| (what.to_owned(), path.to_owned())).collect();
    for disk in &config.disks {
        let name = disk.id.as_deref().unwrap_or("?");
        files.extend(disk.path.clone().map(|path| (format!("disk {name:?}"), path)));
    }
    files
}

/// The files that a machine boots.
pub(crate) fn payload_files(config: &VmConfig) -> impl Iterator<Item = PathBuf> {
    payload(config).map(|(_, path)| path.to_owned())
}

fn payload(config: &VmConfig) -> impl Iterator<Item = (&'static str, &Path)> {
    config.payload.iter().flat_map(|payload| {
        let files = [
            ("firmware", &payload.firmware),
            ("kernel", &payload.kernel),
            ("initramfs", &payload.initramfs),
        ];
        files.into_iter().filter_map(|(what, path)| Some((what, path.as_deref()?)))
    })
}
