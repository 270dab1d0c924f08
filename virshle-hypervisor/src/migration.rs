//! Moving a running machine to another process or host.

use std::path::PathBuf;

use serde::Serialize;

use crate::HypervisorError;
use crate::client::Client;

/// How a machine is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SendMigration {
    /// The receiver: `unix:/socket` or `tcp:host:port`.
    pub destination_url: String,
    /// Memory is handed over as descriptors: same host, Unix socket, shared memory.
    #[serde(skip_serializing_if = "crate::memory::is_false")]
    pub local: bool,
    /// How long the machine may be paused, in milliseconds; 300 if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_ms: Option<u64>,
    /// How long it may take, in seconds; 3600 if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// What happens then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_strategy: Option<TimeoutStrategy>,
    /// Connections side by side, 1 to 128; TCP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// The directory of `ca-cert.pem`, `client-cert.pem` and `client-key.pem`; TCP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// When memory goes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mode: Option<MigrationMode>,
}

/// How a machine is received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReceiveMigration {
    /// Where to listen: `unix:/socket` or `tcp:address:port`.
    pub receiver_url: String,
    /// The directory of `ca-cert.pem`, `server-cert.pem` and `server-key.pem`; TCP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// When memory comes over; the sender's must be the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mode: Option<MigrationMode>,
}

/// When a migrating machine's memory is moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum MigrationMode {
    /// Before the machine resumes at its new place.
    #[default]
    Precopy,
    /// After, as it touches it.
    Postcopy,
}

/// What happens to a migration that takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum TimeoutStrategy {
    /// The machine stays.
    #[default]
    Cancel,
    /// The machine goes, and stands still as long as that takes.
    Ignore,
}

impl SendMigration {
    /// Sends to `destination_url`.
    pub fn new(destination_url: impl Into<String>) -> Self {
        Self {
            destination_url: destination_url.into(),
            local: false,
            downtime_ms: None,
            timeout_s: None,
            timeout_strategy: None,
            connections: None,
            tls_dir: None,
            memory_mode: None,
        }
    }

    /// Sets whether memory is handed over as descriptors.
    #[must_use]
    pub fn local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }
}

impl ReceiveMigration {
    /// Listens at `receiver_url`.
    pub fn new(receiver_url: impl Into<String>) -> Self {
        Self { receiver_url: receiver_url.into(), tls_dir: None, memory_mode: None }
    }
}

impl Client {
    /// Starts to send the machine (`vm.send-migration`).
    ///
    /// Since v53 it answers at once: the end is reported by the events `migration-finished` and
    /// `migration-failed`, and success ends the process.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn send_migration(&self, migration: &SendMigration) -> Result<(), HypervisorError> {
        self.put_json("vm.send-migration", migration)
    }

    /// Receives a machine (`vm.receive-migration`). The process handles nothing else until it is
    /// here: give it time with [`within`](Self::within).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn receive_migration(&self, migration: &ReceiveMigration) -> Result<(), HypervisorError> {
        self.put_json("vm.receive-migration", migration)
    }
}
