//! Where a database server listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::NetError;

/// Where a database server listens: `unix:/run/openvswitch/db.sock` or `tcp:HOST:PORT`.
///
/// # References
///
/// `ovsdb(7)`, "Connection Methods" (active ones). `ssl:` is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port; the host is a name or an IP address (IPv6 without its brackets).
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// The port given to OVSDB, where an address names none.
    pub const TCP_PORT: u16 = 6640;
}

impl Default for Address {
    /// Where Open vSwitch listens on most systems.
    fn default() -> Self {
        Self::Unix("/run/openvswitch/db.sock".into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError::InvalidAddress { text: text.into() };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let rest = text.strip_prefix("tcp:").ok_or_else(wrong)?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| wrong())?,
            None if port.is_empty() => Self::TCP_PORT,
            None => return Err(wrong()),
        };
        // Brackets are around a host, not of it.
        if host.is_empty() || host.contains(['[', ']']) || port == 0 {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in
            ["unix:/run/openvswitch/db.sock", "tcp:127.0.0.1:6640", "tcp:[::1]:66", "tcp:a.b:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("tcp:host".parse::<Address>().unwrap().to_string(), "tcp:host:6640");
    }

    /// Regression: a host with a bracket was accepted, and its displayed form was not (29dbd42).
    #[test]
    fn refuses_what_it_can_not_reach() {
        for text in [
            "",
            "/run/db.sock",
            "unix:",
            "tcp:",
            "tcp::1",
            "tcp:a:0",
            "tcp:a:70000",
            "tcp:[::1",
            "tcp:a:b:c",
            "ssl:a:1",
            "tcp:[::1]x",
            "tcp:[[a]:1",
            "tcp:a]:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
