//! A machine as `v … --json` shows it.

use serde::Deserialize;

use crate::failure::Failure;

/// One machine. What the scenarios don't look at isn't here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
    pub(crate) last_exit: Option<String>,
    pub(crate) dir: String,
    pub(crate) vsock: Option<String>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) nets: Vec<Net>,
}

/// A disk of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Disk {
    pub(crate) path: String,
    pub(crate) clone: Option<String>,
}

/// A network of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Net {
    pub(crate) mac: String,
    pub(crate) port: Option<String>,
}

impl Machine {
    /// The MAC address of its first network.
    pub(crate) fn mac(&self) -> Result<&str, Failure> {
        let net = self.nets.first();
        net.map(|net| net.mac.as_str()).ok_or_else(|| self.lacks("network"))
    }

    /// The port of its first network.
    pub(crate) fn port(&self) -> Result<&str, Failure> {
        let port = self.nets.first().and_then(|net| net.port.as_deref());
        port.ok_or_else(|| self.lacks("port"))
    }

    /// Its vsock socket.
    pub(crate) fn vsock(&self) -> Result<&str, Failure> {
        self.vsock.as_deref().ok_or_else(|| self.lacks("vsock"))
    }

    fn lacks(&self, what: &str) -> Failure {
        Failure::new(format!("{} has no {what} in its JSON", self.name))
    }
}
