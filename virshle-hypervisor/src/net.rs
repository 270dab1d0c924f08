//! Configuration of network interfaces.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::memory::is_false;
use crate::options::Options;

/// A network interface of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetConfig {
    /// The name it is removed by; `_net0` and so on if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tap it is plugged into. cloud-hypervisor creates one that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// The guest's MAC address; random if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The largest frame payload, in bytes, at least 1280.
    ///
    /// With a tap, setting it needs the right to change the tap, even to what it is already.
    #[serde(default, rename = "mtu", skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u16>,
    /// Queues, those that receive and those that send: two for each vCPU that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_queues: Option<usize>,
    /// Entries of a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_size: Option<u16>,
    /// Its frames go through a vhost-user socket, which needs shared memory or hugepages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub vhost_user: bool,
    /// That socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_socket: Option<PathBuf>,
    /// Who makes that socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_mode: Option<VhostMode>,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Who makes a vhost-user socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum VhostMode {
    /// The other side does; cloud-hypervisor connects, and gives the device up for good when the
    /// other side is away for a minute.
    #[default]
    Client,
    /// cloud-hypervisor does. `vm.boot` waits without end until the other side connects; later it
    /// may go and come back.
    Server,
}

impl NetConfig {
    /// The value of `--net`.
    pub(crate) fn options(&self) -> Options {
        let mode = self.vhost_mode.map(|mode| match mode {
            VhostMode::Client => "client",
            VhostMode::Server => "server",
        });
        Options::of(self)
            .rename("vhost_socket", "socket")
            .set("vhost_mode", mode)
            .rate_limiter(&self.extra)
    }

    /// Plugged into the tap of this name.
    pub fn tap(name: impl Into<String>) -> Self {
        Self { tap: Some(name.into()), ..Self::default() }
    }

    /// Plugged into descriptors that are passed with it, one for each queue pair.
    pub fn descriptors(queue_pairs: usize) -> Self {
        Self { num_queues: Some(2 * queue_pairs), ..Self::default() }
    }

    /// Plugged into a vhost-user socket.
    pub fn vhost_user(socket: impl Into<PathBuf>, mode: VhostMode) -> Self {
        Self {
            vhost_user: true,
            vhost_socket: Some(socket.into()),
            vhost_mode: Some(mode),
            ..Self::default()
        }
    }

    /// Sets the number of queue pairs, at most as many as vCPUs at boot.
    #[must_use]
    pub fn queue_pairs(mut self, queue_pairs: usize) -> Self {
        self.num_queues = Some(2 * queue_pairs);
        self
    }

    /// Sets the name it is removed by.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the guest's MAC address.
    #[must_use]
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// Sets whether frames may be larger than the MTU, and their checksums be left to the other
    /// side (TSO, UFO, checksum offload); cloud-hypervisor's default is true.
    #[must_use]
    pub fn offloads(mut self, offloads: bool) -> Self {
        for key in ["offload_tso", "offload_ufo", "offload_csum"] {
            self.extra.insert(key.to_owned(), offloads.into());
        }
        self
    }

    /// Sets the largest frame payload, in bytes.
    #[must_use]
    pub fn mtu_bytes(mut self, mtu_bytes: u16) -> Self {
        self.mtu_bytes = Some(mtu_bytes);
        self
    }
}
