//! What was applied of a managed network: recorded before it is, so that it is found also when the
//! configuration has changed since.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use virshle_net::{Forwarding, ManagedNetwork};

use crate::fs::error::FileError;
use crate::fs::file::{Sync, read_untrusted, remove_if_there, replace};
use crate::machine::error::MachineError;

const FILE: &str = "applied.json";
const MAX_BYTES: u64 = 64 << 10;

/// What was applied, or was about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The bridge whose interface has the addresses.
    pub(crate) bridge: String,
    /// The host's addresses, with the lengths of their prefixes.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// The table of nftables.
    pub(crate) table: String,
    /// Forwarding was off, and was turned on.
    #[serde(default)]
    pub(crate) turned_on: Vec<Family>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) fn forwarding(self) -> Forwarding {
        match self {
            Self::Ipv4 => Forwarding::V4,
            Self::Ipv6 => Forwarding::V6,
        }
    }
}

impl Applied {
    /// What `network` applies.
    pub(crate) fn of(network: &ManagedNetwork) -> Self {
        Self {
            bridge: network.bridge.to_string(),
            addresses: addresses(network),
            table: network.table.clone(),
            turned_on: Vec::new(),
        }
    }

    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let bytes = read_untrusted(&directory.join(FILE), MAX_BYTES).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Records it, for good.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), MachineError> {
        let path = directory.join(FILE);
        let text = serde_json::to_vec(self)
            .map_err(|source| FileError::Write { path: path.clone(), source: source.into() })?;
        Ok(replace(&path, &text, Sync::Yes)?)
    }

    /// Forgets it.
    pub(crate) fn forget(directory: &Path) -> Result<(), MachineError> {
        let path = directory.join(FILE);
        Ok(remove_if_there(&path).map_err(|source| FileError::Remove { path, source })?)
    }
}

/// The host's addresses, with the lengths of their prefixes.
pub(crate) fn addresses(network: &ManagedNetwork) -> Vec<(IpAddr, u8)> {
    let subnet = &network.subnet;
    let v4 = (IpAddr::V4(subnet.gateway()), subnet.prefix_len());
    let v6 = subnet.gateway6().map(|gateway| (IpAddr::V6(gateway), 64));
    std::iter::once(v4).chain(v6).collect()
}
