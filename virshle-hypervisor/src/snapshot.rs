//! Snapshots, and machines created from them.

use std::os::fd::BorrowedFd;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::HypervisorError;
use crate::client::Client;

/// How a machine is created from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Restore {
    /// The snapshot, as `file:///directory`.
    pub source_url: String,
    /// Whether memory is read at once or as the guest touches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_restore_mode: Option<MemoryRestoreMode>,
    /// Whether the host's memory is taken at once.
    #[serde(skip_serializing_if = "crate::memory::is_false")]
    pub prefault: bool,
    /// Whether the machine resumes at once; otherwise it comes up paused.
    #[serde(skip_serializing_if = "crate::memory::is_false")]
    pub resume: bool,
    /// The network interfaces on passed descriptors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net_fds: Vec<RestoredNet>,
}

/// When a machine's memory is read from its snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum MemoryRestoreMode {
    /// Before it resumes.
    #[default]
    Copy,
    /// As the guest touches it (userfaultfd).
    OnDemand,
}

/// How many descriptors a restored network interface takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestoredNet {
    /// The interface.
    pub id: String,
    /// Its descriptors, one for each queue pair.
    pub num_fds: usize,
}

impl RestoredNet {
    /// Gives the interface so many descriptors.
    pub fn new(id: impl Into<String>, num_fds: usize) -> Self {
        Self { id: id.into(), num_fds }
    }
}

impl Restore {
    /// Creates the machine of the snapshot in `directory`.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Request`] if the path isn't UTF-8.
    pub fn new(directory: &Path) -> Result<Self, HypervisorError> {
        Ok(Self {
            source_url: url("vm.restore", directory)?,
            memory_restore_mode: None,
            prefault: false,
            resume: false,
            net_fds: Vec::new(),
        })
    }

    /// Sets whether the machine resumes at once.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Sets when memory is read.
    #[must_use]
    pub fn memory_restore_mode(mut self, mode: MemoryRestoreMode) -> Self {
        self.memory_restore_mode = Some(mode);
        self
    }

    /// Adds a network interface on passed descriptors.
    #[must_use]
    pub fn net_fds(mut self, net: RestoredNet) -> Self {
        self.net_fds.push(net);
        self
    }
}

#[derive(Serialize)]
struct Destination {
    destination_url: String,
}

impl Client {
    /// Writes a paused machine, without its disks, into `directory`, which exists and is empty
    /// (`vm.snapshot`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); [`Request`](HypervisorError::Request) if the path isn't UTF-8.
    pub fn snapshot(&self, directory: &Path) -> Result<(), HypervisorError> {
        let destination_url = url("vm.snapshot", directory)?;
        self.put_json("vm.snapshot", &Destination { destination_url })
    }

    /// Creates a machine from a snapshot in a process that has none (`vm.restore`). The descriptors
    /// are those of all [`Restore::net_fds`], in their order.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn restore(
        &self,
        restore: &Restore,
        taps: &[BorrowedFd<'_>],
    ) -> Result<(), HypervisorError> {
        self.put_json_for::<_, serde::de::IgnoredAny>("vm.restore", restore, taps).map(drop)
    }

    /// Writes a paused machine's memory into a file, for a debugger (`vm.coredump`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused with status 404 by builds without `guest_debug`.
    pub fn coredump(&self, file: &Path) -> Result<(), HypervisorError> {
        let destination_url = url("vm.coredump", file)?;
        self.put_json("vm.coredump", &Destination { destination_url })
    }
}

fn url(what: &str, path: &Path) -> Result<String, HypervisorError> {
    // The same error that serde gives a path in any other request.
    struct Url<'a>(&'a Path);
    impl Serialize for Url<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }
    match path.to_str() {
        Some(path) => Ok(format!("file://{path}")),
        None => match serde_json::to_string(&Url(path)) {
            Ok(path) => Ok(path),
            Err(source) => Err(HypervisorError::Request { what: what.to_owned(), source }),
        },
    }
}
