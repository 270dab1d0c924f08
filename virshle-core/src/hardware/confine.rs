//! Landlock: a VMM that its guest has taken over reaches its own machine's files, and no others.

use std::path::{Path, PathBuf};

use virshle_hypervisor::{LandlockAccess, LandlockRule, VmConfig, landlock_available};

use crate::error::CoreError;
use crate::machine::vm::Vm;
use crate::model::definition::NetKind;

/// The longest chain of backing files that is followed; cloud-hypervisor follows no longer one.
const MAX_CHAIN: usize = 10;

impl Vm {
    /// Confines the VMM, if the kernel offers it, to what `config` names and what that leads to.
    pub(crate) fn confined(&self, config: VmConfig) -> Result<VmConfig, CoreError> {
        if !landlock_available() {
            return Ok(config);
        }
        let mut rules = Vec::new();
        for disk in self.definition().disks.iter().filter(|disk| disk.clone == "overlay") {
            for path in self.backing_files(&disk.name)? {
                rules.push(LandlockRule::new(path, LandlockAccess::Read));
            }
        }
        for net in &self.definition().nets {
            let path = match net.kind {
                // The switch may go and come back, and the socket with it.
                NetKind::Vhost => (self.folder().join("net"), LandlockAccess::ReadWrite),
                NetKind::Tap | NetKind::Macvtap => {
                    (Path::new("/sys/class/net").join(&net.port), LandlockAccess::Read)
                }
            };
            // A path that isn't there fails the boot; `/sys` may show another network namespace.
            if let Ok(real) = path.0.canonicalize() {
                rules.push(LandlockRule::new(real, path.1));
            }
        }
        Ok(config.confined(rules))
    }

    /// The images that an overlay stands on.
    fn backing_files(&self, disk: &str) -> Result<Vec<PathBuf>, CoreError> {
        let mut files = Vec::new();
        let mut path = self.disk(disk);
        while files.len() < MAX_CHAIN {
            let image = virshle_disk::inspect(&path).map_err(|source| CoreError::Disk {
                vm: self.name().clone(),
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
}
