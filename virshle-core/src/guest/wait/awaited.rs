//! What can be waited for.

use std::fmt;

/// The port on which ssh servers listen, on networks and on a vsock.
pub const SSH_PORT: u16 = 22;

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaited {
    /// It was started, and its guest runs.
    Boot,
    /// It runs, and an address of it is known that holds beyond one link.
    Address,
    /// Its ssh server answers, by vsock or over a network.
    #[default]
    Ssh,
}

impl Awaited {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Address, Self::Ssh];

    /// The name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Address => "address",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}
