//! Whether this host has a port free for a [`Forward`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use crate::passt::error::PasstError;
use crate::passt::forward::{Forward, ForwardProtocol};
use crate::passt::holder::Holder;

impl Forward {
    /// The port of this host's loopback that is free at this moment, leading to `guest_port` by TCP.
    ///
    /// # Errors
    ///
    /// [`PasstError::Port`] if there is none.
    pub fn free_on_loopback(guest_port: u16) -> Result<Self, PasstError> {
        let mut forward =
            Self::new(ForwardProtocol::Tcp, 0, guest_port).at(Ipv4Addr::LOCALHOST.into());
        let chosen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|source| PasstError::Port { forward, source })?;
        forward.host_port = chosen.port();
        Ok(forward)
    }

    /// Makes sure that a process of this user can have the port at this moment. As passt takes any
    /// of several addresses for enough, and this wants all of them, its answer would come too late.
    ///
    /// # Errors
    ///
    /// [`PasstError::PortTaken`] with who has it, [`PasstError::PortForbidden`], [`PasstError::Port`].
    pub fn check_free(&self) -> Result<(), PasstError> {
        let bound = match self.address {
            Some(address) => self.bind(address),
            None => self.bind(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| {
                match error.kind() {
                    // This host may have no IPv6 at all.
                    io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => {
                        self.bind(Ipv4Addr::UNSPECIFIED.into())
                    }
                    _ if error.raw_os_error()
                        == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
                    {
                        self.bind(Ipv4Addr::UNSPECIFIED.into())
                    }
                    _ => Err(error),
                }
            }),
        };
        bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => {
                PasstError::PortTaken { forward: *self, holder: Holder::of(self) }
            }
            io::ErrorKind::PermissionDenied => {
                PasstError::PortForbidden { forward: *self, first: first_port_of_all() }
            }
            _ => PasstError::Port { forward: *self, source },
        })
    }

    fn bind(&self, address: IpAddr) -> io::Result<()> {
        let socket = SocketAddr::new(address, self.host_port);
        match self.protocol {
            ForwardProtocol::Tcp => TcpListener::bind(socket).map(drop),
            ForwardProtocol::Udp => UdpSocket::bind(socket).map(drop),
        }
    }
}

/// The first port that every user may have.
fn first_port_of_all() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_reported_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Forward::new(ForwardProtocol::Tcp, port, 80);
        for forward in [taken, taken.at("127.0.0.1".parse().unwrap())] {
            let error = forward.check_free().unwrap_err();
            let PasstError::PortTaken { holder: Some(holder), .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(holder.pid, std::process::id(), "{error}");
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let error = Forward::new(ForwardProtocol::Udp, port, 53).check_free().unwrap_err();
        assert!(matches!(error, PasstError::PortTaken { holder: Some(_), .. }), "{error:?}");
    }

    #[test]
    fn a_port_that_is_free_stays_free() {
        let forward = Forward::free_on_loopback(22).unwrap();
        forward.check_free().unwrap();
        forward.check_free().unwrap();
        let away = forward.at("192.0.2.254".parse().unwrap());
        assert!(matches!(away.check_free(), Err(PasstError::Port { .. })));
    }
}
