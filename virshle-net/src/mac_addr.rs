//! A MAC address.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::NetError;

/// The address of a network interface, six bytes, written `52:54:00:12:34:56`.
///
/// # References
///
/// IEEE 802-2014, 8.2: the lowest bit of the first byte marks a group, the next one an address
/// that was not given by the NIC's maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// An address of these bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes, first one first.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Creates a random address under `52:54:00`: locally administered, unicast.
    ///
    /// Only 24 bits are random, so two of 5,000 are the same as likely as not: who creates many
    /// must compare.
    ///
    /// # Errors
    ///
    /// When the kernel gives no random bytes.
    #[doc(alias = "getrandom")]
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0x52, 0x54, 0x00, 0, 0, 0];
        let mut filled = 0;
        while filled < 3 {
            filled += getrandom(&mut bytes[3 + filled..], GetRandomFlags::empty())?;
        }
        Ok(Self(bytes))
    }

    /// Returns whether it was not given by the NIC's maker.
    pub fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// Returns whether it names one NIC and not a group.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = NetError;

    /// Reads six bytes in hexadecimal, two digits each, with colons or dashes between.
    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError::InvalidMacAddr { text: text.into() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(wrong)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = NetError;

    fn try_from(text: String) -> Result<Self, NetError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["52:54:00:12:34:ab", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
        }
        assert_eq!(
            "52-54-00-AB-cd-0f".parse::<MacAddr>().unwrap().to_string(),
            "52:54:00:ab:cd:0f"
        );
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:+5",
            "525400123456",
            "52:54-00:12:34:56",
            " 52:54:00:12:34:56",
            "52:54:00:12:34:é",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn random_ones_are_local_unicast_and_differ() {
        let some: std::collections::BTreeSet<_> =
            (0..16).map(|_| MacAddr::random().unwrap()).collect();
        assert!(some.len() > 8);
        assert!(some.iter().all(|mac| mac.is_local() && mac.is_unicast()));
    }

    #[test]
    fn is_a_string_in_json() {
        let mac: MacAddr = serde_json::from_str("\"52:54:00:00:00:01\"").unwrap();
        assert_eq!(serde_json::to_string(&mac).unwrap(), "\"52:54:00:00:00:01\"");
        assert!(serde_json::from_str::<MacAddr>("\"x\"").is_err());
    }
}
