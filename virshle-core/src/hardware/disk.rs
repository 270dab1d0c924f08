//! A machine's disks, and the backing files of its overlays.

use std::path::{Path, PathBuf};

use virshle_disk::Format;
use virshle_hypervisor::{DiskConfig, ImageType};

use crate::hardware::error::HardwareError;
use crate::machine::vm::Vm;
use crate::model::definition::DiskDefinition;

/// The longest serial number of a virtio disk, in bytes (virtio 1.2, 5.2.6: the device ID).
const MAX_SERIAL: usize = 20;

/// The longest chain of backing files that is followed; cloud-hypervisor follows no longer one.
const MAX_CHAIN: usize = 10;

/// A disk as cloud-hypervisor takes it.
pub(crate) fn disk_config(vm: &Vm, disk: &DiskDefinition) -> DiskConfig {
    let config = DiskConfig::new(vm.disk(&disk.name), image_type(disk.format))
        .id(&disk.name)
        .readonly(disk.readonly)
        .backing_files(disk.is_overlay());
    // A name that doesn't fit is omitted: a cut one could be another's.
    if disk.name.len() <= MAX_SERIAL { config.serial(&disk.name) } else { config }
}

fn image_type(format: Format) -> ImageType {
    match format {
        Format::Raw => ImageType::Raw,
        Format::Qcow2 => ImageType::Qcow2,
    }
}

/// The images that an overlay depends on.
pub(crate) fn backing_files(vm: &Vm, disk: &str) -> Result<Vec<PathBuf>, HardwareError> {
    let mut files = Vec::new();
    let mut path = vm.disk(disk);
    while files.len() < MAX_CHAIN {
        let image = virshle_disk::inspect(&path).map_err(|source| HardwareError::BackingFiles {
            vm: vm.name().clone(),
            disk: disk.to_owned(),
            source,
        })?;
        let Some(backing) = image.backing_file else { break };
        // A relative name is relative to the image that names it.
        path = path.parent().unwrap_or(Path::new("/")).join(backing);
        files.push(path.clone());
    }
    Ok(files)
}
