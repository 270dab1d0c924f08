//! Configuration of the serial port and the virtio console.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a serial port or console leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsoleConfig {
    /// The kind of its other end.
    #[serde(default)]
    pub mode: ConsoleMode,
    /// The file, or the pseudo-terminal that cloud-hypervisor made (reported by `vm.info`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The kind of a console's other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ConsoleMode {
    /// No such device in the guest.
    #[default]
    Off,
    /// Output is dropped.
    Null,
    /// A pseudo-terminal that cloud-hypervisor creates.
    Pty,
    /// cloud-hypervisor's own standard input and output.
    Tty,
    /// A file, emptied at every start and every reboot.
    File,
    /// A Unix socket that cloud-hypervisor listens at. Serial port only.
    Socket,
}

impl ConsoleConfig {
    /// Drops the output.
    pub fn null() -> Self {
        Self { mode: ConsoleMode::Null, ..Self::default() }
    }

    /// Leads to the VMM's own standard input and output. Serial port only, with
    /// [`Launch::serial_log`](crate::Launch::serial_log).
    pub fn tty() -> Self {
        Self { mode: ConsoleMode::Tty, ..Self::default() }
    }

    /// Creates a pseudo-terminal, whose path `vm.info` reports.
    pub fn pty() -> Self {
        Self { mode: ConsoleMode::Pty, ..Self::default() }
    }

    /// Writes the output to a file, emptied at every start and every reboot.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { mode: ConsoleMode::File, file: Some(path.into()), ..Self::default() }
    }

    /// Listens at a Unix socket. Serial port only.
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self { mode: ConsoleMode::Socket, socket: Some(path.into()), ..Self::default() }
    }
}
