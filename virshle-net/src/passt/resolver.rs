//! The name server of this host.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::passt::error::PasstError;

/// The first name server of this host, to which passt forwards a guest's questions; none if there is
/// none. It may be one on the host's loopback: passt asks it as a process of the host.
///
/// # Errors
///
/// [`PasstError::Resolver`] if the file is there and can't be read.
///
/// # References
///
/// resolv.conf(5), `nameserver`.
pub fn host_resolver() -> Result<Option<IpAddr>, PasstError> {
    let path = Path::new("/etc/resolv.conf");
    match fs::read(path) {
        Ok(text) => Ok(first_server(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PasstError::Resolver { path: path.into(), source }),
    }
}

/// A server with a zone is reached over one link, and passt has no way to say which: it is left out.
fn first_server(text: &str) -> Option<IpAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let server = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        server.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_server_is_found() {
        for (text, server) in [
            ("# nameserver 192.0.2.1\nsearch a\nnameserver 127.0.0.53\n", Some("127.0.0.53")),
            (
                "nameserver fe80::1%eth0\nnameserver\t2001:db8::1 \nnameserver 192.0.2.1",
                Some("2001:db8::1"),
            ),
            ("nameserver\nnameserver x\n", None),
            ("", None),
        ] {
            assert_eq!(first_server(text), server.map(|ip| ip.parse().unwrap()), "{text}");
        }
    }
}
