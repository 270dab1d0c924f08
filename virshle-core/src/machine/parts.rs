//! What machines run on: cloud-hypervisor and its firmware, as configured, the node's own, or the host's.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use virshle_hypervisor::{find_firmware, find_program, own_firmware_name};

use crate::fs::error::FileError;
use crate::fs::trust;
use crate::machine::node::Node;
use crate::store::layout;

/// The name of the program, which is looked up unless another one is configured.
pub(crate) const PROGRAM: &str = "cloud-hypervisor";
/// Where it is for all users of the host, also where `PATH` does not say so.
pub(crate) const SYSTEM_PROGRAM: &str = "/usr/local/bin/cloud-hypervisor";

impl Node {
    /// The cloud-hypervisor that machines are started with: the configured one; else the node's own; else
    /// the first in `PATH`, or the one in `/usr/local/bin`. If there is none, its name.
    ///
    /// # Errors
    ///
    /// [`FileError::Untrusted`] for root, if another user could have written the node's own.
    pub fn hypervisor_program(&self) -> Result<PathBuf, FileError> {
        if let Some(configured) = configured_program(self) {
            return Ok(configured.to_owned());
        }
        if let Some(own) = own_program(self)? {
            return Ok(own);
        }
        let system = || Some(PathBuf::from(SYSTEM_PROGRAM)).filter(|path| path.is_file());
        let found = find_program(Path::new(PROGRAM)).or_else(system);
        Ok(found.unwrap_or_else(|| PROGRAM.into()))
    }

    /// The firmware of machines whose definition names none: the configured one; else the node's own;
    /// else the first in the usual places.
    ///
    /// # Errors
    ///
    /// [`FileError::Untrusted`] for root, if another user could have written the node's own.
    pub fn firmware(&self) -> Result<Option<PathBuf>, FileError> {
        if let Some(configured) = &self.config().hypervisor.firmware {
            return Ok(Some(configured.clone()));
        }
        Ok(own_firmware(self)?.or_else(find_firmware))
    }
}

/// The program that the configuration names, if it is not the one that is looked up.
pub(crate) fn configured_program(node: &Node) -> Option<&Path> {
    let program = node.config().hypervisor.program.as_path();
    (program != Path::new(PROGRAM)).then_some(program)
}

/// The node's own cloud-hypervisor, if it has one.
pub(crate) fn own_program(node: &Node) -> Result<Option<PathBuf>, FileError> {
    own(node, layout::own_programs(node.root()).join(PROGRAM))
}

/// The node's own firmware, if it has one.
pub(crate) fn own_firmware(node: &Node) -> Result<Option<PathBuf>, FileError> {
    own(node, layout::own_firmware(node.root()).join(own_firmware_name()))
}

/// A file of the node's own that machines run on, if it is there and may be believed.
fn own(node: &Node, path: PathBuf) -> Result<Option<PathBuf>, FileError> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        // What can't be looked at is not this node's to use.
        Err(error) if error.kind() != ErrorKind::PermissionDenied => return Ok(None),
        Err(source) => return Err(FileError::Read { path, source }),
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    node.store().check_trust()?;
    // Whoever can write to the directory can put another file there.
    for (path, metadata) in
        path.parent().into_iter().filter_map(|up| Some((up, up.metadata().ok()?)))
    {
        trust::check(path, &metadata)?;
    }
    trust::check(&path, &metadata)?;
    Ok(Some(path))
}
