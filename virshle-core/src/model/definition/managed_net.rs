//! An interface on the managed network, in a machine's definition.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use virshle_template::Publish;

use crate::model::definition::user_net::{read_publish, write_publish};

/// What the managed network gives to an interface.
///
/// The address was derived from the machine's name when it was created, and is kept; its IPv6 address
/// follows from it and from the prefix of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManagedNet {
    /// The guest's IPv4 address, which DHCP gives it.
    pub address: Ipv4Addr,
    /// The ports of the host that lead to the guest's.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "write_publish",
        deserialize_with = "read_publish"
    )]
    pub publish: Vec<Publish>,
}

impl ManagedNet {
    /// The interface with that address, of which no port is published.
    pub(crate) fn at(address: Ipv4Addr) -> Self {
        Self { address, publish: Vec::new() }
    }
}
