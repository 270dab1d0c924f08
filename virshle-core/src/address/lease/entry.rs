//! One lease, and what every format of leases is read with.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use virshle_net::MacAddr;

/// The most of a file that is read: a lease takes about 100 bytes.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// An address that was given to an interface, and still is its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) mac: MacAddr,
    pub(crate) ip: IpAddr,
    pub(crate) prefix_len: Option<u8>,
    /// When it ends, in seconds since 1970; the last one given ends last.
    pub(crate) ends: u64,
}

/// What is in a file; nothing if it can't be read.
pub(super) fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            if let Err(error) = file.take(MAX_BYTES).read_to_end(&mut bytes) {
                tracing::debug!(path = %path.display(), %error, "cannot read leases");
            }
        }
        Err(error) => tracing::trace!(path = %path.display(), %error, "no leases"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The MAC address in a DHCP unique identifier, if it has one.
///
/// # References
///
/// RFC 8415, 11.2 and 11.4: type 1 (with a time) and type 3, of hardware type 1.
pub(super) fn mac_of_duid(duid: &str) -> Option<MacAddr> {
    let bytes: Option<Vec<u8>> =
        duid.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    match bytes?.as_slice() {
        [0, 1, 0, 1, _, _, _, _, mac @ ..] | [0, 3, 0, 1, mac @ ..] => {
            Some(MacAddr::new(mac.try_into().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_address_is_read_off_the_identifiers_that_name_it() {
        let mac = Some("52:54:00:00:00:01".parse().unwrap());
        assert_eq!(mac_of_duid("00:01:00:01:2c:6e:1c:aa:52:54:00:00:00:01"), mac);
        assert_eq!(mac_of_duid("00:03:00:01:52:54:00:00:00:01"), mac);
        for other in ["", "00:02:00:00:ab:11:52:54:00:00:00:01", "00:03:00:01:52", "xx", "00:03"] {
            assert_eq!(mac_of_duid(other), None, "{other}");
        }
    }
}
