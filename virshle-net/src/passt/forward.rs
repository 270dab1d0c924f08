//! A port of the host that leads to one of the guest.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The protocol of a [`Forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads to one of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Forward {
    /// The protocol.
    pub protocol: ForwardProtocol,
    /// The address of the host; all of them, of both families, if unset.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The guest's port.
    pub guest_port: u16,
}

impl Forward {
    /// The host's `host_port`, at all its addresses, leads to the guest's `guest_port`.
    pub fn new(protocol: ForwardProtocol, host_port: u16, guest_port: u16) -> Self {
        Self { protocol, address: None, host_port, guest_port }
    }

    /// At this address of the host alone.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// As passt's `--tcp-ports` and `--udp-ports` take it.
    pub(crate) fn argument(&self) -> String {
        let address = self.address.map(|address| format!("{address}/")).unwrap_or_default();
        format!("{address}{}:{}", self.host_port, self.guest_port)
    }
}

impl fmt::Display for Forward {
    /// The host's side: `TCP port 127.0.0.1:8080`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            ForwardProtocol::Tcp => "TCP",
            ForwardProtocol::Udp => "UDP",
        };
        match self.address {
            Some(address) => {
                write!(formatter, "{protocol} port {}", SocketAddr::new(address, self.host_port))
            }
            None => write!(formatter, "{protocol} port {}", self.host_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_written_as_passt_takes_it() {
        let forward = Forward::new(ForwardProtocol::Tcp, 8080, 80);
        assert_eq!(
            (forward.argument().as_str(), &*forward.to_string()),
            ("8080:80", "TCP port 8080")
        );
        let forward = forward.at("::1".parse().unwrap());
        assert_eq!(forward.argument(), "::1/8080:80");
        assert_eq!(forward.to_string(), "TCP port [::1]:8080");
    }
}
