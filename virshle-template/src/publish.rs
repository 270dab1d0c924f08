//! A port of the host that leads to one of the guest.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// A port of the host that leads to one of the guest: `8080:80`, `127.0.0.1:2222:22`,
/// `[::1]:2222:22`, `5353:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Publish {
    /// The address of the host it is published at; all of them if unset.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The guest's port.
    pub guest_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, unless another one is named.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A text that publishes no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} does not publish a port: {reason}", quoted(.text))]
pub struct InvalidPublish {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The forms that are understood, for messages.
pub(crate) const FORMS: &str =
    "\"8080:80\", \"127.0.0.1:2222:22\" or \"5353:53/udp\": the host's port, then the guest's";

impl Publish {
    /// Tells whether the host has one socket for both: the same port at a common address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let any = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
        // The unspecified address of a family takes that family, and IPv6's the other one as well.
        let meets = match (self.address, other.address) {
            (Some(mine), Some(theirs)) if any(Some(mine)) || any(Some(theirs)) => {
                mine.is_ipv4() == theirs.is_ipv4()
                    || [mine, theirs].contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED))
            }
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && meets
    }

    /// The address at which this host itself reaches it.
    pub fn local_address(&self) -> IpAddr {
        match self.address {
            None => Ipv4Addr::LOCALHOST.into(),
            Some(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            Some(address) => address,
        }
    }

    /// The ports published at `key`. What is noted as wrong is left out.
    pub(crate) fn read_all(section: &Section<'_>, key: &'static str) -> Vec<Placed<Self>> {
        let mut published: Vec<Placed<Self>> = Vec::new();
        for text in section.strings(key) {
            match text.value.parse() {
                Ok(value) => published.push(Placed { value, span: text.span }),
                Err(error) => {
                    let error: InvalidPublish = error;
                    let help = format!("expected {FORMS}");
                    section.wrong(text.span, error.to_string(), &help);
                }
            }
        }
        published
    }

    /// Notes each of `published` that can't be beside those before it, which are in `all`.
    pub(crate) fn refuse_duplicates(
        section: &Section<'_>,
        published: &[Placed<Self>],
        all: &mut Vec<Self>,
    ) {
        for one in published {
            let new = one.value;
            let same_port =
                |other: &&Self| (other.protocol, other.host_port) == (new.protocol, new.host_port);
            if let Some(first) = all.iter().find(|other| other.overlaps(&new)) {
                let message = format!("the host's port {} is published twice", new.socket());
                section.wrong(one.span.clone(), message, &format!("{first} has it already"));
            } else if let Some(first) =
                all.iter().filter(same_port).find(|other| other.guest_port != new.guest_port)
            {
                // passt keeps one port of the guest for each of the host.
                let message = format!("the host's port {} leads to two ports", new.host_port);
                section.wrong(one.span.clone(), message, &format!("{first} has it already"));
            }
            all.push(new);
        }
    }

    /// The host's side.
    fn socket(&self) -> String {
        let protocol = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        match self.address {
            None => format!("{}{protocol}", self.host_port),
            Some(address) => {
                format!("{}{protocol}", std::net::SocketAddr::new(address, self.host_port))
            }
        }
    }
}

impl FromStr for Publish {
    type Err = InvalidPublish;

    fn from_str(text: &str) -> Result<Self, InvalidPublish> {
        let wrong = |reason| InvalidPublish { text: text.to_owned(), reason };
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong("the protocol is tcp or udp")),
        };
        let two = || wrong("it needs the host's port and the guest's");
        let (host, guest) = ports.rsplit_once(':').ok_or_else(two)?;
        let (address, host) = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, host) = rest.split_once("]:").ok_or_else(two)?;
                let address: Ipv6Addr =
                    address.parse().map_err(|_| wrong("its address is no IPv6 address"))?;
                (Some(IpAddr::V6(address)), host)
            }
            None => match host.rsplit_once(':') {
                None => (None, host),
                Some((address, host)) => {
                    let address: Ipv4Addr = address.parse().map_err(|_| {
                        wrong("its address is no IPv4 address, and an IPv6 address has brackets")
                    })?;
                    (Some(IpAddr::V4(address)), host)
                }
            },
        };
        if address.is_some_and(|address| address.is_multicast()) {
            return Err(wrong("its address is that of a group"));
        }
        let port = |digits: &str| {
            let all_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|port| all_digits && *port > 0)
        };
        let port = |digits| port(digits).ok_or_else(|| wrong("a port is from 1 to 65535"));
        Ok(Self { address, host_port: port(host)?, guest_port: port(guest)?, protocol })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => {}
            Some(IpAddr::V4(address)) => write!(formatter, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(formatter, "[{address}]:")?,
        }
        let protocol = match self.protocol {
            Protocol::Tcp => "",
            Protocol::Udp => "/udp",
        };
        write!(formatter, "{}:{}{protocol}", self.host_port, self.guest_port)
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Publish {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn each_form_comes_back_as_it_was_written() {
        for text in
            ["8080:80", "127.0.0.1:2222:22", "[::1]:2222:22", "5353:53/udp", "0.0.0.0:1:65535"]
        {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("8080:80/tcp").to_string(), "8080:80");
    }

    #[test]
    fn what_publishes_nothing_is_refused() {
        for (text, reason) in [
            ("80", "it needs"),
            ("", "it needs"),
            ("0:80", "a port is from 1"),
            ("80:", "a port is from 1"),
            (":80", "a port is from 1"),
            ("65536:80", "a port is from 1"),
            ("+80:80", "a port is from 1"),
            ("8080:80/sctp", "the protocol"),
            ("8080:80/", "the protocol"),
            ("host:8080:80", "its address is no IPv4"),
            ("::1:8080:80", "its address is no IPv4"),
            ("[127.0.0.1]:8080:80", "its address is no IPv6"),
            ("[::1]8080:80", "it needs"),
            ("224.0.0.1:8080:80", "its address is that of a group"),
        ] {
            let error = text.parse::<Publish>().unwrap_err();
            assert!(error.reason.starts_with(reason), "{text}: {error}");
        }
    }

    #[test]
    fn ports_overlap_where_one_socket_would_serve_both() {
        for (one, other, overlap) in [
            ("8080:80", "8080:81", true),
            ("8080:80", "127.0.0.1:8080:80", true),
            ("8080:80", "8080:80/udp", false),
            ("8080:80", "8081:80", false),
            ("127.0.0.1:8080:80", "192.0.2.1:8080:80", false),
            ("127.0.0.1:8080:80", "0.0.0.0:8080:80", true),
            ("127.0.0.1:8080:80", "[::]:8080:80", true),
            ("[::1]:8080:80", "0.0.0.0:8080:80", false),
            ("[::1]:8080:80", "127.0.0.1:8080:80", false),
        ] {
            assert_eq!(read(one).overlaps(&read(other)), overlap, "{one} {other}");
            assert_eq!(read(other).overlaps(&read(one)), overlap, "{other} {one}");
        }
    }
}
