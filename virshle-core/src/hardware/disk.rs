//! A machine's disks, and the backing files of its overlays.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use virshle_disk::{DiskError, Format};
use virshle_hypervisor::{DiskConfig, ImageType, Qcow2Fault, Version, open_untrusted_of};

use crate::hardware::error::HardwareError;
use crate::hardware::queues;
use crate::machine::vm::Vm;
use crate::model::definition::DiskDefinition;
use crate::store::layout::DEFINITION;

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
    let config = match queues::of_disk(vm.definition(), disk) {
        1 => config,
        queues => config.queues(queues.into()),
    };
    // A name that doesn't fit is omitted: a cut one could be another's.
    if disk.name.len() <= MAX_SERIAL { config.serial(&disk.name) } else { config }
}

fn image_type(format: Format) -> ImageType {
    match format {
        Format::Raw => ImageType::Raw,
        Format::Qcow2 => ImageType::Qcow2,
    }
}

/// Opens the file of the machine's disk `path` as hostile: its VMM can put anything in its place.
pub(crate) fn open_disk(path: &Path) -> io::Result<File> {
    // The files of disks may belong to a user of the machine's own, who has their directory.
    let directory = path.parent().unwrap_or(path).metadata()?;
    open_untrusted_of(path, OpenOptions::new().read(true), directory.uid())
}

/// The images that the disk `name` of the machine depends on, the uppermost first.
///
/// They are those of the definition. What the headers name is compared with it, from the uppermost on,
/// and nothing is opened that only a header names.
pub(crate) fn backing_files(vm: &Vm, name: &str) -> Result<Vec<PathBuf>, HardwareError> {
    let Some(disk) = vm.definition().disks.iter().find(|disk| disk.name == name) else {
        return Ok(Vec::new());
    };
    if disk.format == Format::Raw {
        // It is said to be raw, whatever its guest has written into it.
        return Ok(Vec::new());
    }
    // What an earlier version wrote names the image alone; what that names is no VMM's to write.
    let (recorded, is_whole) = match (&disk.backing, &disk.source) {
        (backing, Some(source)) if backing.is_empty() && disk.is_overlay() => {
            (vec![source.canonicalize().unwrap_or_else(|_| source.clone())], false)
        }
        (backing, _) => (backing.clone(), true),
    };
    let unreadable = |source| HardwareError::BackingFiles {
        vm: vm.name().clone(),
        disk: disk.name.clone(),
        source,
    };
    let mut files: Vec<PathBuf> = Vec::new();
    let mut path = vm.disk(&disk.name);
    open_disk(&path)
        .map_err(|source| unreadable(DiskError::Read { path: path.clone(), source }))?;
    loop {
        let image = virshle_disk::inspect(&path).map_err(unreadable)?;
        // A relative name is relative to the image that names it.
        let named = image.backing_file.map(|named| path.parent().unwrap_or(&path).join(named));
        let expected = recorded.get(files.len());
        path = match (named, expected) {
            (None, None) => return Ok(files),
            (Some(named), Some(expected)) if named == *expected => named,
            (Some(named), None) if !is_whole && files.len() < MAX_CHAIN => named,
            (named, expected) => {
                return Err(HardwareError::OtherBackingFile {
                    vm: vm.name().clone(),
                    disk: disk.name.clone(),
                    named,
                    expected: expected.cloned(),
                    definition: vm.directory().join(DEFINITION),
                });
            }
        };
        files.push(path.clone());
    }
}

/// Compares what the headers of the machine's disks name with what they were created on.
pub(crate) fn check_backing_files(vm: &Vm) -> Result<(), HardwareError> {
    vm.definition().disks.iter().try_for_each(|disk| backing_files(vm, &disk.name).map(drop))
}

/// Whether the machine has a disk with tables that a version of cloud-hypervisor could do wrong with:
/// else no one needs to know the version.
pub(crate) fn has_qcow2(vm: &Vm) -> bool {
    vm.definition().disks.iter().any(|disk| disk.format == Format::Qcow2)
}

/// Refuses a version of cloud-hypervisor that does something wrong with the compressed clusters of one
/// of the machine's disks: it would be found out by reading them, or never.
pub(crate) fn check_compressed(vm: &Vm, version: Version) -> Result<(), HardwareError> {
    let Some(fault) = version.compressed_qcow2_fault() else { return Ok(()) };
    for disk in vm.definition().disks.iter().filter(|disk| disk.format == Format::Qcow2) {
        let (vm_name, name) = (vm.name().clone(), disk.name.clone());
        let below = backing_files(vm, &disk.name)?;
        for path in at_risk(fault, disk.readonly, vm.disk(&disk.name), below) {
            match virshle_disk::has_compressed_clusters(&path) {
                Ok(false) => {}
                Ok(true) => {
                    let (vm, disk) = (vm_name, name);
                    return Err(HardwareError::FaultyWithDisk {
                        vm,
                        disk,
                        path,
                        version,
                        source: fault,
                    });
                }
                Err(source) => {
                    return Err(HardwareError::BackingFiles { vm: vm_name, disk: name, source });
                }
            }
        }
    }
    Ok(())
}

/// The files of a disk whose compressed clusters meet with the fault: those that are written; or, if it
/// is in reading, all of them.
pub(crate) fn at_risk(
    fault: Qcow2Fault,
    readonly: bool,
    own: PathBuf,
    below: Vec<PathBuf>,
) -> Vec<PathBuf> {
    match fault {
        Qcow2Fault::Corrupted if readonly => Vec::new(),
        Qcow2Fault::Corrupted => vec![own],
        _ => std::iter::once(own).chain(below).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use virshle_template::Config;
    use virshle_testkit_macros::test_on;

    use super::*;
    use crate::life::create::CreateRequest;
    use crate::machine::node::Node;

    #[test_on(QemuImg)]
    fn a_version_with_a_fault_is_given_no_disk_that_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("raw"), b"all work and no play ".repeat(20_000)).unwrap();
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-c", "-O", "qcow2"]).args([at("raw"), at("packed")]);
        assert!(command.status().unwrap().success());
        let version = |text: &str| Version::parse(text).unwrap();
        let (unreadable, corrupted, good) = (version("49.0"), version("52.0"), version("53.0"));
        for (disk, faulty) in [
            ("", &[unreadable, corrupted][..]),
            ("readonly = true", &[unreadable]),
            ("clone = \"overlay\"", &[unreadable]),
        ] {
            let text = format!(
                "[[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = 1\n[[template.vm.disk]]\n\
                 name = \"os\"\npath = {:?}\n{disk}\n",
                at("packed")
            );
            let config = Config::from_toml(&text, &at("config.toml")).unwrap();
            let node = Node::new(config, Some(&at("root")));
            let made = node.create(&CreateRequest::new("xs"), &|_| {}).unwrap().remove(0);
            let vm = made.result.unwrap();
            assert!(has_qcow2(&vm));
            for version in [unreadable, corrupted, good] {
                let refused = check_compressed(&vm, version);
                assert_eq!(refused.is_err(), faulty.contains(&version), "{disk} {version}");
            }
            let error = check_compressed(&vm, unreadable).unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains("cloud-hypervisor 49.0") && shown.contains("\"os\""), "{shown}");
        }
    }
}
