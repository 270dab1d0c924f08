//! One machine: its definition, its directory, and the questions that can be asked of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use crate::fs::error::FileError;
use crate::fs::lock::Lock;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::status::Status;
use crate::model::definition::{Definition, NetKind};
use crate::model::name::VmName;
use crate::model::state::VmState;
use crate::store::layout::{self, API_SOCKET, EVENTS, KNOWN_HOSTS, LOCK, SERIAL_LOG, VMM_LOG};

/// How long a change waits for another one of the same machine.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// A machine of a [`Node`].
#[derive(Clone, Debug)]
pub struct Vm {
    node: Node,
    directory: PathBuf,
    definition: Definition,
}

impl Vm {
    pub(crate) fn new(node: Node, definition: Definition) -> Self {
        let directory = node.store().directory(definition.uuid);
        Self { node, directory, definition }
    }

    /// The node it lives on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its parts.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.definition.id
    }

    /// Its uuid.
    pub fn uuid(&self) -> Uuid {
        self.definition.uuid
    }

    /// Its name.
    pub fn name(&self) -> &VmName {
        &self.definition.name
    }

    /// The directory that holds everything of it.
    #[doc(alias = "folder")]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory that holds everything of it.
    #[deprecated(since = "0.1.0", note = "is called `directory`")]
    pub fn folder(&self) -> &Path {
        &self.directory
    }

    /// cloud-hypervisor's API socket, while the machine runs.
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join(API_SOCKET)
    }

    /// The hybrid vsock's socket, while the machine runs.
    pub fn vsock(&self) -> PathBuf {
        layout::vsock(&self.directory)
    }

    /// What the guest writes to its first serial port.
    pub fn serial_log(&self) -> PathBuf {
        self.directory.join(SERIAL_LOG)
    }

    /// The log of cloud-hypervisor.
    pub fn vmm_log(&self) -> PathBuf {
        self.directory.join(VMM_LOG)
    }

    /// The events of cloud-hypervisor's monitor.
    pub fn events(&self) -> PathBuf {
        self.directory.join(EVENTS)
    }

    /// The file of the disk `name`.
    pub fn disk(&self, name: &str) -> PathBuf {
        layout::disk(&self.directory, name)
    }

    /// The vhost-user socket of the network interface `name`.
    pub fn net_socket(&self, name: &str) -> PathBuf {
        let mut nets = self.definition.nets.iter();
        match nets.any(|net| net.name == name && net.kind == NetKind::User) {
            true => layout::passt_socket(&self.directory, name),
            false => layout::net_socket(&self.directory, name),
        }
    }

    /// The keys by which the guest's ssh server is known, one to a line as in `known_hosts`. They
    /// are the machine's own: they end with it, so another one of its name is no impostor.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join(KNOWN_HOSTS)
    }

    /// What it is doing right now.
    pub fn state(&self) -> VmState {
        self.status().state
    }

    pub(crate) fn status(&self) -> Status {
        self.node.status(self.definition.uuid)
    }

    /// Takes the lock that a change needs, and makes sure that the machine still exists.
    pub(crate) fn lock(&self) -> Result<Lock, MachineError> {
        let path = self.directory.join(LOCK);
        match self.directory.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(self.removed()),
            Err(source) => {
                return Err(FileError::Read { path: self.directory.clone(), source }.into());
            }
        }
        let lock = match Lock::acquire(&path, LOCK_TIMEOUT) {
            Err(FileError::Lock { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(self.removed());
            }
            other => other?,
        };
        // While this waited, the process that held the lock may have removed the machine.
        if lock.is_at(&path)? { Ok(lock) } else { Err(self.removed()) }
    }

    /// Takes the lock if no other process holds it.
    pub(crate) fn lock_if_free(&self) -> Result<Option<Lock>, FileError> {
        let path = self.directory.join(LOCK);
        let Some(lock) = Lock::acquire_if_free(&path)? else { return Ok(None) };
        if !lock.is_at(&path)? {
            return Ok(None);
        }
        lock.record_holder();
        Ok(Some(lock))
    }

    /// Whether another process works on the machine right now, as far as this user can see.
    pub(crate) fn is_being_changed(&self) -> bool {
        let path = self.directory.join(LOCK);
        matches!(Lock::acquire_if_free(&path), Ok(None)) && path.exists()
    }

    /// The error of what can't be done in the state the machine is in.
    pub(crate) fn wrong_state(&self, verb: &'static str, state: VmState) -> MachineError {
        MachineError::WrongState { vm: self.name().clone(), verb, state }
    }

    pub(crate) fn removed(&self) -> MachineError {
        MachineError::Removed { vm: self.name().clone() }
    }
}
