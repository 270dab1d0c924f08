//! One machine: its definition, its folder, and the questions that can be asked of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::machine::node::Node;
use crate::machine::node::VmSummary;
use crate::machine::status::{SOCKET, Status};
use crate::model::definition::Definition;
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::store::LOCK;

/// How long a change waits for another one of the same machine.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// A machine of a [`Node`].
#[derive(Clone, Debug)]
pub struct Vm {
    node: Node,
    folder: PathBuf,
    definition: Definition,
}

/// The hybrid vsock's socket of the machine in `folder`.
///
/// cloud-hypervisor lets itself write everything beside it: so there is nothing but sockets.
pub(crate) fn vsock(folder: &Path) -> PathBuf {
    folder.join("net").join("ch.vsock")
}

/// The vhost-user socket of the interface `name` of the machine in `folder`.
pub(crate) fn net_socket(folder: &Path, name: &str) -> PathBuf {
    folder.join("net").join(format!("{name}.sock"))
}

impl Vm {
    pub(crate) fn new(node: Node, definition: Definition) -> Self {
        let folder = node.store().folder(definition.uuid);
        Self { node, folder, definition }
    }

    /// The node it lives on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What it is made of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Its name.
    pub fn name(&self) -> &VmName {
        &self.definition.name
    }

    /// The folder that holds everything of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// cloud-hypervisor's API socket, while the machine runs.
    pub fn api_socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// The hybrid vsock's socket, while the machine runs.
    pub fn vsock(&self) -> PathBuf {
        vsock(&self.folder)
    }

    /// What the guest writes to its first serial port.
    pub fn serial_log(&self) -> PathBuf {
        self.folder.join("serial.log")
    }

    /// What cloud-hypervisor has to say.
    pub fn vmm_log(&self) -> PathBuf {
        self.folder.join("ch.log")
    }

    /// The events of cloud-hypervisor's monitor.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.json")
    }

    /// The file of the disk `name`.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.folder.join("disk").join(name)
    }

    /// The vhost-user socket of the network interface `name`.
    pub fn net_socket(&self, name: &str) -> PathBuf {
        net_socket(&self.folder, name)
    }

    /// What it is doing right now.
    pub fn state(&self) -> VmState {
        self.status().state
    }

    /// The machine as a listing shows it.
    pub fn summary(&self) -> VmSummary {
        let (status, definition) = (self.status(), &self.definition);
        VmSummary {
            id: definition.id,
            uuid: definition.uuid,
            name: definition.name.clone(),
            template: definition.template.clone(),
            vcpus: definition.vcpus,
            memory_bytes: definition.memory_bytes,
            state: status.state,
            pid: status.pid,
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.node.status(self.definition.uuid)
    }

    /// Takes the lock that a change needs, and makes sure that the machine still exists.
    pub(crate) fn lock(&self) -> Result<Lock, CoreError> {
        let path = self.folder.join(LOCK);
        match self.folder.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(self.removed()),
            Err(source) => return Err(CoreError::Read { path: self.folder.clone(), source }),
        }
        let lock = match Lock::acquire(&path, LOCK_TIMEOUT) {
            Err(CoreError::Lock { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(self.removed());
            }
            other => other?,
        };
        // While this waited, the one who held the lock may have removed the machine.
        if lock.is_at(&path)? { Ok(lock) } else { Err(self.removed()) }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn lock_if_free(&self) -> Result<Option<Lock>, CoreError> {
        let path = self.folder.join(LOCK);
        let Some(lock) = Lock::acquire_if_free(&path)? else { return Ok(None) };
        if !lock.is_at(&path)? {
            return Ok(None);
        }
        lock.sign();
        Ok(Some(lock))
    }

    /// Whether somebody works on the machine right now, as far as this user can tell.
    pub(crate) fn is_being_changed(&self) -> bool {
        let path = self.folder.join(LOCK);
        matches!(Lock::acquire_if_free(&path), Ok(None)) && path.exists()
    }

    pub(crate) fn removed(&self) -> CoreError {
        CoreError::Removed { vm: self.name().clone() }
    }
}
