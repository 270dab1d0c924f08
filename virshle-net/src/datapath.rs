//! Where a bridge's packets are switched.

use std::fmt;
use std::str::FromStr;

use crate::NetError;

/// Where a bridge's packets are switched.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new datapath, so adding one
/// is a breaking change.
///
/// # References
///
/// `ovs-vswitchd.conf.db(5)`, table Bridge, column `datapath_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datapath {
    /// In `ovs-vswitchd` itself; vhost-user ports need it. No kernel module.
    Netdev,
    /// In the kernel, by its module `openvswitch`.
    System,
}

impl Datapath {
    /// The database's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Netdev => "netdev",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Datapath {
    type Err = NetError;

    /// Reads the database's name; an empty one means the system's.
    fn from_str(text: &str) -> Result<Self, NetError> {
        match text {
            "netdev" => Ok(Self::Netdev),
            "system" | "" => Ok(Self::System),
            _ => Err(NetError::UnknownDatapath { text: text.into() }),
        }
    }
}
