//! What a machine boots: a firmware, or a kernel.

use virshle_hypervisor::PayloadConfig;

use crate::hardware::error::HardwareError;
use crate::machine::vm::Vm;
use crate::model::definition::Boot;

/// The payload as cloud-hypervisor takes it.
pub(crate) fn payload_config(vm: &Vm) -> Result<PayloadConfig, HardwareError> {
    match &vm.definition().boot {
        Boot::Firmware { path } => {
            let found = match path {
                Some(path) => Some(path.clone()),
                None => vm.node().firmware()?,
            };
            let firmware = found.ok_or_else(|| HardwareError::NoFirmware {
                vm: vm.name().clone(),
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
