//! What can go wrong when the network of machines is looked at.

use virshle_net::NetError;

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::machine::error::{MachineError, network_verdict};
use crate::model::name::VmName;

/// Why the network can't be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A machine, or the switch.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The machine's network is none of the switch's.
    #[error("machine {vm} has no port on a switch{}", of_net(.net))]
    NoPort {
        /// The machine.
        vm: VmName,
        /// The interface, if one was named.
        net: Option<String>,
    },
    /// What was named is neither a machine nor an address that this host knows.
    #[error("{word:?} is no machine, and no address that is known on bridge {bridge}")]
    NoTarget {
        /// What was named.
        word: String,
        /// The bridge.
        bridge: String,
    },
    /// A packet needs the addresses of both sides.
    #[error("no {family} address of {who} is known: {what} needs one")]
    NoAddress {
        /// Whose.
        who: String,
        /// Of which family.
        family: &'static str,
        /// What needs it.
        what: &'static str,
    },
    /// The switch could not be asked.
    #[error("cannot {doing}")]
    Switch {
        /// What was being done.
        doing: String,
        /// Why not.
        source: NetError,
    },
}

fn of_net(net: &Option<String>) -> String {
    net.as_ref().map(|net| format!(" by an interface {net:?}")).unwrap_or_default()
}

impl Failure for NetworkError {
    fn verdict(&self) -> Verdict<'_> {
        let text = |text: &str| Some(Remedy::Text(text.into()));
        match self {
            Self::Machine(error) => error.verdict(),
            Self::NoPort { .. } => Verdict::new(ErrorKind::State, "no-port").remedy(text(
                "only networks of the types vhost and tap are the switch's; a user network is passt's, and \
                 what is on a bridge of the kernel is for tcpdump",
            )),
            Self::NoTarget { .. } => Verdict::new(ErrorKind::NotFound, "no-target").remedy(text(
                "name a machine, `host`, a MAC address, or an address that the host has seen there",
            )),
            Self::NoAddress { .. } => Verdict::new(ErrorKind::State, "no-address").remedy(text(
                "give the guest an address, or leave the port and the protocol away: then a frame \
                 is traced, whatever is in it",
            )),
            Self::Switch { source, .. } => network_verdict(source),
        }
    }
}
